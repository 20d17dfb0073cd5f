//! The boot log's decisions, and what is left after a restart.

use boot_proto::api::BootView;
use boot_proto::report::{Phase, PhaseTime, Progress};

use super::record::{FAILED, READY, RUNNING};
use super::*;
use crate::events::Firmware;

const MAC: MacAddr = MacAddr::new([0x94, 0x57, 0xa5, 0xd3, 0xec, 0xf2]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// Seconds after some moment.
fn at(seconds: u64) -> WallClock {
    WallClock(1_700_000_000_000 + seconds * 1000)
}

fn offered(firmware: Firmware) -> BootEvent {
    BootEvent::Offered {
        mac: MAC,
        address: Some(ADDRESS),
        firmware,
        uuid: None,
        machine: None,
        boot_file: Ok("undionly.kpxe".into()),
    }
}

fn script() -> Script<'static> {
    Script {
        mac: MAC,
        address: ADDRESS,
        machine: "m1-c1n1",
        firmware: Some("bios"),
        given: Given::Image(Digest::of(b"image")),
    }
}

fn report(phase: Phase, progress: Progress, uptime_s: u64) -> BootReport {
    BootReport {
        version: 1,
        mac: MAC,
        phase,
        progress,
        percent: None,
        uptime_ms: uptime_s * 1000,
        elapsed_ms: 500,
        message: String::new(),
        log: String::new(),
        facts: None,
        phases: Vec::new(),
    }
}

/// A boot that goes as far as fetching its initramfs, begun at `start`.
fn up_to_initramfs(book: &mut Book, start: u64) {
    book.event(at(start), offered(Firmware::Bios));
    book.event(
        at(start + 1),
        BootEvent::Acknowledged {
            mac: MAC,
            address: ADDRESS,
            firmware: Firmware::Bios,
        },
    );
    book.event(
        at(start + 2),
        BootEvent::File {
            address: ADDRESS,
            path: "undionly.kpxe".into(),
            bytes: 70_000,
            error: None,
        },
    );
    book.event(at(start + 4), offered(Firmware::Ipxe));
    book.script(at(start + 5), &script());
    book.fetched(at(start + 6), ADDRESS, Fetched::Kernel, 10, 10);
    book.fetched(at(start + 7), ADDRESS, Fetched::Initramfs, 10, 10);
}

fn tell(book: &mut Book, seconds: u64, report: &BootReport) {
    book.report(at(seconds), report, "m1-c1n1", ADDRESS);
}

fn latest(book: &Book) -> BootView {
    book.latest(MAC).unwrap().view.clone()
}

#[test]
fn when_a_machine_last_asked_for_a_network_boot() {
    let mut book = Book::default();
    up_to_initramfs(&mut book, 0);
    let asked = |book: &Book| book.latest(MAC).unwrap().asked;
    assert_eq!(asked(&book), at(5), "the boot script");
    // Files, reports and the leases of a running system are no request.
    tell(&mut book, 30, &report(Phase::Image, Progress::Running, 10));
    book.event(at(900), offered(Firmware::Other));
    assert_eq!(asked(&book), at(5));
    book.event(at(1_000), offered(Firmware::Bios));
    book.event(at(1_004), offered(Firmware::Bios));
    assert_eq!(asked(&book), at(1_004), "its firmware asks again");
}

#[test]
fn an_address_that_another_server_gave_is_found_by_its_mac() {
    let mut book = Book::default();
    let file = || BootEvent::File {
        address: ADDRESS,
        path: "snponly.efi".into(),
        bytes: 1,
        error: None,
    };
    book.found_at(ADDRESS, MAC);
    assert!(!book.has_boot_at(ADDRESS), "nobody boots there");
    let mut proxied = offered(Firmware::Uefi);
    if let BootEvent::Offered { address, .. } = &mut proxied {
        *address = None;
    }
    book.event(at(0), proxied);
    book.event(at(1), file());
    assert_eq!(latest(&book).phase, "dhcp");
    book.found_at(ADDRESS, MAC);
    assert!(book.has_boot_at(ADDRESS));
    book.event(at(2), file());
    assert_eq!(latest(&book).phase, "loader");
}

