//! A boot-server in a namespace and a client's namespace at the other end of a
//! wire, for the DHCP tests.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use boot_proto::dhcp::{MAX_MESSAGE_BYTES, Message, MessageType};
use moonfarm_tests::lab::{Namespace, Process, ProcessSpec};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;
use nix::sched::{CloneFlags, setns};

/// Address of boot-server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
/// Address of a scripted client, which is also its relay's.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 9);

pub struct Host {
    pub folder: tempfile::TempDir,
    pub server: Namespace,
    pub client: Namespace,
    /// Folder of boot-server.
    pub programs: PathBuf,
    /// What boot-server is told besides; no TFTP unless told otherwise.
    pub arguments: Vec<std::ffi::OsString>,
    /// What stands before boot-server on its command line.
    pub wrapper: Vec<String>,
    pub process: Option<Process>,
}

impl Host {
    /// `None`, with the reason printed, where there can be none.
    pub fn new(subnet: &str) -> Option<Self> {
        if !needs::has_namespaces() {
            return None;
        }
        let programs = needs::folder("MOONFARM_PROGRAMS")?;
        let (server, client) = (Namespace::create().unwrap(), Namespace::create().unwrap());
        server.add_bridge("br0", "10.78.0.1/24").unwrap();
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
            server,
            client,
            programs,
            arguments: vec!["--no-tftp".into()],
            wrapper: Vec::new(),
            process: None,
        };
        host.wire(&host.client, "wire");
        for sub in ["manifests", "state"] {
            std::fs::create_dir(host.path(sub)).unwrap();
        }
        let manifests = format!(
            "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata: {{name: lan}}\nspec:\n  \
             cidr: 10.78.0.0/24\n  gateway: 10.78.0.1\n{subnet}---\n\
             apiVersion: moonfarm.dev/v1alpha1\nkind: NodePool\nmetadata: {{name: all}}\n\
             spec: {{catchAll: true, image: none}}\n"
        );
        std::fs::write(host.path("manifests/farm.yaml"), manifests).unwrap();
        Some(host)
    }

    /// Wires a namespace to the bridge; its end is `eth0`.
    pub fn wire(&self, to: &Namespace, name: &str) {
        self.server.add_host(to, name, "br0").unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn program(&self) -> PathBuf {
        self.programs.join("boot-server")
    }

    pub fn start(&mut self) {
        let program = self.program();
        let own = [
            program.into_os_string(),
            "serve".into(),
            "--manifests".into(),
            self.path("manifests").into(),
            "--state".into(),
            self.path("state").into(),
        ];
        let own = own.into_iter().chain(self.arguments.iter().cloned());
        let mut line = self.wrapper.iter().map(Into::into).chain(own);
        let program: std::ffi::OsString = line.next().unwrap();
        let spec = ProcessSpec::new("boot-server", program, self.folder.path())
            .args(line)
            .within(self.server.name());
        let mut process = spec.spawn().unwrap();
        let answers = until(Duration::from_secs(30), || {
            process
                .check()
                .unwrap_or_else(|error| panic!("{}", error.chain()));
            let mut curl = self.server.command("curl");
            curl.args(["-s", "-o", "/dev/null", "http://127.0.0.1:8080/healthz"]);
            curl.status().ok()?.success().then_some(())
        });
        assert!(answers.is_some(), "no answer: {}", process.log_tail(20));
        self.process = Some(process);
    }

    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map(|process| process.log_tail(60))
            .unwrap_or_default()
    }

    /// A scripted client: it has an address, and hears broadcasts.
    pub fn udp(&self, port: u16) -> UdpSocket {
        let address = format!("{CLIENT}/24");
        self.client
            .ip(&["address", "replace", &address, "dev", "eth0"])
            .unwrap();
        self.client
            .ip(&["route", "replace", "default", "dev", "eth0"])
            .unwrap();
        udp_within(&self.client, port)
    }

    /// The address that udhcpc gets; `None` where it gets none.
    pub fn udhcpc(&self) -> Option<String> {
        let script = self.path("bound");
        let text = "#!/bin/sh\n[ \"$1\" = bound ] && echo \"$ip\" > \"$LEASE\"\nexit 0\n";
        std::fs::write(&script, text).unwrap();
        shell(Command::new("chmod").arg("0755").arg(&script)).unwrap();
        let lease = self.path("lease");
        let _ = std::fs::remove_file(&lease);
        let mut client = self.client.command("udhcpc");
        client.args(["-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-s"]);
        client.arg(&script).env("LEASE", &lease);
        let _ = client.output();
        let text = std::fs::read_to_string(&lease).ok()?;
        Some(text.trim().to_owned())
    }
}

/// A socket that lives in a namespace, whoever uses it.
pub fn udp_within(namespace: &Namespace, port: u16) -> UdpSocket {
    let path = Path::new("/run/netns").join(namespace.name());
    let file = File::open(path).unwrap();
    let bound = std::thread::spawn(move || {
        setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
    });
    let socket = bound.join().unwrap();
    socket.set_broadcast(true).unwrap();
    socket
}

/// Runs a command; what it printed is the error.
pub fn shell(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{command:?}: {}\n{text}", output.status))
    }
}

/// Sends, and gives all DHCP answers that come within the time.
pub fn ask(
    socket: &UdpSocket,
    message: &Message,
    to: SocketAddrV4,
    wait: Duration,
) -> Vec<Message> {
    socket.send_to(&message.encode(1472), to).unwrap();
    let mut answers = Vec::new();
    while let Some((answer, _)) = receive(socket, wait) {
        if answer.xid == message.xid {
            answers.push(answer);
        }
    }
    answers
}

/// The next DHCP message within the time.
pub fn receive(socket: &UdpSocket, wait: Duration) -> Option<(Message, std::net::SocketAddr)> {
    socket.set_read_timeout(Some(wait)).unwrap();
    let mut buffer = [0; MAX_MESSAGE_BYTES];
    let (bytes, from) = socket.recv_from(&mut buffer).ok()?;
    Some((Message::parse(&buffer[..bytes]).ok()?, from))
}

pub fn kind(message: &Message) -> Option<MessageType> {
    message.message_type()
}
