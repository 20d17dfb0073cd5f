//! Sessions, basic authentication and certificates.

use std::sync::Arc;

use boot_proto::redfish_rules::LoginWay;
use chassis_agent::config::Secret;
use chassis_agent::drivers::redfish::Redfish;
use chassis_agent::drivers::redfish::endpoint::{Fingerprint, TlsPolicy};
use moonfarm_tests::redfish::{Fault, FaultRule, LocationHabit, VirtualBmc};

use super::{capture, driver, endpoint, hasty};

const CAPTURE: &str = "hpe-dl325-gen10plus-ilo5-2.46";

async fn bmc() -> Option<VirtualBmc> {
    Some(VirtualBmc::start(&capture(CAPTURE)?).await.unwrap())
}

fn logins(bmc: &VirtualBmc) -> usize {
    bmc.requests()
        .iter()
        .filter(|request| request.starts_with("POST"))
        .count()
}

#[tokio::test]
async fn one_session_is_kept_and_deleted() {
    let Some(bmc) = bmc().await else { return };
    let mut driver = driver(&bmc, "hpe-ilo");
    for _ in 0..3 {
        driver.inventory().await.unwrap();
        driver.power_states().await.unwrap();
    }
    assert_eq!((logins(&bmc), bmc.service().sessions()), (1, 1));
    driver.say_goodbye().await;
    assert_eq!(bmc.service().sessions(), 0);
}

#[tokio::test]
async fn a_session_whose_uri_is_not_told_is_deleted_all_the_same() {
    let Some(bmc) = bmc().await else { return };
    for habit in [
        LocationHabit::Absolute,
        LocationHabit::InBody,
        LocationHabit::IdAlone,
    ] {
        bmc.service().location = habit;
        let mut driver = driver(&bmc, "hpe-ilo");
        driver.inventory().await.unwrap();
        assert_eq!(bmc.service().sessions(), 1, "{habit:?}");
        driver.say_goodbye().await;
        assert_eq!(bmc.service().sessions(), 0, "{habit:?}");
    }
}

#[tokio::test]
async fn a_session_that_was_forgotten_is_made_again_once() {
    let Some(bmc) = bmc().await else { return };
    let mut driver = driver(&bmc, "hpe-ilo");
    driver.inventory().await.unwrap();
    bmc.service().drop_sessions();
    driver.power_states().await.unwrap();
    assert_eq!((logins(&bmc), bmc.service().sessions()), (2, 1));
    // One that is forgotten at once is an error, not a loop.
    bmc.add_fault(FaultRule::always("Systems", Fault::SessionLost));
    let error = driver.power_states().await.unwrap_err();
    assert_eq!(error.kind(), "login-refused", "{error}");
    assert!(logins(&bmc) <= 4, "{:#?}", bmc.requests());
}

#[tokio::test]
async fn a_service_without_sessions_left_is_left_alone_for_a_while() {
    let Some(bmc) = bmc().await else { return };
    bmc.service().most_sessions = 0;
    let mut driver = driver(&bmc, "hpe-ilo");
    let error = driver.inventory().await.unwrap_err();
    assert_eq!(error.kind(), "busy", "{error}");
    assert!(error.to_string().contains("RAC0218"), "{error}");
    let before = logins(&bmc);
    let error = driver.inventory().await.unwrap_err();
    assert_eq!(error.kind(), "busy", "{error}");
    assert!(error.to_string().contains("next login"), "{error}");
    assert_eq!(logins(&bmc), before, "it was asked again at once");
}

#[tokio::test]
async fn sessions_never_fall_back_to_basic() {
    for status in [404, 405, 500] {
        let Some(bmc) = bmc().await else { return };
        bmc.add_fault(FaultRule {
            method: Some("POST"),
            path: "Sessions".into(),
            times: None,
            fault: Fault::Status(status, String::new()),
        });
        let mut driver = driver(&bmc, "hpe-ilo");
        let error = driver.inventory().await.unwrap_err();
        assert!(
            ["refused", "login-refused"].contains(&error.kind()),
            "{error}"
        );
        assert!(
            !bmc.requests().iter().any(|r| r.contains("Systems")),
            "{:#?}",
            bmc.requests()
        );
    }
}

