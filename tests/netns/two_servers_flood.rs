//! Two boot-servers on one API server under perfdhcp: no address twice, one of
//! them killed in the middle, and a minute without the API server, in which
//! whoever is known boots on.

use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::time::Duration;

use moonfarm_tests::lab::Namespace;
use moonfarm_tests::needs;
use moonfarm_tests::wait::{Deadline, until};

use crate::known_machine::{ADDRESS, DECLARED, KnownMachine};
use crate::kubernetes_agent::Lab;
use crate::two_servers::{Clients, FIRST, RELAY, SECOND, start};

/// Exchanges a second that each generator begins.
const RATE: &str = "40";
const MINUTE: Duration = Duration::from_secs(60);
const FARM: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: farm}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: newcomers, namespace: farm}
spec: {image: none, catchAll: true}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: lan, namespace: farm}
spec:
  cidr: 10.77.0.0/16
  probe: false
  leaseTime: 1h
  strangers: {burst: 100000, perMinute: 100000}
  ranges: [{from: 10.77.4.1, to: 10.77.40.250}]
"#;

/// perfdhcp as a relay with many new clients.
struct Flood {
    child: Child,
}

/// What it was told.
#[derive(Debug)]
struct Told {
    begun: u32,
    leases: u32,
    /// Answers that another server was faster, for the client to begin anew.
    refused: u32,
    twice: u32,
}

impl Flood {
    fn start(wire: &Namespace, relay: Ipv4Addr, server: Ipv4Addr, seed: &str, secs: u32) -> Self {
        let mut command = wire.command("perfdhcp");
        command.args(["-4", "-u", "-l", &relay.to_string(), "-d", "2", "-s", seed]);
        command.args(["-W", "2000000", "-R", "16000000", "-r", RATE]);
        // Each has clients of its own.
        command.args(["-b", &format!("mac=02:79:0{seed}:00:00:00")]);
        command.args(["-p", &secs.to_string(), &server.to_string()]);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("perfdhcp starts");
        Self { child }
    }

    fn end(self) -> Told {
        let output = self.child.wait_with_output().expect("perfdhcp ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, rest) = text
            .split_once("Statistics for: DISCOVER-OFFER")
            .unwrap_or_else(|| panic!("{text}"));
        let (discover, request) = rest
            .split_once("Statistics for: REQUEST-ACK")
            .unwrap_or_else(|| panic!("{text}"));
        Told {
            begun: number(discover, "sent packets:").unwrap_or(0),
            leases: number(request, "received packets:").unwrap_or(0),
            refused: number(request, "rejected leases:").unwrap_or(0),
            twice: number(request, "non unique addresses:").unwrap_or(0),
        }
    }
}

impl Told {
    /// Whether most were served in time, or told to begin anew since the other
    /// server was faster, which perfdhcp does not do.
    fn is_served(&self) -> bool {
        (self.leases + self.refused) * 4 >= self.begun * 3
    }
}

fn number(text: &str, name: &str) -> Option<u32> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(name))?;
    line.trim().parse().ok()
}

fn claims(lab: &Lab) -> usize {
    let names = lab.kubectl("-n farm get addressclaims -o name");
    names.lines().count()
}

/// A second host with clients behind a relay.
fn second_wire(lab: &Lab, relay: Ipv4Addr) -> Namespace {
    let wire = Namespace::create().unwrap();
    lab.network.add_host(&wire, "clients", "br0").unwrap();
    let address = format!("{relay}/24");
    wire.ip(&["address", "add", &address, "dev", "eth0"])
        .unwrap();
    wire
}

#[test]
fn perfdhcp_and_a_minute_without_the_api_server() {
    if !needs::is_long_run() {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    lab.apply("farm.yaml", &format!("{FARM}{DECLARED}"));
    let other = Namespace::create().unwrap();
    lab.network.add_host(&other, "second", "br0").unwrap();
    let address = format!("{SECOND}/24");
    other
        .ip(&["address", "add", &address, "dev", "eth0"])
        .unwrap();
    let relay = Ipv4Addr::new(10, 77, 0, 10);
    let wire = second_wire(&lab, relay);
    let first = start(&lab, &lab.network, "first");
    let second = start(&lab, &other, "second");
    // A new API server puts requests off until its caches are filled; perfdhcp asks
    // for nothing twice.
    let settled = Clients::new(&lab.wire).flood(40, MINUTE);
    assert_eq!(settled, 40, "{}", first.log_tail(20));

    let floods = [
        Flood::start(&lab.wire, RELAY, FIRST, "1", 15),
        Flood::start(&wire, relay, SECOND, "2", 15),
    ];
    let told = floods.map(Flood::end);
    // Claims of renewals and the like may follow.
    std::thread::sleep(Duration::from_secs(2));
    let claimed = claims(&lab);
    println!("both servers: {told:?}, {claimed} addresses claimed");
    let given: u32 = told.iter().map(|told| told.leases).sum();
    assert!(told.iter().all(|told| told.twice == 0), "{told:?}");
    // An address given to two clients would be one claim and two leases.
    assert!(usize::try_from(given).unwrap() <= claimed);
    assert!(told.iter().all(Told::is_served), "{told:?}");

    let goes_on = Flood::start(&lab.wire, RELAY, FIRST, "3", 10);
    drop(second);
    let told = goes_on.end();
    println!("the second one killed: {told:?}");
    assert!(told.twice == 0 && told.is_served(), "{told:?}");

    let mut clients = Clients::new(&lab.wire);
    assert_eq!(clients.flood(200, MINUTE), 200, "{}", first.log_tail(20));
    let machine = KnownMachine::new(&lab, FIRST, &lab.path("first"), ADDRESS);
    lab.plane.freeze(true).unwrap();
    let strangers = Flood::start(&wire, relay, FIRST, "4", 60);
    let (away, mut asked, mut served) = (Deadline::after(MINUTE), 0, 0);
    let mut boots = 0;
    while !away.has_passed() {
        machine.boots().unwrap_or_else(|why| {
            let log = first.log_tail(20);
            panic!("the {boots} boots before had all they asked for: {why}\n{log}")
        });
        boots += 1;
        served += clients.come_back(200);
        asked += 200;
        // As a farm that boots, not as one client that asks without end.
        std::thread::sleep(Duration::from_secs(1));
    }
    lab.plane.freeze(false).unwrap();
    let told = strangers.end();
    println!(
        "a minute without the API server: {served} of {asked} boots of 200 known clients served, {boots} of one machine by HTTP; new ones: {told:?}"
    );
    // Each asks once and waits a second, where firmware asks four times.
    assert!(served * 1000 >= asked * 995, "{}", first.log_tail(20));
    assert_eq!(told.leases, 0, "nobody could decide on a new address");

    let back = until(Duration::from_secs(60), || {
        (clients.flood(10, Duration::from_secs(4)) == 10).then_some(())
    });
    assert!(back.is_some(), "{}", first.log_tail(20));
}
