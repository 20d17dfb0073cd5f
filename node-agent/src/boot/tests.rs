use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::rc::Rc;

use boot_proto::ids::Digest;

use super::*;
use crate::clock::FakeClock;
use crate::dhcp_client::Lease;
use crate::kernel::fake::FakeKernel;
use crate::net::fake::{FakeDhcp, FakeLinks};

mod disks;
mod verity;

const IMAGE: &[u8] = b"the squashfs";

/// A boot over fakes: one machine, its initramfs in a folder, a boot-server.
struct Bench {
    base: tempfile::TempDir,
    kernel: FakeKernel,
    links: FakeLinks,
    dhcp: FakeDhcp,
    clock: FakeClock,
    log: Log,
    reports: Rc<RefCell<Vec<BootReport>>>,
}

struct Sink(Rc<RefCell<Vec<BootReport>>>);

impl ReportSink for Sink {
    fn send(&mut self, report: BootReport) {
        self.0.borrow_mut().push(report);
    }
    fn finish(&mut self, _patience: Duration) {}
}

impl Bench {
    fn new(cmdline: &str, server: &str) -> Self {
        let base = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &[u8]| {
            let path = base.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write(
            "proc/cmdline",
            format!("quiet moonfarm.server={server} {cmdline}").as_bytes(),
        );
        write("proc/meminfo", b"MemTotal: 2000000 kB\n");
        write("proc/sys/kernel/osrelease", b"6.1\n");
        write("init", b"agent");
        write(
            "lib/modules/6.1/moonfarm.index",
            b"module squashfs squashfs.ko\n",
        );
        // What the overlay will show.
        write("newroot/sbin/init", b"#!");
        let init = base.path().join("newroot/sbin/init");
        fs::set_permissions(init, fs::Permissions::from_mode(0o755)).unwrap();
        let mut dhcp = FakeDhcp {
            lease: Lease {
                address: Ipv4Addr::new(10, 0, 0, 77),
                prefix: 24,
                gateway: None,
                server: Ipv4Addr::new(10, 0, 0, 1),
                mtu: None,
                times: None,
            },
            heard: Vec::new(),
            asked: RefCell::default(),
            kept: RefCell::default(),
        };
        dhcp.heard = vec!["eth0".to_owned(), "eth1".to_owned()];
        Self {
            kernel: FakeKernel::new(base.path()),
            links: FakeLinks::new(2),
            dhcp,
            clock: FakeClock::default(),
            log: Log::new(),
            reports: Rc::default(),
            base,
        }
    }

    fn run(&mut self) -> Failure {
        let reports = Rc::clone(&self.reports);
        let reporter =
            move |_: &str| -> Box<dyn ReportSink> { Box::new(Sink(Rc::clone(&reports))) };
        let trust = Trust::read(self.base.path()).unwrap();
        let mut boot = Boot::new(World {
            kernel: &mut self.kernel,
            links: &mut self.links,
            dhcp: &self.dhcp,
            clock: &self.clock,
            reporter: &reporter,
            log: &self.log,
            trust: &trust,
            paths: Paths::below(self.base.path()),
        });
        let failure = boot.run().expect_err("a fake kernel starts no init");
        boot.report_failure(&failure.reason, Duration::ZERO);
        failure
    }

    fn phases_done(&self) -> Vec<&'static str> {
        let reports = self.reports.borrow();
        reports
            .iter()
            .filter(|r| r.progress == Progress::Done)
            .map(|r| r.phase.name())
            .collect()
    }
}

/// A boot-server that answers every GET: the boot config, else the image.
fn boot_server(config: impl Fn(&mut BootConfig), image: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let mut told = crate::configure::tests::config();
    told.server.clone_from(&server);
    told.image.url = format!("{server}/blobs/x");
    told.image.size = IMAGE.len() as u64;
    told.image.root_digest = Digest::of(IMAGE);
    config(&mut told);
    let json = serde_json::to_vec(&told).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            let is_config = request[..length].starts_with(b"GET /v1/boot-config?mac=52-54-00-");
            let body = if is_config { json.as_slice() } else { image };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(body));
        }
    });
    server
}

