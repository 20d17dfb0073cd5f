//! proxyDHCP beside dnsmasq, which gives the addresses: on another host, and on
//! the same. The client is scripted after what PXE ROMs and EDK2 send.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Child;
use std::time::Duration;

use boot_proto::dhcp::{Message, MessageType, code};
use moonfarm_tests::lab::Namespace;

use super::dhcp_host::{CLIENT, Host, SERVER, ask, kind};

const WAIT: Duration = Duration::from_millis(1500);
const UUID: [u8; 17] = [
    0, 0x4c, 0x4c, 0x45, 0x44, 0, 0x31, 0x10, 0x51, 0x80, 0x36, 0xc4, 0xc0, 0x4f, 0x4a, 0x32, 0x31,
];

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn dnsmasq(host: &Host, within: &Namespace, link: &str) -> Killed {
    let mut command = within.command("dnsmasq");
    command.args([
        "-k",
        "-C",
        "/dev/null",
        "-p",
        "0",
        "--user=root",
        "--no-ping",
    ]);
    command.args([
        "--dhcp-range=10.78.0.100,10.78.0.150,255.255.255.0,1h",
        "--bind-dynamic",
    ]);
    command.arg(format!("--interface={link}"));
    command.arg(format!(
        "--dhcp-leasefile={}",
        host.path("dnsmasq.leases").display()
    ));
    let log = std::fs::File::create(host.path("dnsmasq.log")).unwrap();
    command.stderr(log);
    let process = Killed(command.spawn().unwrap());
    std::thread::sleep(Duration::from_millis(500));
    process
}

fn pxe(kind: MessageType, xid: u32, arch: u16) -> Message {
    let mut message = Message::request("02:00:00:00:78:aa".parse().unwrap(), xid, kind);
    message.set_broadcast();
    let class = format!("PXEClient:Arch:{arch:05}:UNDI:003016");
    message.options.put(code::VENDOR_CLASS, class.into_bytes());
    message
        .options
        .put(code::CLIENT_ARCH, arch.to_be_bytes().to_vec());
    message.options.put(code::CLIENT_NDI, vec![1, 3, 16]);
    message.options.put(code::CLIENT_UUID, UUID.to_vec());
    let wanted = vec![
        1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 43, 54, 60, 66, 67, 97, 128,
    ];
    message.options.put(code::PARAMETER_LIST, wanted);
    message
}

/// One boot as a PXE ROM does it (PXE 2.1 §2.2): addresses from dnsmasq, the
/// boot file from us.
fn boots(host: &Host, foreign: Ipv4Addr, arch: u16, loader: &str) {
    let socket = host.udp(68);
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
    let offers = ask(
        &socket,
        &pxe(MessageType::Discover, 1, arch),
        everybody,
        WAIT,
    );
    let (addresses, proxies): (Vec<_>, Vec<_>) = offers
        .into_iter()
        .filter(|offer| kind(offer) == Some(MessageType::Offer))
        .partition(|offer| !offer.yiaddr.is_unspecified());
    assert_eq!(
        addresses.len(),
        1,
        "arch {arch}: one server gives addresses\n{}",
        host.log()
    );
    assert_eq!(addresses[0].options.address(code::SERVER_ID), Some(foreign));
    assert_eq!(
        proxies.len(),
        1,
        "arch {arch}: one proxyDHCP offer\n{}",
        host.log()
    );
    let proxy = &proxies[0];
    assert_eq!(proxy.options.address(code::SERVER_ID), Some(SERVER));
    assert_eq!(
        proxy.options.get(code::VENDOR_CLASS),
        Some(&b"PXEClient"[..])
    );
    assert_eq!(proxy.options.get(code::CLIENT_UUID), Some(&UUID[..]));
    assert_eq!(proxy.options.get(code::VENDOR), Some(&[6, 1, 8, 255][..]));
    assert_eq!(proxy.siaddr, SERVER);
    assert!(!proxy.options.has(code::LEASE_TIME));

    // The address is asked of dnsmasq; we stay out of it.
    let mut request = pxe(MessageType::Request, 2, arch);
    request
        .options
        .put_addresses(code::REQUESTED_ADDRESS, &[addresses[0].yiaddr]);
    request.options.put_addresses(code::SERVER_ID, &[foreign]);
    let answers = ask(&socket, &request, everybody, WAIT);
    assert_eq!(answers.len(), 1, "arch {arch}: {answers:?}\n{}", host.log());
    assert_eq!(kind(&answers[0]), Some(MessageType::Ack));
    assert_eq!(answers[0].options.address(code::SERVER_ID), Some(foreign));

    // The boot file is asked of us, on port 4011, from an address of its own.
    let mut request = pxe(MessageType::Request, 3, arch);
    request.ciaddr = CLIENT;
    let answers = ask(&socket, &request, SocketAddrV4::new(SERVER, 4011), WAIT);
    assert_eq!(answers.len(), 1, "arch {arch}: {answers:?}\n{}", host.log());
    assert_eq!(kind(&answers[0]), Some(MessageType::Ack));
    assert_eq!(answers[0].siaddr, SERVER);
    assert_eq!(
        answers[0].options.get(code::VENDOR_CLASS),
        Some(&b"PXEClient"[..])
    );
    let file = String::from_utf8_lossy(&answers[0].file).into_owned();
    assert!(file.contains(loader), "arch {arch}: {file}");
}

#[test]
fn beside_a_foreign_server_on_another_host() {
    let Some(mut host) = Host::new("  mode: proxy\n") else {
        return;
    };
    host.start();
    let other = Namespace::create().unwrap();
    host.wire(&other, "foreign");
    other
        .ip(&["address", "add", "10.78.0.2/24", "dev", "eth0"])
        .unwrap();
    let _dnsmasq = dnsmasq(&host, &other, "eth0");
    let foreign = Ipv4Addr::new(10, 78, 0, 2);
    boots(&host, foreign, 0, "undionly");
    boots(&host, foreign, 7, "efi");
}

#[test]
fn beside_a_foreign_server_on_the_same_host() {
    let Some(mut host) = Host::new("  mode: proxy\n") else {
        return;
    };
    let _dnsmasq = dnsmasq(&host, &host.server, "br0");
    host.start();
    boots(&host, SERVER, 0, "undionly");
    boots(&host, SERVER, 7, "efi");
}
