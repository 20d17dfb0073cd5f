//! What a scan finds, by library and by command line.

use boot_proto::api::ObservedMachine;
use boot_proto::resources::ObservedPower;
use chassis_agent::drivers::{BootTarget, PowerOrderKind, Scope};
use moonfarm_tests::chassis::{Fault, ListShape, Manager, Options};

use super::*;

/// One line a machine, as a person would note it down.
fn summary(machines: &[ObservedMachine]) -> Vec<String> {
    machines
        .iter()
        .map(|machine| {
            let macs: Vec<String> = machine.macs.iter().map(ToString::to_string).collect();
            let serial = machine.serial.as_deref().unwrap_or("-");
            let model = machine.model.as_deref().unwrap_or("-");
            format!(
                "{} {} [{}] {model} {serial}",
                machine.slot,
                machine.power,
                macs.join(" ")
            )
        })
        .collect()
}

const EXPECTED: [&str; 8] = [
    "c1n1 On [9c:b6:54:01:01:01 9c:b6:54:01:01:02] ProLiant m510 Server Cartridge CZ0001",
    "c7n1 Off [9c:b6:54:07:01:01 9c:b6:54:07:01:02] ProLiant m700 Server Cartridge -",
    "c7n2 Off [9c:b6:54:07:02:01 9c:b6:54:07:02:02] ProLiant m700 Server Cartridge -",
    "c7n3 Off [9c:b6:54:07:03:01 9c:b6:54:07:03:02] ProLiant m700 Server Cartridge -",
    "c7n4 Off [9c:b6:54:07:04:01 9c:b6:54:07:04:02] ProLiant m700 Server Cartridge -",
    "c11n1 Off [9c:b6:54:0b:01:01 9c:b6:54:0b:01:02] ProLiant m510 Server Cartridge -",
    "c12n1 On [9c:b6:54:0c:01:01 9c:b6:54:0c:01:02] ProLiant m510 Server Cartridge -",
    "c45n1 On [9c:b6:54:2d:01:02] ProLiant m510 Server Cartridge -",
];

#[tokio::test]
async fn every_list_shape_shows_the_same_machines() {
    for shape in [
        ListShape::Health2014,
        ListShape::Status,
        ListShape::AssetTag2021,
    ] {
        let chassis = start(Options {
            shape,
            model: model(),
            ..Options::default()
        });
        let mut driver = driver(&chassis).await;
        let machines = driver.observe(Scope::Full).await.unwrap();
        assert_eq!(summary(&machines), EXPECTED, "{shape:?}");
        let last = &machines[7].nics;
        assert_eq!(last.len(), 1);
        assert_eq!(
            (last[0].name.as_str(), last[0].switch.as_deref()),
            ("NIC 2", Some("Switch B"))
        );
    }
}

#[tokio::test]
async fn a_chassis_is_visited_on_one_connection_with_few_commands() {
    let chassis = chassis();
    let mut driver = driver(&chassis).await;
    driver.observe(Scope::Full).await.unwrap();
    assert_eq!(
        chassis.commands(),
        [
            "show node list",
            "show node power all",
            "show node macaddr all",
            "show node info all"
        ]
    );
    for _ in 0..3 {
        driver.observe(Scope::Power).await.unwrap();
    }
    driver.observe(Scope::Full).await.unwrap();
    // Facts do not change while the MACs do not.
    let info = chassis
        .commands()
        .iter()
        .filter(|c| c.starts_with("show node info"))
        .count();
    assert_eq!(info, 1);
    assert_eq!(chassis.connections(), 1);
}

#[tokio::test]
async fn a_full_chassis_takes_three_commands_found_or_declared() {
    let model = || {
        (1..=45).fold(ChassisModel::new(), |model, slot| {
            let node = Node::inert(slot % 2 == 0).macs([mac(slot, 1, 1), mac(slot, 1, 2)]);
            let cartridge = Cartridge::new("ProLiant m510 Server Cartridge").serial("CZ1");
            model.with(slot, cartridge.node(node))
        })
    };
    for shape in [
        ListShape::Health2014,
        ListShape::Status,
        ListShape::AssetTag2021,
    ] {
        for profile in ["auto", "hpe-moonshot-1500"] {
            let chassis = start(Options {
                shape,
                model: model(),
                ..Options::default()
            });
            let target = Target {
                profile: profile.into(),
                ..target(&chassis)
            };
            let mut driver = open(target).await.unwrap();
            let machines = driver.observe(Scope::Full).await.unwrap();
            assert_eq!(driver.profile(), "hpe-moonshot-1500");
            let known = machines
                .iter()
                .filter(|machine| machine.macs.len() == 2 && machine.serial.is_some())
                .count();
            assert_eq!((machines.len(), known), (45, 45));
            assert_eq!(
                chassis.commands(),
                [
                    "show node list",
                    "show node macaddr all",
                    "show node info all"
                ],
                "{profile} {shape:?}"
            );
            // A later look is a new one.
            let seen = driver.observe(Scope::Power).await.unwrap();
            assert_eq!((seen.len(), driver.requests()), (45, 4));
        }
    }
}

