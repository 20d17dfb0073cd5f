//! proxyDHCP with real firmware: dnsmasq on another host gives the addresses,
//! boot-server what is booted.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::time::Duration;

use moonfarm_tests::lab::farm::layout::{BRIDGE, NETWORK};
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::{Firmware, Namespace};

use crate::loaders::{has_step, power_on, wait_for_kernel};
use crate::support::{TestFarm, artefacts};

/// The host with the foreign DHCP server.
const FOREIGN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// How long dnsmasq takes to listen.
const START: Duration = Duration::from_millis(500);

/// A DHCP server that is not ours.
struct Foreign {
    dnsmasq: Child,
    _host: Option<Namespace>,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.dnsmasq.kill();
        let _ = self.dnsmasq.wait();
    }
}

/// One that knows nothing of booting, on a host of its own.
fn on_another_host(test: &TestFarm) -> Foreign {
    let host = Namespace::create().expect("a namespace");
    test.farm
        .namespace()
        .add_host(&host, "foreign", BRIDGE)
        .expect("a wire");
    host.ip(&["address", "add", &format!("{FOREIGN}/24"), "dev", "eth0"])
        .expect("an address");
    Foreign {
        dnsmasq: dnsmasq(test, &host, "eth0", &[]),
        _host: Some(host),
    }
}

/// One on boot-server's own host that says so: a vendor class in its offers sends
/// firmware to port 4011 there (PXE 2.1 §2.2.3).
fn on_the_same_host(test: &mut TestFarm) -> Foreign {
    let farm = &mut test.farm;
    let class = ["--dhcp-option-force=60,PXEClient"];
    farm.stop_boot_server();
    let dnsmasq = dnsmasq(test, test.farm.namespace(), BRIDGE, &class);
    test.farm
        .restart_boot_server()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    Foreign {
        dnsmasq,
        _host: None,
    }
}

fn dnsmasq(test: &TestFarm, host: &Namespace, link: &str, more: &[&str]) -> Child {
    let folder = test.farm.layout().folder();
    let log = File::create(folder.join("dnsmasq.log")).expect("a log");
    let mut command = host.command("dnsmasq");
    command.args(["-k", "-C", "/dev/null", "-p", "0", "--user=root"]);
    command.args(["--no-ping", "--log-dhcp", "--log-facility=-"]);
    command
        .args(["--bind-dynamic", "--interface", link])
        .args(more);
    command.arg("--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,1h");
    let leases = folder.join("dnsmasq.leases");
    command.arg(format!("--dhcp-leasefile={}", leases.display()));
    command.stdout(Stdio::null()).stderr(log);
    let child = command.spawn().expect("dnsmasq");
    std::thread::sleep(START);
    child
}

/// A farm that leaves the addresses to somebody else.
fn farm() -> Option<TestFarm> {
    let artefacts = artefacts()?;
    let pool = Pool {
        name: "strays",
        ..Pool::default()
    };
    let manifests = |facts: &manifests::Facts<'_>| {
        // In place of the subnet that every farm has.
        let subnet = format!(
            "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata:\n  name: provisioning\n\
             spec:\n  cidr: {NETWORK}\n  mode: proxy\n"
        );
        vec![
            manifests::pool(facts, &pool),
            ("subnet.yaml".to_owned(), subnet),
        ]
    };
    Some(TestFarm::start(artefacts, Vec::new(), None, &manifests))
}

/// Boots to the node agent; boot-server gives no address on the way.
fn boots(test: &mut TestFarm, firmware: Firmware, steps: &[&str]) {
    let machine = power_on(test, firmware);
    let boot = wait_for_kernel(test, &machine);
    for step in steps {
        assert!(has_step(&boot, step), "{step}: {boot:#?}");
    }
    let leases = test.farm.leases().expect("leases");
    assert!(leases.is_empty(), "{leases:?}");
}

/// What DHCP answers boot-server's log tells of.
fn answered(test: &mut TestFarm, kind: &str) -> bool {
    let log = test.farm.boot_server().log_tail(1000);
    log.contains(&format!("DHCP {kind}"))
}

#[test]
fn bios_beside_a_foreign_server() {
    let Some(mut test) = farm() else { return };
    let _foreign = on_another_host(&test);
    boots(&mut test, Firmware::Bios, &["script for image"]);
    assert!(answered(&mut test, "Offer"));
}

#[test]
fn uefi_beside_a_foreign_server() {
    let Some(mut test) = farm() else { return };
    let _foreign = on_another_host(&test);
    boots(&mut test, Firmware::Uefi, &["snponly.efi sent"]);
    assert!(answered(&mut test, "Offer"));
}

#[test]
fn uefi_asks_on_port_4011_where_both_servers_are_one_host() {
    let Some(mut test) = farm() else { return };
    let _foreign = on_the_same_host(&mut test);
    boots(&mut test, Firmware::Uefi, &["snponly.efi sent"]);
    // On a network served as proxyDHCP nothing else is acknowledged.
    assert!(answered(&mut test, "Ack"));
}
