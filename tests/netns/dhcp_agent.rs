//! The node agent's own DHCP client beside a server that others wrote.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::Duration;

use moonfarm_tests::lab::Namespace;
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;
use nix::sched::{CloneFlags, setns};
use node_agent::clock::SystemClock;
use node_agent::dhcp_client::Lease;
use node_agent::log::Log;
use node_agent::net::dhcp_socket::{Dhcp as _, DhcpOverUdp};
use node_agent::net::netlink::Netlink;
use node_agent::net::{Address, Link, Links as _};

const PATIENCE: Duration = Duration::from_secs(15);

/// dnsmasq tells T1 as 3 s, and options that our client has no use for or that make
/// no sense to it.
const SERVER: &str = "exec dnsmasq -k -C /dev/null -p 0 --user=root --no-ping --bind-dynamic \
    --interface=br0 --dhcp-range=10.78.0.100,10.78.0.150,255.255.240.0,2m \
    --dhcp-option=option:T1,3 --dhcp-option-force=12,ff:fe --dhcp-option-force=26,01:02:03 \
    --dhcp-option-force=121,0.0.0.0/0,10.78.0.254 --dhcp-leasefile=\"$LEASES\"";

/// Asks as `/init` does, and keeps what it is given.
fn boot(within: &Path, log: &Log) -> Lease {
    let (within, log) = (File::open(within).unwrap(), log.clone());
    let booting = thread::spawn(move || {
        setns(&within, CloneFlags::CLONE_NEWNET).unwrap();
        let mut links = Netlink::open().unwrap();
        let all = links.all().unwrap();
        let link: Link = all.into_iter().find(|link| link.name == "eth0").unwrap();
        let lease = DhcpOverUdp.ask(&link, PATIENCE, &SystemClock).unwrap();
        let address = Address {
            address: lease.address,
            prefix: lease.prefix,
            gateway: None,
        };
        links.add_address(&link, &address).unwrap();
        DhcpOverUdp.keep(&link, lease.clone(), &log);
        lease
    });
    booting.join().unwrap()
}

#[test]
fn a_lease_is_taken_and_renewed() {
    if !needs::has_namespaces() {
        return;
    }
    let (server, client) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    server.add_bridge("br0", "10.78.0.1/20").unwrap();
    server.add_host(&client, "wire", "br0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let leases = folder.path().join("leases");
    let mut command = server.command("sh");
    command.args(["-c", SERVER]).env("LEASES", &leases);
    let mut dnsmasq = command.spawn().unwrap();

    let log = Log::new();
    let lease = boot(&Path::new("/run/netns").join(client.name()), &log);
    assert_eq!((lease.prefix, lease.mtu), (20, None));
    assert_eq!(lease.gateway, Some("10.78.0.254".parse().unwrap()));
    let first = std::fs::read_to_string(&leases).unwrap();
    assert!(first.contains(&lease.address.to_string()), "{first}");
    let renewed = until(PATIENCE, || {
        log.tail().contains("is leased for longer").then_some(())
    });
    let last = std::fs::read_to_string(&leases).unwrap();
    let _ = dnsmasq.kill();
    let _ = dnsmasq.wait();
    assert!(renewed.is_some(), "{}", log.tail());
    // Each line begins with the lease's end.
    assert!(last > first, "{first}{last}");
}
