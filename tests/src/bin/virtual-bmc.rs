//! Serves folders of captures as living Redfish services, one port each.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use moonfarm_tests::redfish::{Identity, Service, Tree, VirtualBmc};

/// Serves folders of captures as living Redfish services
///
/// Each folder has `redfish/v1/…/index.json` in it, as the DMTF mock-up creator
/// writes it. Power and boot state change as they are told to.
#[derive(Parser)]
struct Args {
    /// Folders, one device each
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    listen: String,
    /// Port of the first device, the others follow; 0 takes free ones
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How many devices are made of each folder
    #[arg(long, default_value_t = 1)]
    copies: u16,
    /// Speak TLS with a certificate that nobody signed
    #[arg(long)]
    tls: bool,
    /// User name that is let in
    #[arg(long, default_value = "admin")]
    user: String,
    /// Password that is let in; it is no secret
    #[arg(long, default_value = "secret")]
    password: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut devices = Vec::new();
    let mut port = args.port;
    for folder in &args.folders {
        let tree = Tree::load(folder).with_context(|| format!("reading {}", folder.display()))?;
        for _ in 0..args.copies {
            let mut service = Service::new(tree.clone());
            service.login = (args.user.clone(), args.password.clone());
            let identity = args.tls.then(Identity::new).transpose()?;
            let listen = format!("{}:{port}", args.listen);
            let bmc = VirtualBmc::serve(service, identity, &listen)
                .await
                .with_context(|| format!("listening on {listen}"))?;
            let pin = bmc
                .identity()
                .map(|own| format!("  certificate {}", own.fingerprint()));
            println!(
                "{}  {}{}",
                bmc.url(),
                folder.display(),
                pin.unwrap_or_default()
            );
            devices.push(bmc);
            port = if port == 0 { 0 } else { port.saturating_add(1) };
        }
    }
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
}
