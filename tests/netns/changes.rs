//! Manifests, images and certificates change while clients ask: no request is
//! lost, and a wrong change leaves in force what was there. And a boot that is
//! followed while the server starts again.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use boot_proto::dhcp::{Message, MessageType, code};
use boot_proto::ids::{Digest, MacAddr};
use boot_proto::image::{ImageFile, ImageManifest};
use moonfarm_tests::lab::Namespace;
use moonfarm_tests::wait::until;
use nix::sched::{CloneFlags, setns};

use super::dhcp_host::{CLIENT, Host, SERVER, kind, receive, shell};

/// How long a client waits for an answer before the request counts as lost.
const PATIENCE: Duration = Duration::from_secs(3);
/// The kernel of the image.
pub const KERNEL: &[u8] = b"a kernel that came while others asked";

/// What the clients asked, and what they got no answer to.
#[derive(Default)]
struct Asked {
    rounds: u32,
    lost: Vec<String>,
}

/// Clients of all three protocols, one right after the other.
fn clients(host: &Host, stop: &Arc<AtomicBool>) -> JoinHandle<Asked> {
    let dhcp = host.udp(67);
    let namespace = File::open(Path::new("/run/netns").join(host.client.name())).unwrap();
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
        let mut asked = Asked::default();
        while !stop.load(Ordering::Relaxed) {
            asked.rounds += 1;
            // Clients that come again and again, and not so often that one of them
            // is left alone for it.
            std::thread::sleep(Duration::from_millis(10));
            let number = u8::try_from(asked.rounds % 120).unwrap();
            let mac = MacAddr::new([2, 0x78, 1, 0, 0, number]);
            let results = [
                ("DHCP", lease(&dhcp, mac).map(drop)),
                ("TFTP", tftp()),
                ("HTTP", http("/boot.ipxe")),
            ];
            for (what, result) in results {
                if let Err(why) = result {
                    asked
                        .lost
                        .push(format!("{what} in round {}: {why}", asked.rounds));
                }
            }
        }
        asked
    })
}

/// An address by all four messages, through a relay.
fn lease(socket: &UdpSocket, mac: MacAddr) -> Result<Ipv4Addr, String> {
    let discover = relayed(mac, MessageType::Discover);
    let offer = exchange(socket, &discover)?;
    let mut request = relayed(mac, MessageType::Request);
    let options = &mut request.options;
    options.put_addresses(code::REQUESTED_ADDRESS, &[offer.yiaddr]);
    options.put_addresses(code::SERVER_ID, &[SERVER]);
    let ack = exchange(socket, &request)?;
    match kind(&ack) {
        Some(MessageType::Ack) => Ok(ack.yiaddr),
        other => Err(format!("{other:?} in place of an ACK")),
    }
}

fn relayed(mac: MacAddr, kind: MessageType) -> Message {
    let octets = mac.octets();
    let xid = u32::from_be_bytes([octets[2], octets[3], octets[4], octets[5]]);
    let mut message = Message::request(mac, xid, kind);
    message.giaddr = CLIENT;
    message
}

fn exchange(socket: &UdpSocket, message: &Message) -> Result<Message, String> {
    let to = SocketAddrV4::new(SERVER, 67);
    let sent = socket.send_to(&message.encode(1472), to);
    sent.map_err(|error| error.to_string())?;
    loop {
        let (answer, _) = receive(socket, PATIENCE).ok_or("no answer")?;
        if answer.mac() == message.mac() {
            return Ok(answer);
        }
    }
}

/// One small file: a block and its acknowledgement.
fn tftp() -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = b"\0\x01loader\0octet\0";
    socket.send_to(request, (SERVER, 69)).map_err(failed)?;
    let mut block = [0; 600];
    let (bytes, from) = socket.recv_from(&mut block).map_err(failed)?;
    socket.send_to(b"\0\x04\0\x01", from).map_err(failed)?;
    match &block[..bytes] {
        [0, 3, 0, 1, content @ ..] if content == b"a loader" => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn http(path: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let address = SocketAddr::from((SERVER, 8080));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    if text.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(text.lines().next().unwrap_or_default().to_owned())
    }
}

/// A certificate for the server's address in place of the one there is.
fn write_certificate(host: &Host) {
    let made = rcgen::generate_simple_self_signed(vec![SERVER.to_string()]).unwrap();
    fs::write(host.path("key.new"), made.signing_key.serialize_pem()).unwrap();
    fs::write(host.path("cert.new"), made.cert.pem()).unwrap();
    fs::rename(host.path("key.new"), host.path("key.pem")).unwrap();
    fs::rename(host.path("cert.new"), host.path("cert.pem")).unwrap();
}

