//! The Chassis of a fleet as an operator would declare them.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::LOGIN;

/// A device to be looked after.
#[derive(Clone, Copy, Debug)]
pub enum Declared {
    /// A BMC, by HTTP.
    Bmc(SocketAddr),
    /// A chassis manager, by SSH.
    Chassis(SocketAddr),
}

/// Writes manifests, password and token for `chassis-agent run` into a folder.
/// The power is polled as often as manifests may ask for, the inventory once.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write_manifests(folder: &Path, declared: &[Declared]) -> io::Result<()> {
    let manifests = folder.join("manifests");
    std::fs::create_dir_all(&manifests)?;
    std::fs::write(folder.join("token"), "bench\n")?;
    std::fs::write(manifests.join("password"), format!("{}\n", LOGIN.1))?;
    for (file, devices) in declared.chunks(500).enumerate() {
        let mut text = String::new();
        for (at, device) in devices.iter().enumerate() {
            let number = file * 500 + at;
            let address = match device {
                Declared::Bmc(address) => format!("http://{address}"),
                Declared::Chassis(address) => address.to_string(),
            };
            let _ = write!(
                text,
                "---\napiVersion: moonfarm.dev/v1alpha1\nkind: Chassis\nmetadata:\n  name: \
                 d{number}\nspec:\n  address: {address}\n  insecure: true\n  credentials:\n    \
                 username: {}\n    passwordFile: password\n  scanInterval: 1d\n  \
                 powerInterval: 5s\n",
                LOGIN.0,
            );
        }
        std::fs::write(manifests.join(format!("devices-{file:03}.yaml")), text)?;
    }
    Ok(())
}