#[test]
fn a_machine_that_asks_in_vain_has_asked() {
    let mut book = Book::default();
    let vain = |firmware| BootEvent::Unanswered {
        mac: MAC,
        firmware,
        reason: "Subnet a has no ranges".into(),
    };
    book.event(at(3), vain(Firmware::Other));
    assert!(book.latest(MAC).is_none(), "a running system is no boot");
    book.event(at(5), vain(Firmware::Uefi));
    assert_eq!(book.latest(MAC).unwrap().asked, at(5));
    let view = latest(&book);
    assert_eq!(view.reason.as_deref(), Some("Subnet a has no ranges"));
    assert_eq!(
        view.steps[0].message,
        "firmware gets no answer: Subnet a has no ranges"
    );
    // Once it is given an address, that is over.
    book.event(at(9), offered(Firmware::Uefi));
    book.script(at(10), &script());
    assert_eq!(latest(&book).reason, None);
}

#[test]
fn a_boot_from_first_packet_to_ready() {
    let mut book = Book::default();
    up_to_initramfs(&mut book, 0);
    let boot = latest(&book);
    assert_eq!(
        (boot.id, boot.phase.as_str(), boot.outcome.as_str()),
        (1, "initramfs", RUNNING)
    );
    assert_eq!(boot.firmware.as_deref(), Some("bios"));
    assert_eq!(boot.image, Some(Digest::of(b"image")));
    let steps: Vec<_> = boot.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(
        steps,
        [
            "dhcp",
            "dhcp",
            "loader",
            "dhcp",
            "script",
            "kernel",
            "initramfs"
        ]
    );

    let before_network = [Phase::Mounts, Phase::Modules].map(|phase| PhaseTime {
        phase,
        started_ms: 100,
        elapsed_ms: 50,
    });
    let config = BootReport {
        phases: before_network.into(),
        ..report(Phase::Config, Progress::Done, 3)
    };
    tell(&mut book, 12, &config);
    let percent = BootReport {
        percent: Some(40),
        ..report(Phase::Image, Progress::Running, 4)
    };
    tell(&mut book, 13, &percent);
    assert_eq!(latest(&book).percent, Some(40));
    tell(
        &mut book,
        20,
        &report(Phase::SwitchRoot, Progress::Done, 11),
    );
    tell(&mut book, 40, &report(Phase::Join, Progress::Done, 31));
    book.ready(at(50), 1, "Node m1-c1n1 is Ready");
    let boot = latest(&book);
    assert_eq!(
        (boot.phase.as_str(), boot.outcome.as_str()),
        ("ready", READY)
    );
    let phases: Vec<_> = boot.phases.iter().map(|time| time.phase.name()).collect();
    assert_eq!(
        phases,
        [
            "mounts",
            "modules",
            "config",
            "switch-root",
            "join",
            "ready"
        ]
    );
    let ready = boot.phases.last().unwrap();
    assert_eq!((ready.started_ms, ready.elapsed_ms), (31_000, 10_000));

    // A late double of an old report changes nothing.
    let before = latest(&book);
    tell(&mut book, 51, &percent);
    assert_eq!(latest(&book).outcome, before.outcome);
    assert_eq!(latest(&book).phase, before.phase);
}

