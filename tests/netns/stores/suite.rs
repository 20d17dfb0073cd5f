//! What both stores must do, case by case; each builds on those before.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::ids::MacAddr;
use boot_proto::report::{Phase, Progress};
use moonfarm_tests::wait::until;

use super::clients::{MAC, RELAY, Relayed, SERVER, asks_for_a_script, http, report};
use super::place::Place;
use crate::known_machine::KnownMachine;

/// A case.
pub type Case = fn(&mut Place<'_>);

/// All cases in order.
pub const CASES: &[(&str, Case)] = &[
    ("what is declared is seen, and its changes", declared),
    ("a wrong change leaves in force what was there", wrong),
    ("what is withdrawn is gone", withdrawn),
    ("an address is one client's", leases),
    ("a kill forgets no lease", leases_after_a_kill),
    ("a stranger is remembered", strangers),
    ("a machine never loses a MAC", facts),
    ("a boot is remembered", boot_records),
    ("a token is one at a time, and revoked after a kill", tokens),
    ("a change is in the next answer", in_force),
];

const SECOND_MAC: &str = "02:4d:46:07:01:02";
const CLIENTS: u8 = 24;
/// The range has room for the clients, and not for many more.
const LAST: u8 = CLIENTS + 8;

fn farm(place: &Place<'_>) -> String {
    format!(
        r#"
apiVersion: moonfarm.dev/v1alpha1
kind: Cluster
metadata: {{name: c1}}
spec:
  endpoint: {endpoint}
  caCertHashes: ["{hash}"]
  kubeconfigFile: {kubeconfig}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {{name: newcomers}}
spec: {{image: none, catchAll: true}}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {{name: lan}}
spec: {{cidr: 10.77.0.0/25, probe: false, ranges: [{{from: 10.77.0.100, to: 10.77.0.120}}]}}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {{name: rack}}
spec:
  cidr: 10.79.0.0/24
  relay: {RELAY}
  probe: false
  strangers: {{burst: 100000, perMinute: 100000}}
  ranges: [{{from: 10.79.0.1, to: 10.79.0.{LAST}}}]
"#,
        endpoint = place.lab.plane.endpoint(),
        hash = place.lab.plane.ca_hash(),
        kubeconfig = place.lab.plane.kubeconfig().display(),
    )
}

fn pool(profiles: &str, hostname: &str) -> String {
    format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: NodePool\nmetadata: {{name: workers}}\n\
         spec: {{image: none, cluster: c1, profiles: [{profiles}], hostname: \"{hostname}\"}}\n"
    )
}

fn machine(name: &str, mac: &str, address: &str) -> String {
    format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Machine\nmetadata: {{name: {name}}}\n\
         spec: {{pool: workers, macs: ['{mac}'], address: {address}}}\n"
    )
}

fn client(number: u8) -> MacAddr {
    MacAddr::new([2, 0x79, 0, 0, 1, number])
}

fn declared(place: &mut Place<'_>) {
    place.declare("farm", &farm(place));
    place.declare("pool", &pool("", "{machine}"));
    place.declare("one", &machine("one", MAC, "10.77.0.11"));
    place.wait_for("one", "is declared", |one| {
        one["declared"] == true && one["pool"] == "workers" && one["hostname"] == "one"
    });
    place.declare("one", &machine("one", MAC, "10.77.0.12"));
    place.wait_for("one", "has another address", |one| {
        one["spec"]["address"] == "10.77.0.12"
    });
}

fn wrong(place: &mut Place<'_>) {
    place.declare("pool", &pool("absent", "other-{machine}"));
    place.wait_for_word("absent");
    let one = place.machine("one");
    assert_eq!(one["hostname"], "one", "{one:#}");
    place.declare("pool", &pool("", "node-{machine}"));
    place.wait_for("one", "has its new name", |one| {
        one["hostname"] == "node-one"
    });
}

fn withdrawn(place: &mut Place<'_>) {
    let two = machine("two", "02:4d:46:07:01:77", "10.77.0.13");
    place.declare("two", &two);
    place.wait_for("two", "is declared", |two| two["declared"] == true);
    place.withdraw("two");
    place.wait_for("two", "is gone", |two| two["declared"] != true);
}

/// What a profile says is in the script that a machine is given right after it is
/// said.
fn in_force(place: &mut Place<'_>) {
    let address = Ipv4Addr::new(10, 77, 0, 12);
    let machine = KnownMachine::new(place.lab, SERVER, &place.state(), address);
    let profile = |color: &str| {
        format!(
            "apiVersion: moonfarm.dev/v1alpha1\nkind: Profile\nmetadata: {{name: base}}\n\
             spec: {{kernelArguments: [farm.color={color}]}}\n"
        )
    };
    let has = |color: &str| {
        let mut last = String::new();
        let found = until(Duration::from_secs(20), || {
            last = machine.script().unwrap_or_else(|error| error);
            let is_it = match color {
                "" => last.contains("/blobs/") && !last.contains("farm.color="),
                color => last.contains(&format!("farm.color={color} ")),
            };
            is_it.then_some(())
        });
        assert!(found.is_some(), "{color}: {last}\n{}", place.log());
    };
    place.declare("base", &profile("blue"));
    let with_image = |profiles: &str| pool(profiles, "node-{machine}").replace("none", "debian");
    place.declare("pool", &with_image("base"));
    has("blue");
    place.declare("base", &profile("green"));
    has("green");
    place.declare("pool", &with_image(""));
    has("");
    place.withdraw("base");
    place.declare("pool", &pool("", "node-{machine}"));
    machine.leaves();
}

fn leases(place: &mut Place<'_>) {
    let relayed = Relayed::new(place.lab);
    let offered: Vec<_> = (0..CLIENTS)
        .map(|number| relayed.discover(client(number)))
        .collect();
    for (number, address) in (0..CLIENTS).zip(&offered) {
        assert!(relayed.request(client(number), *address), "{number}");
    }
    let given: BTreeSet<_> = offered.iter().collect();
    assert_eq!(given.len(), usize::from(CLIENTS), "{offered:?}");
    for (number, address) in (0..CLIENTS).zip(&offered) {
        assert!(relayed.come_back(client(number), *address), "{number}");
    }
    let thief = client(200);
    assert!(!relayed.come_back(thief, offered[0]));
    let held = held(place);
    assert_eq!(held.len(), usize::from(CLIENTS), "{held:?}");
    let of_first = (offered[0].to_string(), client(0).to_string());
    assert!(held.contains(&of_first), "{held:?}");
}

/// Address and MAC of each lease in the rack.
fn held(place: &Place<'_>) -> BTreeSet<(String, String)> {
    let leases = place.get(&["leases"]);
    let word =
        |lease: &serde_json::Value, key: &str| lease[key].as_str().unwrap_or_default().to_owned();
    let all = leases.as_array().unwrap().iter();
    all.filter(|lease| lease["subnet"] == "rack")
        .map(|lease| (word(lease, "address"), word(lease, "mac")))
        .collect()
}

fn leases_after_a_kill(place: &mut Place<'_>) {
    let before = held(place);
    place.restart();
    assert_eq!(held(place), before, "{}", place.log());
    let relayed = Relayed::new(place.lab);
    for (address, mac) in &before {
        let (address, mac) = (address.parse().unwrap(), mac.parse().unwrap());
        assert!(relayed.come_back(mac, address), "{mac} {address}");
    }
    let taken: BTreeSet<Ipv4Addr> = before.iter().map(|(ip, _)| ip.parse().unwrap()).collect();
    let offered = relayed.discover(client(201));
    assert!(!taken.contains(&offered), "{offered} is another client's");
}

fn strangers(place: &mut Place<'_>) {
    let mac = client(3).to_string();
    let name = mac.replace(':', "-");
    let held = held(place);
    let (address, _) = held.iter().find(|(_, holder)| *holder == mac).unwrap();
    asks_for_a_script(place.lab, address);
    let is_known = |one: &serde_json::Value| one["pool"] == "newcomers";
    place.wait_for(&name, "is known", is_known);
    place.restart();
    place.wait_for(&name, "is known after a kill", is_known);
}

fn facts(place: &mut Place<'_>) {
    place.lab.takes_its_address();
    let config = format!("/v1/boot-config?mac={MAC}");
    // The store has no image: all before that is as in any boot.
    assert_eq!(http(place.lab, "GET", &config, None), "404");
    let all = [MAC, SECOND_MAC];
    report(place.lab, Phase::Links, Progress::Done, &all);
    report(place.lab, Phase::Config, Progress::Done, &[MAC]);
    let has_both = |one: &serde_json::Value| {
        let macs = one["status"]["facts"]["macs"].as_array();
        macs.is_some_and(|macs| all.iter().all(|mac| macs.iter().any(|it| it == mac)))
            && one["status"]["facts"]["serial"] == "CZ1234"
    };
    place.wait_for("one", "has both MACs", has_both);
    place.restart();
    place.wait_for("one", "has both MACs after a kill", has_both);
}

fn boot_records(place: &mut Place<'_>) {
    report(place.lab, Phase::SwitchRoot, Progress::Done, &[]);
    place.wait_for("one", "is at its hand-over", |one| {
        one["status"]["phase"] == "switch-root" && one["status"]["address"] == "10.77.0.12"
    });
    let before = place.get(&["boots"]);
    let of_one = |boots: &serde_json::Value| {
        let all = boots.as_array().cloned().unwrap_or_default();
        all.into_iter()
            .filter(|boot| boot["machine"] == "one")
            .collect::<Vec<_>>()
    };
    assert_eq!(of_one(&before).len(), 1, "{before:#}");
    place.restart();
    assert_eq!(of_one(&place.get(&["boots"])), of_one(&before));
    place.wait_for("one", "is at its hand-over after a kill", |one| {
        one["status"]["phase"] == "switch-root"
    });
}

fn tokens(place: &mut Place<'_>) {
    let ask = |place: &Place<'_>| {
        http(
            place.lab,
            "POST",
            &format!("/v1/join-token?mac={MAC}"),
            None,
        )
    };
    assert_eq!(ask(place), "200", "{}", place.log());
    let first = alive(place);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(ask(place), "429");
    place.restart();
    // Another one takes its place.
    let again = until(Duration::from_secs(20), || {
        (ask(place) == "200").then_some(())
    });
    assert!(again.is_some(), "{}", place.log());
    let second = alive(place);
    assert_eq!(second.len(), 1, "{second:?}");
    assert_ne!(second, first);
    place.restart();
    report(place.lab, Phase::Join, Progress::Done, &[]);
    let revoked = until(Duration::from_secs(20), || {
        alive(place).is_empty().then_some(())
    });
    assert!(revoked.is_some(), "{}", place.log());
}

/// The bootstrap tokens in the cluster.
fn alive(place: &Place<'_>) -> BTreeSet<String> {
    let words = "-n kube-system get secrets -o name \
                 --field-selector=type=bootstrap.kubernetes.io/token";
    let text = place.lab.kubectl(words);
    text.lines().map(str::to_owned).collect()
}
