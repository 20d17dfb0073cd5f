//! Clients that others wrote, privileges, and faults of the host.

use std::process::Command;
use std::time::Duration;

use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use super::dhcp_host::{Host, shell};

const RANGE: &str = "  ranges: [{from: 10.78.0.100, to: 10.78.0.110}]\n";

fn missing(program: &str) -> Option<String> {
    let found = shell(Command::new("sh").args(["-c", &format!("command -v {program}")]));
    found.err().map(|_| format!("{program} is not installed"))
}

fn has_address(host: &Host, address: &str) -> Option<()> {
    let shown = host
        .client
        .ip(&["-4", "address", "show", "dev", "eth0"])
        .ok()?;
    shown.contains(address).then_some(())
}

#[test]
fn dhclient_gets_a_lease() {
    if !needs::is_met(missing("dhclient")) {
        return;
    }
    let Some(mut host) = Host::new(RANGE) else {
        return;
    };
    host.start();
    let leases = host.path("dhclient.leases");
    let mut client = host.client.command("dhclient");
    client.args([
        "-4",
        "-1",
        "-v",
        "-sf",
        "/bin/true",
        "-cf",
        "/dev/null",
        "-lf",
    ]);
    client
        .arg(&leases)
        .arg("-pf")
        .arg(host.path("dhclient.pid"))
        .arg("eth0");
    let said = shell(&mut client).unwrap_or_else(|error| panic!("{error}\n{}", host.log()));
    let lease = std::fs::read_to_string(&leases).unwrap();
    assert!(
        lease.contains("fixed-address 10.78.0.100;"),
        "{lease}\n{said}"
    );
    assert!(lease.contains("option routers 10.78.0.1;"), "{lease}");
}

#[test]
fn dhcpcd_gets_a_lease() {
    if !needs::is_met(missing("dhcpcd")) {
        return;
    }
    let Some(mut host) = Host::new(RANGE) else {
        return;
    };
    host.start();
    let mut client = host.client.command("dhcpcd");
    client.args([
        "-4",
        "--oneshot",
        "--noarp",
        "--timeout",
        "20",
        "-f",
        "/dev/null",
    ]);
    client.args(["--script", "/bin/true", "--noipv4ll", "eth0"]);
    let said = shell(&mut client).unwrap_or_else(|error| panic!("{error}\n{}", host.log()));
    assert!(
        has_address(&host, "10.78.0.100").is_some(),
        "{said}\n{}",
        host.log()
    );
}

#[test]
fn systemd_networkd_gets_a_lease() {
    let program = "/lib/systemd/systemd-networkd";
    if !needs::is_met(missing(program)) {
        return;
    }
    let Some(mut host) = Host::new(RANGE) else {
        return;
    };
    host.start();
    let network = host.path("10-eth0.network");
    std::fs::write(
        &network,
        "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n",
    )
    .unwrap();
    // Without udev it waits for none where /sys is read-only, as in containers.
    let script = format!(
        "mount -o remount,ro /sys && mount -t tmpfs none /run/systemd && \
         mkdir -p /run/systemd/network && cp {} /run/systemd/network && chmod -R a+rX /run/systemd && \
         exec timeout 30 {program}",
        network.display()
    );
    let mut client = host.client.command("unshare");
    client.args(["--mount", "sh", "-c", &script]);
    let log = std::fs::File::create(host.path("networkd.log")).unwrap();
    let mut process = client.stderr(log).spawn().unwrap();
    let bound = until(Duration::from_secs(25), || {
        has_address(&host, "10.78.0.100")
    });
    let _ = process.kill();
    let _ = process.wait();
    let said = std::fs::read_to_string(host.path("networkd.log")).unwrap_or_default();
    assert!(bound.is_some(), "{said}\n{}", host.log());
}

/// Effective capabilities and NoNewPrivs of boot-server.
fn privileges(host: &Host) -> (String, String) {
    let pids = shell(host.server.command("pidof").arg("boot-server")).unwrap();
    let pid = pids.split_whitespace().next().unwrap().to_owned();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim().to_owned()
    };
    (field("CapEff:"), field("NoNewPrivs:"))
}

#[test]
fn two_capabilities_are_enough_and_all_that_root_keeps() {
    let Some(mut host) = Host::new(RANGE) else {
        return;
    };
    // CAP_NET_BIND_SERVICE is bit 10, CAP_NET_RAW bit 13.
    let both = ("0000000000002400".to_owned(), "1".to_owned());
    host.start();
    assert_eq!(privileges(&host), both);
    drop(host.process.take());
    std::fs::remove_dir_all(host.path("state")).unwrap();
    std::fs::create_dir(host.path("state")).unwrap();
    shell(
        Command::new("chown")
            .arg("-R")
            .arg("65534:65534")
            .arg(host.folder.path()),
    )
    .unwrap();
    let nobody = |capabilities: &str| {
        let (inherited, ambient) = (
            format!("--inh-caps={capabilities}"),
            format!("--ambient-caps={capabilities}"),
        );
        let words = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        words
            .map(str::to_owned)
            .into_iter()
            .chain([inherited, ambient])
            .collect()
    };
    host.wrapper = nobody("-all,+net_bind_service,+net_raw");
    host.start();
    assert_eq!(privileges(&host), both);
    assert_eq!(
        host.udhcpc().as_deref(),
        Some("10.78.0.100"),
        "{}",
        host.log()
    );
    drop(host.process.take());
    // Without the one it says what is lost, and serves with broadcasts.
    host.wrapper = nobody("-all,+net_bind_service");
    host.start();
    assert!(host.log().contains("CAP_NET_RAW"), "{}", host.log());
    assert_eq!(
        host.udhcpc().as_deref(),
        Some("10.78.0.100"),
        "{}",
        host.log()
    );
}