#[test]
fn what_begins_a_new_boot() {
    use Firmware::{Bios, Ipxe, Other, Uefi};
    let ready = |book: &mut Book| {
        up_to_initramfs(book, 0);
        book.ready(at(60), 1, "ready");
    };
    let scripted = |book: &mut Book| {
        book.event(at(0), offered(Ipxe));
        book.script(at(5), &script());
    };
    type Prepare<'a> = &'a dyn Fn(&mut Book);
    let cases: [(&str, Prepare<'_>, Firmware, u64, usize); 11] = [
        (
            "firmware asks twice",
            &|book| book.event(at(0), offered(Bios)),
            Bios,
            4,
            1,
        ),
        (
            "firmware gave up, then started again",
            &|book| book.event(at(0), offered(Bios)),
            Bios,
            200,
            2,
        ),
        (
            "iPXE after its firmware",
            &|book| book.event(at(0), offered(Uefi)),
            Ipxe,
            9,
            1,
        ),
        ("firmware after a script", &scripted, Bios, 8, 2),
        ("iPXE again after its script", &scripted, Ipxe, 8, 1),
        ("iPXE long after its script", &scripted, Ipxe, 300, 2),
        (
            "firmware in the middle of a boot",
            &|book| up_to_initramfs(book, 0),
            Bios,
            20,
            2,
        ),
        (
            "iPXE as ROM in the middle of a boot",
            &|book| up_to_initramfs(book, 0),
            Ipxe,
            20,
            2,
        ),
        (
            "the initramfs asks",
            &|book| up_to_initramfs(book, 0),
            Other,
            12,
            1,
        ),
        ("firmware of a ready node", &ready, Uefi, 900, 2),
        ("a ready node renews", &ready, Other, 900, 1),
    ];
    for (what, prepare, firmware, seconds, boots) in cases {
        let mut book = Book::default();
        prepare(&mut book);
        book.event(at(seconds), offered(firmware));
        assert_eq!(book.boots().count(), boots, "{what}");
        if boots == 2 {
            assert_ne!(book.boots().next().unwrap().view.outcome, RUNNING, "{what}");
            assert_eq!(latest(&book).phase, "dhcp", "{what}");
        }
    }
    let mut book = Book::default();
    book.event(at(0), offered(Other));
    assert_eq!(
        book.boots().count(),
        0,
        "an operating system's DHCP is no boot"
    );
}

#[test]
fn reports_late_twice_and_out_of_order() {
    let mut book = Book::default();
    up_to_initramfs(&mut book, 0);
    tell(&mut book, 20, &report(Phase::Image, Progress::Done, 11));
    // Out of order: an earlier phase, and an older word on this one.
    tell(&mut book, 21, &report(Phase::Config, Progress::Done, 5));
    tell(
        &mut book,
        22,
        &BootReport {
            percent: Some(3),
            ..report(Phase::Image, Progress::Running, 6)
        },
    );
    let boot = latest(&book);
    assert_eq!((boot.phase.as_str(), boot.percent), ("image", Some(100)));
    assert_eq!(boot.phases.len(), 2);

    // The machine is reset; a report of the old kernel comes in after that.
    book.event(at(100), offered(Firmware::Bios));
    tell(&mut book, 101, &report(Phase::Join, Progress::Done, 92));
    assert_eq!(latest(&book).phase, "dhcp");
    assert_eq!(book.boots().next().unwrap().view.phase, "join");
}

/// A kernel that no loader of ours started: the first report is the first word.
#[test]
fn a_boot_that_begins_with_a_report_takes_the_next_ones_too() {
    let mut book = Book::default();
    tell(&mut book, 111, &report(Phase::Address, Progress::Done, 11));
    tell(&mut book, 112, &report(Phase::Config, Progress::Failed, 12));
    let boot = latest(&book);
    assert_eq!(
        (boot.phase.as_str(), boot.outcome.as_str()),
        ("config", "failed")
    );
    assert_eq!(boot.started, at(100));
    // It restarts, and is another boot.
    tell(&mut book, 151, &report(Phase::Address, Progress::Done, 11));
    let again = latest(&book);
    assert!(
        again.id > boot.id && again.outcome == "running",
        "{again:#?}"
    );
}

#[test]
fn a_failure_is_kept_until_it_is_overcome() {
    let mut book = Book::default();
    up_to_initramfs(&mut book, 0);
    let failed = BootReport {
        message: "digest differs\u{1b}[2J".into(),
        log: "line\n".repeat(9000),
        ..report(Phase::Image, Progress::Failed, 20)
    };
    tell(&mut book, 30, &failed);
    let boot = latest(&book);
    assert_eq!(
        (boot.outcome.as_str(), boot.phase.as_str()),
        (FAILED, "image")
    );
    assert_eq!(boot.reason.as_deref(), Some("digest differs[2J"));
    assert!(boot.log.unwrap().len() <= 16_000);

    tell(&mut book, 40, &report(Phase::Image, Progress::Started, 30));
    let boot = latest(&book);
    assert_eq!(boot.outcome, RUNNING);
    assert!(boot.reason.is_some(), "why it is retried stays visible");
    tell(&mut book, 41, &failed);
    assert_eq!(
        latest(&book).outcome,
        RUNNING,
        "a double of the old failure is not news"
    );
    tell(&mut book, 50, &report(Phase::Image, Progress::Done, 40));
    let boot = latest(&book);
    assert_eq!((boot.reason, boot.log), (None, None));
}

#[test]
fn silence_fails_a_boot_and_a_word_brings_it_back() {
    let mut book = Book::default();
    up_to_initramfs(&mut book, 0);
    book.expire(at(500));
    assert_eq!(latest(&book).outcome, RUNNING);
    book.expire(at(700));
    let boot = latest(&book);
    assert_eq!(boot.outcome, FAILED);
    assert_eq!(
        boot.reason.as_deref(),
        Some("no sign of life since initramfs")
    );
    tell(&mut book, 800, &report(Phase::Join, Progress::Started, 790));
    assert_eq!(latest(&book).outcome, RUNNING);
    book.stuck(at(900), 1, "the Node is not Ready: CNI is missing");
    assert_eq!(
        latest(&book).reason.as_deref(),
        Some("the Node is not Ready: CNI is missing")
    );
    book.ready(at(950), 1, "ready");
    assert_eq!(
        (latest(&book).outcome.as_str(), latest(&book).reason),
        (READY, None)
    );
    book.expire(at(9000));
    assert_eq!(latest(&book).outcome, READY);
}

/// Pods' traffic leaves a node with the node's own address: what they ask for
/// must not open the boot face's secrets again.
#[test]
fn after_ready_only_dhcp_begins_a_boot() {
    let mut book = Book::default();
    up_to_initramfs(&mut book, 0);
    tell(&mut book, 60, &report(Phase::Join, Progress::Done, 50));
    book.ready(at(70), 1, "ready");
    book.script(at(80), &script());
    tell(&mut book, 90, &report(Phase::Mounts, Progress::Started, 1));
    let boot = latest(&book);
    assert_eq!((boot.id, boot.outcome.as_str()), (1, READY));
    book.event(at(100), offered(Firmware::Bios));
    book.script(at(110), &script());
    let boot = latest(&book);
    assert_eq!((boot.id, boot.outcome.as_str()), (2, RUNNING));

    // Where others do DHCP and we never saw any, the script has to do.
    let mut book = Book::default();
    book.script(at(0), &script());
    book.ready(at(70), 1, "ready");
    book.script(at(80), &script());
    assert_eq!(latest(&book).id, 2);
}

#[test]
fn a_script_alone_begins_a_boot_and_says_why_there_is_none() {
    let mut book = Book::default();
    let refused = Script {
        given: Given::Nothing("no pool takes it".into()),
        ..script()
    };
    for seconds in [0, 5, 15] {
        book.script(at(seconds), &refused);
    }
    let boot = latest(&book);
    assert_eq!((book.boots().count(), boot.steps.len()), (1, 1));
    assert_eq!(boot.reason.as_deref(), Some("no pool takes it"));
    book.script(at(30), &script());
    assert_eq!(latest(&book).reason, None);
    book.fetched(at(31), ADDRESS, Fetched::Kernel, 4, 10);
    assert_eq!(latest(&book).phase, "script", "half a kernel is none");
}

#[test]
fn a_file_that_did_not_arrive_is_the_reason_until_one_does() {
    let file = |error: Option<&str>| BootEvent::File {
        address: ADDRESS,
        path: "undionly.kpxe".into(),
        bytes: 0,
        error: error.map(str::to_owned),
    };
    let mut book = Book::default();
    book.event(at(0), offered(Firmware::Bios));
    book.event(at(1), file(Some("not found")));
    let boot = latest(&book);
    assert_eq!(boot.phase, "dhcp");
    assert!(boot.reason.unwrap().contains("not found"));
    book.event(at(2), file(None));
    let boot = latest(&book);
    assert_eq!((boot.phase.as_str(), boot.reason), ("loader", None));
}

#[test]
fn the_log_is_bounded_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let open = || BootLog::open(Database::open(&path).unwrap()).unwrap();
    let observer: Observer = Arc::new(|_, _| {});
    {
        let log = open();
        for _ in 0..25 {
            log.record(offered(Firmware::Bios));
            log.script(&script());
            let id = log.latest(MAC).unwrap().id;
            log.ready(id, "ready");
            log.flush(&observer);
        }
        assert_eq!(log.list().len(), 20);
    }
    let log = open();
    let boots = log.list();
    assert_eq!((boots.len(), boots[0].id, boots[19].id), (20, 6, 25));
    assert_eq!(boots[19].outcome, READY);
    assert_eq!(boots[19].machine.as_deref(), Some("m1-c1n1"));
    log.record(offered(Firmware::Uefi));
    let latest = log.latest(MAC).unwrap();
    assert_eq!(
        (latest.id, latest.machine.as_deref()),
        (26, Some("m1-c1n1"))
    );

    let mut long = record::Boot::begin(1, at(0), MAC, None);
    for step in 0..1000 {
        long.step(at(step), "dhcp", &format!("try {step}"));
    }
    assert!(long.view.steps.len() <= 120);
    assert_eq!(long.view.steps[0].message, "try 0");
    assert_eq!(long.view.steps.last().unwrap().message, "try 999");
}

