//! Power and boot orders, with the habits of services that make them hard.

use boot_proto::redfish_rules::BootMode;
use boot_proto::resources::ObservedPower;
use chassis_agent::drivers::redfish::Redfish;
use chassis_agent::drivers::{BootTarget, PowerOrderKind, RestartKind};
use moonfarm_tests::redfish::{BootHabit, EtagHabit, Fault, FaultRule, Service, VirtualBmc};
use serde_json::{Value, json};

use super::{capture, driver, endpoint, hasty};

async fn bmc(name: &str, change: impl FnOnce(&mut Service)) -> Option<VirtualBmc> {
    let bmc = VirtualBmc::start(&capture(name)?).await.unwrap();
    change(&mut bmc.service());
    Some(bmc)
}

const HPE: &str = "hpe-dl325-gen10plus-ilo5-2.46";
const AMI: &str = "gigabyte-h262-z63-ami-12.84";
const DELL: &str = "dell-r750-idrac9-6.00.30";
const SMC: &str = "supermicro-sys821ge-bmc-11.01";

/// Makes a service behave.
type Change = Box<dyn FnOnce(&mut Service)>;

fn boot(bmc: &VirtualBmc, path: &str) -> Value {
    bmc.service().tree.get(path).unwrap().body["Boot"].clone()
}

fn shows(boot: &Value) -> (&str, &str) {
    let text = |name: &str| boot[name].as_str().unwrap_or_default();
    (
        text("BootSourceOverrideEnabled"),
        text("BootSourceOverrideTarget"),
    )
}

#[tokio::test]
async fn orders_that_come_too_early_are_sent_again() {
    let Some(bmc) = bmc(HPE, |service| service.not_ready = 3).await else {
        return;
    };
    let mut driver = driver(&bmc, "hpe-ilo");
    driver
        .order_power("1", PowerOrderKind::ForceOff)
        .await
        .unwrap();
    assert_eq!(
        driver.power_state("1").await.unwrap()[0].power,
        ObservedPower::Off
    );
    // Not for ever.
    bmc.service().not_ready = 100;
    let error = driver
        .order_power("1", PowerOrderKind::On)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "refused");
    assert!(
        error.to_string().contains("InvalidOperationForSystemState"),
        "{error}"
    );
    assert!(bmc.service().not_ready > 90);
    driver.say_goodbye().await;
}

#[tokio::test]
async fn an_order_that_came_true_is_no_error() {
    // The connection breaks while the service obeys.
    let Some(bmc) = bmc(HPE, |_| {}).await else {
        return;
    };
    let mut driver = driver(&bmc, "hpe-ilo");
    bmc.add_fault(FaultRule::once("POST", "Reset", Fault::Truncated));
    driver
        .order_power("1", PowerOrderKind::ForceOff)
        .await
        .unwrap();
    assert_eq!(bmc.service().resets.len(), 1);
    driver.say_goodbye().await;
}

#[tokio::test]
async fn restarts_are_what_is_offered() {
    for (name, slot, kind, expected) in [
        (HPE, "1", RestartKind::Cycle, Some("ForceRestart")),
        (
            DELL,
            "System.Embedded.1",
            RestartKind::Cycle,
            Some("PowerCycle"),
        ),
        (
            DELL,
            "System.Embedded.1",
            RestartKind::Reset,
            Some("ForceRestart"),
        ),
        (AMI, "Self", RestartKind::Cycle, Some("ForceRestart")),
        ("cray-ex425-2nodes-nc", "node0", RestartKind::Cycle, None),
        // Off: there is nothing to restart.
        (
            "openbmc-2.15-dev-poweredoff",
            "system",
            RestartKind::Cycle,
            None,
        ),
    ] {
        let Some(bmc) = bmc(name, |_| {}).await else {
            return;
        };
        let mut driver = driver(&bmc, "redfish");
        let done = driver.order_restart(slot, kind).await.unwrap();
        assert_eq!(done, expected.is_some(), "{name}");
        let sent = bmc.service().resets.first().map(|(_, kind)| kind.clone());
        assert_eq!(sent.as_deref(), expected, "{name}");
        driver.say_goodbye().await;
    }
}

#[tokio::test]
async fn a_system_that_is_not_there() {
    let Some(bmc) = bmc(HPE, |_| {}).await else {
        return;
    };
    let mut driver = driver(&bmc, "hpe-ilo");
    let error = driver
        .order_power("2", PowerOrderKind::On)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "no-such-machine");
    assert!(error.to_string().contains("there is 1"), "{error}");
    driver.say_goodbye().await;
}