/// As a kubelet starts the image: another user, with the pod's capabilities in its
/// hands until the program starts, and none to be gained. What is left then is what
/// the program's file says.
#[test]
fn a_pod_that_is_not_root_serves_with_the_capabilities_of_its_file() {
    const CONTAINER: &str = "exec capsh --keep=1 --gid=65534 --uid=65534 \
        --caps=cap_net_bind_service,cap_net_raw+p --no-new-privs --shell=\"$0\" -- \"$@\"";
    let Some(mut host) = Host::new(RANGE) else {
        return;
    };
    // The copy is the image's; build.sh of deploy/images/containers marks it so.
    let program = host.path("boot-server");
    std::fs::copy(host.program(), &program).unwrap();
    let folder = host.folder.path().to_owned();
    let mut give = Command::new("chown");
    shell(give.args(["-R", "65534:65534"]).arg(&folder)).unwrap();
    let mut mark = Command::new("setcap");
    mark.arg("cap_net_bind_service,cap_net_raw+p");
    shell(mark.arg(&program)).unwrap();
    host.programs = folder;
    host.wrapper = ["sh", "-c", CONTAINER].map(str::to_owned).to_vec();
    host.start();
    let both = ("0000000000002400".to_owned(), "1".to_owned());
    assert_eq!(privileges(&host), both);
    let address = host.udhcpc();
    assert_eq!(address.as_deref(), Some("10.78.0.100"), "{}", host.log());
}

#[test]
fn an_address_that_somebody_uses_is_not_given() {
    let Some(mut host) = Host::new(RANGE) else {
        return;
    };
    host.start();
    // A host with an address of the range that no DHCP server gave it.
    let squatter = moonfarm_tests::lab::Namespace::create().unwrap();
    host.wire(&squatter, "squat");
    squatter
        .ip(&["address", "add", "10.78.0.100/24", "dev", "eth0"])
        .unwrap();
    assert_eq!(
        host.udhcpc().as_deref(),
        Some("10.78.0.101"),
        "{}",
        host.log()
    );
    assert!(host.log().contains("10.78.0.100"), "{}", host.log());
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = shell(Command::new("umount").arg("-l").arg(&self.0));
    }
}

#[test]
fn a_full_disk_and_a_read_only_folder_give_no_lease_and_pass() {
    let range = "  ranges: [{from: 10.78.0.100, to: 10.78.0.250}]\n  probe: false\n";
    let Some(mut host) = Host::new(range) else {
        return;
    };
    let state = host.path("state");
    shell(
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m,huge=never", "none"])
            .arg(&state),
    )
    .unwrap();
    let _mounted = Mounted(state.clone());
    host.start();
    assert_eq!(
        host.udhcpc().as_deref(),
        Some("10.78.0.100"),
        "{}",
        host.log()
    );
    let filler = state.join("filler");
    let _ = std::fs::write(&filler, vec![1; 16 << 20]);
    // The last page of the log still holds some sixty leases.
    let refused = (0..100).any(|last| {
        let mac = format!("02:00:00:00:79:{last:02x}");
        host.client
            .ip(&["link", "set", "eth0", "address", &mac])
            .unwrap();
        host.udhcpc().is_none()
    });
    assert!(refused, "a full disk still gave leases\n{}", host.log());
    assert!(
        host.log().contains("leases cannot be stored"),
        "{}",
        host.log()
    );
    std::fs::remove_file(&filler).unwrap();
    assert!(host.udhcpc().is_some(), "{}", host.log());
    // A server that begins on a read-only folder says so and ends.
    let remount = |how: &str| {
        let options = format!("remount,{how}");
        shell(Command::new("mount").args(["-o", &options]).arg(&state)).unwrap();
    };
    drop(host.process.take());
    remount("ro");
    let began = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host.start()));
    let said = began.unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    assert!(said.contains("state"), "{said}");
    remount("rw");
    host.start();
    assert!(host.udhcpc().is_some(), "{}", host.log());
}

#[test]
fn an_interface_that_goes_and_comes_and_changes_its_address() {
    let Some(mut host) = Host::new(RANGE) else {
        return;
    };
    host.start();
    assert_eq!(
        host.udhcpc().as_deref(),
        Some("10.78.0.100"),
        "{}",
        host.log()
    );
    host.server.ip(&["link", "set", "br0", "down"]).unwrap();
    assert_eq!(host.udhcpc(), None);
    host.server.ip(&["link", "set", "br0", "up"]).unwrap();
    assert_eq!(
        host.udhcpc().as_deref(),
        Some("10.78.0.100"),
        "{}",
        host.log()
    );
    host.server
        .ip(&["address", "delete", "10.78.0.1/24", "dev", "br0"])
        .unwrap();
    host.server
        .ip(&["address", "add", "10.78.0.3/24", "dev", "br0"])
        .unwrap();
    assert!(
        until(Duration::from_secs(15), || host.udhcpc()).is_some(),
        "{}",
        host.log()
    );
}