#[test]
fn failures_are_counted_since_the_last_ready_boot() {
    for (outcomes, expected) in [
        (&[][..], 0),
        (&["failed", "failed"], 2),
        (&["failed", "ready", "failed"], 1),
        (&["failed", "running", "failed", "running"], 2),
        (&["failed", "ready"], 0),
    ] {
        assert_eq!(
            super::count_failures(outcomes.iter().copied()),
            expected,
            "{outcomes:?}"
        );
    }
}

/// The kernel of a machine that was started by kexec runs for seconds before its
/// agent asks for an address; what the agent tells is of the new boot.
#[test]
fn reports_of_a_boot_that_the_agent_began_are_its_own() {
    let mut book = Book::default();
    up_to_initramfs(&mut book, 0);
    tell(&mut book, 20, &report(Phase::Join, Progress::Done, 12));
    let first = latest(&book).id;
    book.ready(at(30), first, "ready");
    book.event(
        at(60),
        BootEvent::AgentAsked {
            mac: MAC,
            machine: Some("m1-c1n1".into()),
        },
    );
    tell(&mut book, 61, &report(Phase::Address, Progress::Done, 9));
    let failed = BootReport {
        message: "no join token".into(),
        ..report(Phase::Join, Progress::Failed, 40)
    };
    tell(&mut book, 92, &failed);
    let boot = latest(&book);
    assert_ne!(boot.id, first);
    assert_eq!(boot.reason.as_deref(), Some("no join token"));
    // A word of the former kernel that was long on its way is not.
    tell(&mut book, 93, &report(Phase::Join, Progress::Failed, 80));
    assert_eq!(latest(&book).reason.as_deref(), Some("no join token"));
}