#[tokio::test]
async fn basic_where_the_profile_says_so() {
    let Some(bmc) = bmc().await else { return };
    let profile = hasty("hpe-ilo", |rules| rules.login = LoginWay::Basic);
    let mut driver = Redfish::new(endpoint(&bmc), profile).unwrap();
    assert_eq!(driver.inventory().await.unwrap().len(), 1);
    driver.say_goodbye().await;
    assert_eq!((logins(&bmc), bmc.service().peak_sessions), (0, 0));
    // Basic authentication takes a session on an iDRAC, too.
    let full = r#"{"error":{"@Message.ExtendedInfo":[{"MessageId":"IDRAC.2.1.RAC0218"}]}}"#;
    bmc.add_fault(FaultRule::always(
        "Systems",
        Fault::Status(503, full.into()),
    ));
    assert_eq!(driver.inventory().await.unwrap_err().kind(), "busy");
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    for way in [LoginWay::Session, LoginWay::Basic] {
        let Some(bmc) = bmc().await else { return };
        let mut endpoint = endpoint(&bmc);
        endpoint.password = Secret::new("wr0ng-pass".into());
        // A service that sends the password back.
        let echo = r#"{"error":{"message":"the value wr0ng-pass is not valid"}}"#;
        bmc.add_fault(FaultRule::once(
            "POST",
            "Sessions",
            Fault::Status(400, echo.into()),
        ));
        let profile = hasty("hpe-ilo", |rules| rules.login = way);
        let mut driver = Redfish::new(endpoint, profile).unwrap();
        let error = driver.inventory().await.unwrap_err();
        assert_eq!(error.kind(), "login-refused", "{error}");
        assert!(
            !format!("{error} {error:?}").contains("wr0ng-pass"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn certificates() {
    let Some(folder) = capture(CAPTURE) else {
        return;
    };
    let bmc = VirtualBmc::start_tls(&folder).await.unwrap();
    let identity = bmc.identity().unwrap();
    let pin = Fingerprint::parse(&identity.fingerprint()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), identity.pem()).unwrap();
    let other = Fingerprint::parse(&"ab".repeat(32)).unwrap();
    for (tls, good) in [
        (TlsPolicy::Pinned(pin), true),
        (TlsPolicy::Any, true),
        (TlsPolicy::from_ca_file(file.path()).unwrap(), true),
        (TlsPolicy::System, false),
        (TlsPolicy::Pinned(other), false),
    ] {
        let mut endpoint = endpoint(&bmc);
        endpoint.tls = tls.clone();
        let mut driver = Redfish::new(endpoint, hasty("hpe-ilo", |_| {})).unwrap();
        let found = driver.inventory().await;
        driver.say_goodbye().await;
        assert_eq!(found.is_ok(), good, "{tls:?}: {found:?}");
        if let Err(error) = found {
            // What the device shows is said, so that it can be pinned.
            assert!(
                error.to_string().contains(&identity.fingerprint()),
                "{error}"
            );
        }
    }
    assert!(TlsPolicy::from_ca_file(&folder.join("redfish/v1/index.json")).is_err());
    assert_eq!(bmc.service().sessions(), 0);
}

#[tokio::test]
async fn recognising_leaves_no_session_behind() {
    let Some(folder) = capture("intel-s2600bpb-bmc-1.93") else {
        return;
    };
    let bmc = VirtualBmc::start(&folder).await.unwrap();
    // A profile that needs a look at the system, and does not fit.
    let profile = hasty("cray-controller", |_| {});
    let driver = driver(&bmc, "redfish");
    assert!(
        driver
            .recognise(&[Arc::clone(&profile)])
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!((logins(&bmc), bmc.service().sessions()), (1, 0));
}

#[tokio::test]
async fn a_driver_that_is_dropped_half_way_leaves_no_session() {
    let Some(bmc) = bmc().await else { return };
    let mut driver = driver(&bmc, "hpe-ilo");
    driver.inventory().await.unwrap();
    drop(driver);
    chassis_agent::drivers::redfish::goodbye::all_said().await;
    assert_eq!(bmc.service().sessions(), 0);
}