/// Whether the boot face shows the certificate that is in that file.
fn shows_certificate(host: &Host, file: &str) -> bool {
    let mut curl = host.client.command("curl");
    curl.args(["-s", "-o", "/dev/null", "--max-time", "3", "--cacert"]);
    curl.arg(host.path(file));
    curl.arg(format!("https://{SERVER}:8444/healthz"));
    curl.status().unwrap().success()
}

/// Writes an image, named debian, as `image build` leaves one.
pub fn write_image(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let file = |name: &str, text: &[u8]| {
        fs::write(folder.join(name), text).unwrap();
        ImageFile {
            file: name.into(),
            size: text.len() as u64,
            digest: Digest::of(text),
        }
    };
    let manifest = ImageManifest {
        version: 1,
        name: "debian".into(),
        architecture: "x86_64".into(),
        kernel_release: "6.12.0-test".into(),
        kernel: file("vmlinuz", KERNEL),
        initramfs: file("initramfs.img", b"an initramfs"),
        root: file("root.squashfs", b"a root"),
        root_checks: Default::default(),
        kernel_arguments: Vec::new(),
        recipe: serde_json::Value::Null,
    };
    let text = serde_json::to_vec(&manifest).unwrap();
    fs::write(folder.join("manifest.json"), text).unwrap();
}

fn machine(address: &str) -> String {
    format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Machine\nmetadata: {{name: late}}\n\
         spec: {{macs: ['02:78:02:00:00:01'], address: {address}}}\n"
    )
}

fn loaded_host() -> Option<Host> {
    let subnet = "  ranges: [{from: 10.78.0.100, to: 10.78.0.240}]\n  probe: false\n  \
                  strangers: {burst: 100000, perMinute: 100000}\n";
    let mut host = Host::new(subnet)?;
    fs::create_dir(host.path("loaders")).unwrap();
    fs::write(host.path("loaders/loader"), "a loader").unwrap();
    host.arguments = vec!["--loaders".into(), host.path("loaders").into()];
    Some(host)
}

#[test]
fn changes_under_load_lose_nothing() {
    let Some(mut host) = loaded_host() else {
        return;
    };
    write_certificate(&host);
    for (option, value) in [
        ("--listen-boot-tls", Path::new("10.78.0.1:8444")),
        ("--tls-cert", &host.path("cert.pem")),
        ("--tls-key", &host.path("key.pem")),
    ] {
        host.arguments.extend([option.into(), value.into()]);
    }
    host.start();
    let stop = Arc::new(AtomicBool::new(false));
    let running = clients(&host, &stop);
    let reserved = |address: &str| {
        until(Duration::from_secs(20), || {
            explained(&host, "late").contains(address).then_some(())
        })
        .unwrap_or_else(|| panic!("{address} is not taken over: {}", host.log()));
    };
    let manifest = host.path("manifests/late.yaml");

    fs::write(&manifest, machine("10.78.0.60")).unwrap();
    reserved("10.78.0.60");
    fs::write(
        &manifest,
        format!("{}---\nkind: Nonsense\n", machine("10.78.0.61")),
    )
    .unwrap();
    let told = until(Duration::from_secs(20), || {
        host.log().contains("stays in force").then_some(())
    });
    assert!(told.is_some(), "a wrong manifest is told: {}", host.log());
    reserved("10.78.0.60");
    fs::write(&manifest, machine("10.78.0.62")).unwrap();
    reserved("10.78.0.62");

    write_image(&host.path("image"));
    let mut add = host.server.command(host.program());
    add.args(["image", "add"]).arg(host.path("image"));
    add.arg("--state").arg(host.path("state"));
    shell(&mut add).unwrap();
    let mut curl = host.client.command("curl");
    let url = format!(
        "http://{SERVER}:8080/blobs/sha256/{}",
        Digest::of(KERNEL).hex()
    );
    let kernel = shell(curl.args(["-s", "--fail", &url])).unwrap();
    assert_eq!(kernel.as_bytes(), KERNEL);

    fs::copy(host.path("cert.pem"), host.path("first.pem")).unwrap();
    assert!(shows_certificate(&host, "first.pem"), "{}", host.log());
    write_certificate(&host);
    let renewed = until(Duration::from_secs(30), || {
        shows_certificate(&host, "cert.pem").then_some(())
    });
    assert!(renewed.is_some(), "the new certificate: {}", host.log());
    fs::copy(host.path("cert.pem"), host.path("second.pem")).unwrap();
    fs::write(host.path("cert.pem"), "no certificate\n").unwrap();
    let told = until(Duration::from_secs(30), || {
        host.log()
            .contains("the new certificate is refused")
            .then_some(())
    });
    assert!(
        told.is_some(),
        "a wrong certificate is told: {}",
        host.log()
    );
    assert!(shows_certificate(&host, "second.pem"), "{}", host.log());

    stop.store(true, Ordering::Relaxed);
    let asked = running.join().unwrap();
    println!("{} rounds of DHCP, TFTP and HTTP", asked.rounds);
    assert!(asked.lost.is_empty(), "{:#?}\n{}", asked.lost, host.log());
    assert!(asked.rounds > 100, "{} rounds", asked.rounds);
}