#[test]
fn a_good_boot_in_its_order() {
    let mut bench = Bench::new("BOOTIF=01-52-54-00-00-00-01", &boot_server(|_| {}, IMAGE));
    let failure = bench.run();
    // A fake cannot become another program; everything before it was done.
    assert_eq!(
        (failure.phase, failure.attempts),
        (Phase::SwitchRoot, 1),
        "{failure:?}"
    );
    let expected = [
        "mount proc",
        "mount sysfs",
        "mount devtmpfs",
        "mount tmpfs /run ",
        "module /lib/modules/6.1/squashfs.ko",
        "mount tmpfs /run/moonfarm/image mode=0755,size=",
        "loop /run/moonfarm/image/root.squashfs",
        "mount squashfs /run/moonfarm/rootfs",
        "mount tmpfs /run/moonfarm/overlay",
        "mount overlay /newroot lowerdir=",
        "move /dev",
        "move /proc",
        "move /sys",
        "move /run /newroot/run",
        "empty initramfs",
        "enter /newroot",
        "exec /sbin/init",
    ];
    assert_eq!(
        bench.kernel.calls.len(),
        expected.len(),
        "{:#?}",
        bench.kernel.calls
    );
    for (call, begin) in bench.kernel.calls.iter().zip(expected) {
        assert!(call.starts_with(begin), "{call} is not {begin}");
    }
    // The image and all else moved along with /run.
    let image = bench.base.path().join("newroot/run/moonfarm/image");
    assert!(bench.kernel.mounts.iter().any(|(path, _)| *path == image));
    // Only the booting NIC was touched, and was left as it had been found.
    assert_eq!(
        bench.links.calls,
        [
            "up eth1",
            "address eth1 10.0.0.77/24",
            "flush eth1",
            "down eth1"
        ]
    );
    let hostname = fs::read_to_string(bench.base.path().join("newroot/etc/hostname")).unwrap();
    assert_eq!(hostname, "m1-c1n1\n");
    let kept = bench.base.path().join("run/moonfarm/boot-config.json");
    assert_eq!(
        fs::metadata(kept).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn reports_tell_of_every_phase() {
    let mut bench = Bench::new("", &boot_server(|_| {}, IMAGE));
    bench.run();
    assert_eq!(
        bench.phases_done(),
        [
            "address",
            "config",
            "image",
            "root",
            "configure",
            "switch-root"
        ]
    );
    let reports = bench.reports.borrow();
    // The phases before there was a network come along with the later ones.
    let last = reports.last().unwrap();
    assert_eq!(last.phases.len(), 9);
    assert_eq!(last.progress, Progress::Failed);
    assert!(last.log.contains("image: 100 % of"), "{}", last.log);
    let config = reports.iter().find(|r| r.facts.is_some()).unwrap();
    assert_eq!(config.phase, Phase::Config);
    assert_eq!(
        config.facts.as_ref().unwrap().memory_bytes,
        2_000_000 * 1024
    );
}

#[test]
fn an_image_with_a_wrong_octet_is_never_mounted() {
    let mut bench = Bench::new("", &boot_server(|_| {}, b"the squashfS"));
    let failure = bench.run();
    assert_eq!((failure.phase, failure.attempts), (Phase::Image, 2));
    let should = Digest::of(IMAGE);
    assert!(
        failure.reason.ends_with(&format!("but should be {should}")),
        "{failure:?}"
    );
    assert_eq!(bench.kernel.position("loop"), None);
    let file = bench.base.path().join("run/moonfarm/image/root.squashfs");
    assert!(!file.exists());
}

#[test]
fn what_does_not_fit_is_said_before_anything_is_downloaded() {
    let big = |config: &mut BootConfig| config.image.size = 3 << 30;
    let mut bench = Bench::new("", &boot_server(big, IMAGE));
    let failure = bench.run();
    assert_eq!((failure.phase, failure.attempts), (Phase::Config, 1));
    assert!(
        failure.reason.contains("the image needs 3073 MiB"),
        "{failure:?}"
    );
    assert_eq!(
        bench.kernel.position("mount tmpfs /run/moonfarm/image"),
        None
    );
}

#[test]
fn a_config_of_another_version_is_told_as_such() {
    let newer = |config: &mut BootConfig| config.version = 2;
    let failure = Bench::new("", &boot_server(newer, IMAGE)).run();
    assert!(
        failure
            .reason
            .contains("version 2, this agent reads version 1"),
        "{failure:?}"
    );
}

#[test]
fn kernel_failures_are_tried_again_or_end_in_their_phase() {
    let server = boot_server(|_| {}, IMAGE);
    for (call, times, phase, attempts) in [
        ("mount proc", 1, Phase::SwitchRoot, 1),
        ("mount proc", 9, Phase::Mounts, 2),
        ("mount squashfs", 1, Phase::SwitchRoot, 1),
        ("mount squashfs", 9, Phase::Root, 2),
        ("loop", 9, Phase::Root, 2),
        ("move /run", 1, Phase::SwitchRoot, 1),
        ("module", 9, Phase::SwitchRoot, 1),
        // Memory that is not freed is no reason not to boot.
        ("empty", 1, Phase::SwitchRoot, 1),
    ] {
        let mut bench = Bench::new("", &server);
        bench.kernel.fail(call, times);
        let failure = bench.run();
        assert_eq!(
            (failure.phase, failure.attempts),
            (phase, attempts),
            "{call} {failure:?}"
        );
        let mounts = bench
            .kernel
            .calls
            .iter()
            .filter(|c| c.starts_with("mount overlay"))
            .count();
        assert!(mounts <= 1, "{call}: mounted twice");
    }
}

#[test]
fn without_a_server_the_config_phase_gives_up_after_minutes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut bench = Bench::new("", &server);
    let failure = bench.run();
    assert_eq!((failure.phase, failure.attempts), (Phase::Config, 18));
    let waited = crate::clock::Clock::now(&bench.clock).0.as_secs();
    assert!((180..300).contains(&waited), "{waited} s");
}

#[test]
fn links_without_a_cable_or_an_answer_are_passed_over() {
    let server = boot_server(|_| {}, IMAGE);
    // The booting NIC has lost its cable: after a while the other one is used.
    let mut bench = Bench::new("BOOTIF=01-52-54-00-00-00-00", &server);
    bench.links.cabled = vec!["eth1".to_owned()];
    assert_eq!(bench.run().phase, Phase::SwitchRoot);
    assert!(
        bench
            .links
            .calls
            .contains(&"address eth1 10.0.0.77/24".to_owned())
    );
    // Nobody answers on the first NIC.
    let mut bench = Bench::new("", &server);
    bench.dhcp.heard = vec!["eth1".to_owned()];
    assert_eq!(bench.run().phase, Phase::SwitchRoot);
    assert_eq!(*bench.dhcp.asked.borrow(), ["eth0", "eth1"]);
    assert_eq!(*bench.dhcp.kept.borrow(), ["eth1"]);
    // No cable at all.
    let mut bench = Bench::new("", &server);
    bench.links.cabled.clear();
    let failure = bench.run();
    assert_eq!((failure.phase, failure.attempts), (Phase::Links, 4));
    assert!(
        failure.reason.contains("check cable and switch port"),
        "{failure:?}"
    );
    // No NIC at all.
    let mut bench = Bench::new("", &server);
    bench.links.links.clear();
    assert!(bench.run().reason.contains("no network card was found"));
}

#[test]
fn an_mtu_that_a_nic_cannot_have_does_not_stop_the_boot() {
    let server = boot_server(|_| {}, IMAGE);
    for (mtu, is_taken) in [(9000, true), (65_000, false)] {
        let mut bench = Bench::new("", &server);
        bench.dhcp.lease.mtu = Some(mtu);
        assert_eq!(bench.run().phase, Phase::SwitchRoot);
        let told = bench.log.tail();
        assert_eq!(
            bench.links.links[0].mtu == u32::from(mtu),
            is_taken,
            "{told}"
        );
        assert_eq!(!told.contains("the MTU stays 1500"), is_taken, "{told}");
    }
}

#[test]
fn a_static_address_needs_no_dhcp() {
    let server = boot_server(|_| {}, IMAGE);
    let mut bench = Bench::new("ip=10.0.0.9::10.0.0.1:255.255.255.0:::off", &server);
    assert_eq!(bench.run().phase, Phase::SwitchRoot);
    assert!(bench.dhcp.asked.borrow().is_empty());
    assert!(
        bench
            .links
            .calls
            .iter()
            .any(|call| call.ends_with("10.0.0.9/24"))
    );
}

#[test]
fn an_image_without_init_is_refused_while_it_can_be_reported() {
    let mut bench = Bench::new("", &boot_server(|_| {}, IMAGE));
    fs::remove_file(bench.base.path().join("newroot/sbin/init")).unwrap();
    let failure = bench.run();
    assert_eq!(failure.phase, Phase::Root);
    assert!(failure.reason.contains("no /sbin/init"), "{failure:?}");
}