#[tokio::test]
async fn what_the_firmware_does_not_know_is_asked_node_by_node() {
    let chassis = chassis();
    let invalid = |command: &str| Fault::Answer(command.into(), "Invalid command\r\n".into());
    chassis.faults().set([
        invalid("show node macaddr all"),
        invalid("show node info all"),
        invalid("show node power all"),
    ]);
    let mut driver = driver(&chassis).await;
    let machines = driver.observe(Scope::Full).await.unwrap();
    // A cartridge's serial number is shown to one node at a time here.
    let macs_and_power = |lines: &[String]| -> Vec<String> {
        lines
            .iter()
            .map(|line| line.split(']').next().unwrap().to_owned())
            .collect()
    };
    let expected: Vec<String> = EXPECTED.iter().map(|line| (*line).to_owned()).collect();
    assert_eq!(
        macs_and_power(&summary(&machines)),
        macs_and_power(&expected)
    );
    assert!(
        machines
            .iter()
            .all(|m| m.model.as_deref().is_some_and(|m| m.contains("ProLiant")))
    );
    driver.observe(Scope::Full).await.unwrap();
    let refused = chassis
        .commands()
        .iter()
        .filter(|c| *c == "show node macaddr all")
        .count();
    assert_eq!(
        refused, 1,
        "a command the firmware does not know is asked once"
    );
}

#[tokio::test]
async fn a_device_with_a_shell_only_is_read_through_the_shell() {
    for fault in [Fault::NoExec, Fault::EmptyExec] {
        for prompt in ["hpiLO->", "moonshot1->", "MP>"] {
            let options = Options {
                prompt: prompt.into(),
                model: model(),
                ..Options::default()
            };
            let chassis = start(options);
            chassis.faults().set([fault.clone()]);
            let mut driver = driver(&chassis).await;
            for _ in 0..2 {
                let machines = driver.observe(Scope::Full).await.unwrap();
                assert_eq!(summary(&machines), EXPECTED, "{fault:?} {prompt}");
            }
            assert_eq!(chassis.connections(), 1, "{fault:?} {prompt}");
        }
    }
}

#[tokio::test]
async fn a_prompt_too_many_shifts_no_answer() {
    let chassis = chassis();
    chassis.faults().set([Fault::NoExec, Fault::DoublePrompt]);
    let mut driver = driver(&chassis).await;
    for _ in 0..2 {
        assert_eq!(
            summary(&driver.observe(Scope::Full).await.unwrap()),
            EXPECTED
        );
    }
}

#[tokio::test]
async fn pages_are_turned_and_prompts_behind_a_row_taken_off() {
    for faults in [
        vec![Fault::Pager(3)],
        vec![Fault::NoExec, Fault::Pager(2)],
        vec![Fault::NoExec, Fault::GluedPrompt],
    ] {
        let chassis = chassis();
        chassis.faults().set(faults.clone());
        let mut driver = driver(&chassis).await;
        let machines = driver.observe(Scope::Full).await.unwrap();
        assert_eq!(summary(&machines), EXPECTED, "{faults:?}");
    }
}

