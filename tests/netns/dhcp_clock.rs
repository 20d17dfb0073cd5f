//! The host's clock is set while boot-server runs: leases stay right.
//!
//! `CLOCK_REALTIME` has no namespace, so that libfaketime stands before it, for
//! the one process that is tested. What it gives is read from a file, which the
//! test changes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use boot_proto::dhcp::{Message, MessageType, code};
use boot_proto::ids::MacAddr;
use moonfarm_tests::needs;

use super::dhcp_host::{Host, SERVER, ask, kind};

const WAIT: Duration = Duration::from_millis(700);
/// boot-server looks at its clocks with each message and each second.
const SEEN: Duration = Duration::from_millis(2500);

/// Debian's folders of libraries differ by processor.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    folders
        .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketime.so.1")))
        .find(|path| path.exists())
}

struct Clock(PathBuf);

impl Clock {
    /// Sets it, as libfaketime spells it: `+0`, `+3600`, `-86400`, in seconds.
    fn set(&self, offset: &str) {
        // Changed at once, not emptied and then filled.
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(&new, &self.0).unwrap();
        std::thread::sleep(SEEN);
    }
}

fn client(number: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0x79, number])
}

fn request(mac: MacAddr, address: Ipv4Addr) -> Message {
    let mut message = Message::request(mac, 3, MessageType::Request);
    message.set_broadcast();
    message
        .options
        .put_addresses(code::REQUESTED_ADDRESS, &[address]);
    message
}

/// The address that a new client gets; none where nothing is free.
fn lease(host: &Host, mac: MacAddr) -> Option<Ipv4Addr> {
    let socket = host.udp(68);
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
    let mut discover = Message::request(mac, 1, MessageType::Discover);
    discover.set_broadcast();
    let address = ask(&socket, &discover, everybody, WAIT).first()?.yiaddr;
    let mut request = request(mac, address);
    request.options.put_addresses(code::SERVER_ID, &[SERVER]);
    let answers = ask(&socket, &request, everybody, WAIT);
    let answer = answers.first()?;
    assert_eq!(kind(answer), Some(MessageType::Ack), "{}", host.log());
    Some(answer.yiaddr)
}

/// Whether a client that comes back still has its address.
fn keeps(host: &Host, mac: MacAddr, address: Ipv4Addr) -> bool {
    let socket = host.udp(68);
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
    let answers = ask(&socket, &request(mac, address), everybody, WAIT);
    answers
        .first()
        .is_some_and(|answer| kind(answer) == Some(MessageType::Ack) && answer.yiaddr == address)
}

#[test]
fn a_clock_that_jumps_takes_no_lease_and_keeps_none_for_ever() {
    let library = library();
    let missing = library
        .is_none()
        .then(|| "libfaketime is not installed".to_owned());
    if !needs::is_met(missing) {
        return;
    }
    // Two addresses, so that a lease that counts as over is given to the next.
    let subnet =
        "  ranges: [{from: 10.78.0.100, to: 10.78.0.101}]\n  leaseTime: 1h\n  probe: false\n";
    let Some(mut host) = Host::new(subnet) else {
        return;
    };
    let clock = Clock(host.path("clock"));
    clock.set("+0");
    host.wrapper = vec![
        "env".into(),
        format!("LD_PRELOAD={}", library.unwrap_or_default().display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.0.display()),
        "FAKETIME_NO_CACHE=1".into(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
    ];
    host.start();
    let first = lease(&host, client(1)).expect("a lease");
    for offset in ["+86400", "-86400", "+315360000", "-31536000", "+0"] {
        clock.set(offset);
        assert!(keeps(&host, client(1), first), "{offset}\n{}", host.log());
        // Whoever is new gets the other address, and never the one that is held.
        let other = lease(&host, client(2));
        assert_ne!(other, Some(first), "{offset}\n{}", host.log());
        assert!(other.is_some(), "{offset}\n{}", host.log());
        assert_eq!(lease(&host, client(3)), None, "{offset}\n{}", host.log());
    }
    let log = host.process.as_ref().unwrap().log_tail(1000);
    assert!(log.contains("clock"), "it says so\n{log}");
    // Killed while the clock is a year ahead, and started again where it is right.
    clock.set("+31536000");
    assert!(keeps(&host, client(1), first));
    drop(host.process.take());
    clock.set("+0");
    host.start();
    assert_eq!(lease(&host, client(3)), None, "{}", host.log());
    assert!(keeps(&host, client(1), first), "{}", host.log());
}