#[tokio::test]
async fn boot_orders_are_read_back() {
    let sd = "/redfish/v1/Systems/Self/SD";
    let with_sd = move |service: &mut Service| {
        service.tree.put(
            sd,
            json!({ "Boot": { "BootSourceOverrideEnabled": "Disabled" } }),
        );
    };
    let cases: Vec<(&str, &str, &str, Change, &str)> = vec![
        (
            HPE,
            "hpe-ilo",
            "1",
            Box::new(|_| {}),
            "/redfish/v1/Systems/1",
        ),
        (
            HPE,
            "hpe-ilo",
            "1",
            Box::new(|s| s.boot = BootHabit::RefusesMode),
            "/redfish/v1/Systems/1",
        ),
        (
            AMI,
            "ami-megarac",
            "Self",
            Box::new(|s| s.etags = EtagHabit::Needed),
            "/redfish/v1/Systems/Self",
        ),
        (
            AMI,
            "ami-megarac",
            "Self",
            Box::new(|s| s.etags = EtagHabit::NeverMatches),
            "/redfish/v1/Systems/Self",
        ),
        // The profile knows the place.
        (
            AMI,
            "ami-megarac",
            "Self",
            Box::new(move |s| {
                with_sd(s);
                s.boot = BootHabit::OnlyAt(sd.into());
                s.etags = EtagHabit::Needed;
            }),
            sd,
        ),
        // Only the refusal tells it.
        (
            AMI,
            "redfish",
            "Self",
            Box::new(move |s| {
                with_sd(s);
                s.boot = BootHabit::MovedTo(sd.into());
            }),
            sd,
        ),
        (
            SMC,
            "supermicro",
            "1",
            Box::new(|s| s.boot = BootHabit::NeedsMode),
            "/redfish/v1/Systems/1",
        ),
        // Nobody told the driver.
        (
            SMC,
            "redfish",
            "1",
            Box::new(|s| s.boot = BootHabit::NeedsMode),
            "/redfish/v1/Systems/1",
        ),
    ];
    for (name, profile, slot, change, place) in cases {
        let Some(bmc) = bmc(name, change).await else {
            return;
        };
        let mut driver = driver(&bmc, profile);
        let result = driver.order_boot(slot, BootTarget::Pxe).await;
        let shown = boot(&bmc, place);
        let habits = format!("{name} {profile} {:?}", bmc.service().boot);
        assert!(result.is_ok(), "{habits}: {result:?}");
        assert_eq!(shows(&shown), ("Once", "Pxe"), "{habits}");
        driver.say_goodbye().await;
        assert_eq!(bmc.service().sessions(), 0);
    }
}

#[tokio::test]
async fn targets_that_only_the_settings_resource_has() {
    let settings = "/redfish/v1/Systems/System.Embedded.1/Settings";
    let change = |service: &mut Service| {
        let system = &mut service
            .tree
            .get_mut("/redfish/v1/Systems/System.Embedded.1")
            .unwrap()
            .body;
        system["Boot"] = json!({ "BootOrder": [] });
        let offered = json!({ "Boot": {
            "BootSourceOverrideTarget": "None",
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "UefiHttp"],
        }});
        service.tree.put(settings, offered);
        service.boot = BootHabit::OnlyAt(settings.into());
    };
    let Some(bmc) = bmc(DELL, change).await else {
        return;
    };
    let mut driver = driver(&bmc, "dell-idrac");
    driver
        .order_boot("System.Embedded.1", BootTarget::Http)
        .await
        .unwrap();
    assert_eq!(shows(&boot(&bmc, settings)), ("Once", "UefiHttp"));
    driver.say_goodbye().await;
}

#[tokio::test]
async fn an_override_that_is_accepted_and_ignored_is_an_error_with_the_ways() {
    for profile in ["redfish", "hpe-ilo", "supermicro"] {
        let Some(bmc) = bmc(HPE, |service| service.boot = BootHabit::Ignored).await else {
            return;
        };
        let mut driver = driver(&bmc, profile);
        let error = driver
            .order_boot("1", BootTarget::Pxe)
            .await
            .unwrap_err()
            .to_string();
        for words in [
            "no way was taken",
            "with ETag",
            "without ETag",
            "If-Match: *",
            "Disabled",
        ] {
            assert!(error.contains(words), "{profile}: {error}");
        }
        driver.say_goodbye().await;
    }
}

#[tokio::test]
async fn targets_that_are_not_there() {
    for (name, slot, target, words) in [
        (
            "cray-ex425-2nodes-nc",
            "Node0",
            BootTarget::Pxe,
            "no boot override",
        ),
        (
            "openbmc-2.15-dev-poweredoff",
            "system",
            BootTarget::Http,
            "None, Pxe, Hdd",
        ),
        (
            "lenovo-sr670v2-xcc-2.83",
            "1",
            BootTarget::Http,
            "UefiTarget",
        ),
    ] {
        let Some(bmc) = bmc(name, |_| {}).await else {
            return;
        };
        let mut driver = driver(&bmc, "redfish");
        let error = driver.order_boot(slot, target).await.unwrap_err();
        assert_eq!(error.kind(), "impossible", "{name}");
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(
            !bmc.requests().iter().any(|r| r.starts_with("PATCH")),
            "{name}"
        );
        driver.say_goodbye().await;
    }
}

#[tokio::test]
async fn modes_go_along_as_the_profile_says() {
    for (mode, habit, good) in [
        (BootMode::Never, BootHabit::NeedsMode, false),
        (BootMode::Never, BootHabit::RefusesMode, true),
        (BootMode::Always, BootHabit::NeedsMode, true),
        (BootMode::Always, BootHabit::RefusesMode, false),
        (BootMode::Fallback, BootHabit::NeedsMode, true),
        (BootMode::Fallback, BootHabit::RefusesMode, true),
    ] {
        let wanted = habit.clone();
        let Some(bmc) = bmc(HPE, |service| service.boot = wanted).await else {
            return;
        };
        let profile = hasty("redfish", |rules| rules.boot.mode = mode);
        let mut driver = Redfish::new(endpoint(&bmc), profile).unwrap();
        let result = driver.order_boot("1", BootTarget::Disk).await;
        assert_eq!(result.is_ok(), good, "{mode:?} {habit:?}: {result:?}");
        driver.say_goodbye().await;
    }
}