fn explained(host: &Host, who: &str) -> String {
    let mut explain = host.server.command(host.program());
    explain.args(["explain", who]);
    explain
        .arg("--token-file")
        .arg(host.path("state/management.token"));
    shell(&mut explain).unwrap_or_default()
}

fn curl_as(namespace: &Namespace, address: &str, url: &str) -> String {
    let mut curl = namespace.command("curl");
    curl.args(["-s", "--max-time", "5", "--interface", address, url]);
    shell(&mut curl).unwrap()
}

/// `get boots --follow` begins before a kill, goes on after it, and ends with the
/// boot.
#[test]
fn a_followed_boot_outlives_the_server() {
    let Some(mut host) = loaded_host() else {
        return;
    };
    let farm = "apiVersion: moonfarm.dev/v1alpha1\nkind: Machine\nmetadata: {name: one}\n\
                spec: {macs: ['02:78:03:00:00:01'], address: 10.78.0.50}\n---\n\
                apiVersion: moonfarm.dev/v1alpha1\nkind: MatchboxProfile\nmetadata: {name: p}\n\
                spec:\n  boot: {kernel: k}\n  generic: {name: g, text: 'hello {{.who}}'}\n---\n\
                apiVersion: moonfarm.dev/v1alpha1\nkind: MatchboxGroup\nmetadata: {name: g}\n\
                spec: {profile: p, selector: {mac: '02:78:03:00:00:01'}, metadata: {who: one}}\n";
    fs::write(host.path("manifests/one.yaml"), farm).unwrap();
    host.start();
    let _ = host.udp(67);
    let own = ["address", "add", "10.78.0.50/24", "dev", "eth0"];
    host.client.ip(&own).unwrap();
    let hardware = ["link", "set", "eth0", "address", "02:78:03:00:00:01"];
    host.client.ip(&hardware).unwrap();

    let base = format!("http://{SERVER}:8080");
    let script = format!("{base}/ipxe?mac=02-78-03-00-00-01&platform=pcbios");
    let text = curl_as(&host.client, "10.78.0.50", &script);
    assert_eq!(text, "#!ipxe\nkernel k\nboot\n");
    let shown = File::create(host.path("followed")).unwrap();
    let mut follow: Command = host.server.command(host.program());
    follow.args(["get", "boots", "one", "--follow", "--token-file"]);
    follow.arg(host.path("state/management.token"));
    let mut follow = follow.stdout(shown).stderr(Stdio::null()).spawn().unwrap();
    let followed = || fs::read_to_string(host.path("followed")).unwrap();
    let begun = until(Duration::from_secs(20), || {
        followed().contains("MatchboxProfile p").then_some(())
    });
    assert!(begun.is_some(), "{}", followed());

    // The boot log is on disk a moment after it was in memory. Dropping the process kills
    // it with -9.
    std::thread::sleep(Duration::from_secs(2));
    drop(host.process.take());
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        follow.try_wait().unwrap().is_none(),
        "it waits for the server"
    );
    host.start();
    let config = curl_as(
        &host.client,
        "10.78.0.50",
        &format!("{base}/generic?mac=02:78:03:00:00:01"),
    );
    assert_eq!(config, "hello one");
    let ended = until(Duration::from_secs(20), || follow.try_wait().unwrap());
    let text = fs::read_to_string(host.path("followed")).unwrap();
    assert!(ended.is_some_and(|status| status.success()), "{text}");
    assert_eq!(
        text.matches("script of MatchboxProfile p").count(),
        1,
        "{text}"
    );
    assert!(text.contains("generic g given"), "{text}");
}