#[tokio::test]
async fn a_connection_the_device_closes_is_opened_again() {
    let chassis = chassis();
    chassis.faults().set([Fault::OneCommandPerConnection]);
    let mut first = driver(&chassis).await;
    assert_eq!(
        summary(&first.observe(Scope::Full).await.unwrap()),
        EXPECTED
    );
    chassis.faults().clear();
    let mut second = driver(&chassis).await;
    second.observe(Scope::Power).await.unwrap();
    chassis.cut_connections();
    assert_eq!(second.observe(Scope::Power).await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_chassis_without_cartridges_has_no_machines() {
    let chassis = start(Options::default());
    assert_eq!(
        driver(&chassis).await.observe(Scope::Full).await.unwrap(),
        []
    );
}

#[tokio::test]
async fn auto_recognises_the_chassis_and_nothing_else() {
    let chassis = chassis();
    let auto = Target {
        profile: "auto".into(),
        ..target(&chassis)
    };
    let driver = open(auto.clone()).await.unwrap();
    assert_eq!(driver.profile(), "hpe-moonshot-1500");
    chassis
        .faults()
        .set([Fault::Answer("show".into(), "Invalid command\r\n".into())]);
    let error = open(auto).await.err().unwrap();
    assert!(error.to_string().contains("--profile"), "{error}");
}

/// A Chassis Manager 2.0 with a blade that is on and one that is off.
fn manager_2() -> VirtualChassis {
    let blade = |slot: u8, is_on: bool| {
        let node = Node::inert(is_on)
            .macs([mac(slot, 1, 1), mac(slot, 1, 2)])
            .uuid(&format!("34373150-3234-4e43-4b31-3031303030{slot:02}"));
        Cartridge::new("ProLiant m750 Server Blade")
            .serial(&format!("CN1111100{slot}"))
            .node(node)
    };
    start(Options {
        manager: Manager::Two,
        model: ChassisModel::new()
            .with(1, blade(1, true))
            .with(12, blade(12, false)),
        ..Options::default()
    })
}

#[tokio::test]
async fn chassis_manager_2_is_recognised_and_read() {
    let chassis = manager_2();
    let auto = Target {
        profile: "auto".into(),
        ..target(&chassis)
    };
    // It may know the list of 1.x as well, which must not mislead.
    let whole_list = "Slot ID    Proc Manufacturer  Architecture      Memory Power Status\r\n\
                      ---- ----- ------------------ ----------------- ------ ----- ------\r\n\
                      01   c1n1  Intel Corporation  x86 Architecture  32 GB  Off   OK\r\n";
    for list in [
        "Invalid command\r\n",
        "Slot ID\r\n---- -----\r\n",
        whole_list,
    ] {
        chassis
            .faults()
            .set([Fault::Answer("show node list".into(), list.into())]);
        let mut driver = open(auto.clone()).await.unwrap();
        let machines = driver.observe(Scope::Full).await.unwrap();
        assert_eq!(driver.profile(), "hpe-moonshot-cm2");
        assert_eq!(
            summary(&machines),
            [
                "c1n1 On [9c:b6:54:01:01:01 9c:b6:54:01:01:02] ProLiant m750 Server Blade CN11111001",
                "c12n1 Off [9c:b6:54:0c:01:01 9c:b6:54:0c:01:02] ProLiant m750 Server Blade CN111110012",
            ]
        );
        let uuid = machines[0].uuid.as_deref();
        assert_eq!(uuid, Some("34373150-3234-4e43-4b31-303130303001"));
        let seen = driver.observe(Scope::Power).await.unwrap();
        assert_eq!(seen[0].power, ObservedPower::On);
        assert_eq!(seen[1].power, ObservedPower::Off);
    }
    // Where it has no table of MACs, those of the blades do.
    chassis.faults().set([Fault::Answer(
        "show node macaddr".into(),
        "Invalid command\r\n".into(),
    )]);
    let mut driver = open(auto).await.unwrap();
    let machines = driver.observe(Scope::Full).await.unwrap();
    assert_eq!(machines[1].macs, [mac(12, 1, 1), mac(12, 1, 2)]);
    assert_eq!(machines[1].nics[1].switch.as_deref(), Some("Switch B"));
    let slot = "c12n1".parse().unwrap();
    driver.boot_once(&slot, BootTarget::Pxe).await.unwrap();
    driver.power(&slot, PowerOrderKind::On).await.unwrap();
    let seen = driver.observe(Scope::One(slot)).await.unwrap();
    assert_eq!(seen[0].power, ObservedPower::On);
}

#[tokio::test]
async fn a_key_logs_in_where_there_is_no_password() {
    let mut random = russh::keys::key::safe_rng();
    let key =
        russh::keys::PrivateKey::random(&mut random, russh::keys::Algorithm::Ed25519).unwrap();
    let chassis = start(Options {
        authorized_keys: vec![key.public_key().clone()],
        model: model(),
        ..Options::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let text = key
        .to_openssh(russh::keys::ssh_key::LineEnding::LF)
        .unwrap();
    std::fs::write(&file, text.as_bytes()).unwrap();
    let files = chassis_agent::config::LoginFiles {
        user: Some("Administrator"),
        password: None,
        private_key: Some(&file),
    };
    let login = files.read().unwrap();
    let mut driver = open(Target {
        login,
        ..target(&chassis)
    })
    .await
    .unwrap();
    assert_eq!(driver.observe(Scope::Power).await.unwrap().len(), 8);
}

#[tokio::test]
async fn the_command_prints_json_and_a_table() {
    let chassis = chassis();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let address = chassis.address().to_string();
    let command = |more: &[&str]| -> Vec<String> {
        let known_hosts = folder.path().join("known-hosts");
        let all = [
            "chassis-agent",
            "observe",
            "--address",
            &address,
            "--profile",
            "auto",
            "--user",
            "Administrator",
            "--password-file",
            password.to_str().unwrap(),
            "--known-hosts",
            known_hosts.to_str().unwrap(),
        ];
        all.iter()
            .chain(more)
            .map(|word| (*word).to_owned())
            .collect()
    };
    let mut out = Vec::new();
    chassis_agent::cli::run(command(&["-o", "json"]), &mut out)
        .await
        .unwrap();
    let machines: Vec<ObservedMachine> = serde_json::from_slice(&out).unwrap();
    assert_eq!(summary(&machines), EXPECTED);
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    for field in [
        "slot",
        "macs",
        "power",
        "uuid",
        "serial",
        "manufacturer",
        "model",
        "nics",
    ] {
        assert!(json[0].get(field).is_some(), "{field} is missing");
    }
    let mut out = Vec::new();
    chassis_agent::cli::run(command(&[]), &mut out)
        .await
        .unwrap();
    let table = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("SLOT   POWER  MACS"), "{table}");
    assert!(
        lines[6].starts_with("c11n1  Off    9c:b6:54:0b:01:01,9c:b6:54:0b:01:02"),
        "{table}"
    );
    assert!(
        machines
            .iter()
            .any(|machine| machine.power == ObservedPower::Off)
    );
}
