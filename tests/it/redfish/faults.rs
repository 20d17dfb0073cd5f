//! What goes wrong with an answer, one by one: the machine is still observed
//! where it can be, and the error says what is wrong where it cannot. Nothing
//! takes long, and no session is left behind.

use std::time::{Duration, Instant};

use boot_proto::api::ObservedMachine;
use boot_proto::quantity::{ByteSize, Span};
use chassis_agent::drivers::DriverError;
use chassis_agent::drivers::redfish::Redfish;
use moonfarm_tests::redfish::{Fault, FaultRule, VirtualBmc};

use super::{capture, endpoint, hasty};

const SYSTEM: &str = "/redfish/v1/Systems/1";

async fn bmc() -> Option<VirtualBmc> {
    let folder = capture("hpe-dl325-gen10plus-ilo5-2.46")?;
    Some(VirtualBmc::start(&folder).await.unwrap())
}

/// One scan with impatient rules, and what it took.
async fn scan(bmc: &VirtualBmc) -> (Result<Vec<ObservedMachine>, DriverError>, Duration) {
    let profile = hasty("hpe-ilo", |rules| {
        rules.http.request = Span(1);
        rules.limits.body = ByteSize(256 << 10);
        rules.limits.requests = 60;
        rules.limits.scan = Span(20);
    });
    let mut driver = Redfish::new(endpoint(bmc), profile).unwrap();
    let begun = Instant::now();
    let found = driver.inventory().await;
    driver.say_goodbye().await;
    assert_eq!(bmc.service().sessions(), 0, "a session was left behind");
    if let Err(error) = &found {
        assert!(
            !format!("{error} {error:?}").contains("secret"),
            "{error:?}"
        );
    }
    (found, begun.elapsed())
}

/// All four MACs are in two places each, so that one bad place loses nothing.
fn is_whole(machines: &[ObservedMachine]) -> bool {
    machines.len() == 1 && machines[0].macs.len() == 4
}

#[tokio::test]
async fn what_passes_is_waited_for() {
    for rule in [
        FaultRule::once("GET", SYSTEM, Fault::Reset),
        FaultRule::once("GET", SYSTEM, Fault::Status(500, String::new())).times(2),
        FaultRule::once("GET", SYSTEM, Fault::Status(503, "starting".into())).times(2),
        FaultRule::once("GET", SYSTEM, Fault::Truncated),
        FaultRule::once("GET", SYSTEM, Fault::SessionLost),
        FaultRule::once("GET", SYSTEM, Fault::Delay(Duration::from_millis(300))),
        FaultRule::once("GET", "/redfish/v1", Fault::Status(401, String::new())),
        FaultRule::always("Systems", Fault::WrongContentType),
        FaultRule::always("", Fault::Gzip),
        FaultRule::always("", Fault::Padded),
        FaultRule::always("", Fault::Latin1),
        FaultRule::always("", Fault::Chunked),
        FaultRule::always("", Fault::Http10),
        FaultRule::always("", Fault::ClosesQuietly),
        FaultRule::always("", Fault::Trailing),
    ] {
        let Some(bmc) = bmc().await else { return };
        bmc.add_fault(rule.clone());
        let found = scan(&bmc).await.0;
        assert!(found.as_deref().is_ok_and(is_whole), "{rule:?}: {found:?}");
    }
}

#[tokio::test]
async fn one_bad_resource_loses_that_resource_alone() {
    let long = "x".repeat(1000);
    for fault in [
        Fault::Status(404, String::new()),
        Fault::Status(403, "<html>".into()),
        Fault::Status(500, String::new()),
        Fault::Garbled,
        Fault::Endless,
        Fault::Deep(100_000),
        Fault::Null,
        Fault::RedirectLoop,
        Fault::Redirect("https://elsewhere.example/redfish/v1".into()),
        Fault::Redirect("/redfish/v1/Systems/1/EthernetInterfaces/1".into()),
        Fault::NextLinkLoop,
        Fault::Status(
            200,
            format!("{{\"Members\": [{{\"@odata.id\": \"/redfish/v1/{long}\"}}]}}"),
        ),
        Fault::Status(
            200,
            "{\"Members\": [{\"@odata.id\": \"http://elsewhere/redfish/v1/x\"}]}".into(),
        ),
        Fault::Status(200, "[]".into()),
    ] {
        let Some(bmc) = bmc().await else { return };
        bmc.add_fault(FaultRule::always(
            "Systems/1/EthernetInterfaces",
            fault.clone(),
        ));
        let (found, took) = scan(&bmc).await;
        assert!(found.as_deref().is_ok_and(is_whole), "{fault:?}: {found:?}");
        assert!(took < Duration::from_secs(10), "{fault:?} took {took:?}");
    }
}

#[tokio::test]
async fn what_the_whole_device_does_is_an_error_that_says_so() {
    let cases: [(Fault, &str, &[&str]); 10] = [
        (Fault::Reset, "unreachable", &["cannot be reached", SYSTEM]),
        (
            Fault::Delay(Duration::from_secs(3)),
            "timed-out",
            &["did not answer within 1 s"],
        ),
        (
            Fault::Drip(Duration::from_millis(50)),
            "timed-out",
            &["did not answer within 1 s"],
        ),
        (Fault::Garbled, "garbled", &["no JSON", "<html>"]),
        (Fault::Endless, "garbled", &["longer than 256Ki"]),
        (Fault::Deep(5000), "garbled", &["no JSON"]),
        (Fault::RedirectLoop, "garbled", &["too many redirects"]),
        (
            Fault::Redirect("https://elsewhere.example/".into()),
            "garbled",
            &["another host", "elsewhere.example"],
        ),
        (
            Fault::Status(401, String::new()),
            "login-refused",
            &["\"admin\"", "fresh session"],
        ),
        (Fault::Status(500, "{}".into()), "refused", &["500"]),
    ];
    for (fault, kind, words) in cases {
        let Some(bmc) = bmc().await else { return };
        // The system itself, and its collection, which has it inside.
        bmc.add_fault(FaultRule::always(
            "Systems?",
            Fault::Status(400, String::new()),
        ));
        bmc.add_fault(FaultRule::always(SYSTEM, fault.clone()));
        let (found, took) = scan(&bmc).await;
        let error = found.expect_err(&format!("{fault:?}"));
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        let text = error.to_string();
        assert!(
            words.iter().all(|word| text.contains(word)),
            "{fault:?}: {text}"
        );
        assert!(took < Duration::from_secs(10), "{fault:?} took {took:?}");
    }
}

#[tokio::test]
async fn pages_that_never_end_are_cut() {
    let Some(bmc) = bmc().await else { return };
    bmc.add_fault(FaultRule::always("Systems", Fault::NextLinkLoop));
    let found = scan(&bmc).await.0;
    assert!(found.as_deref().is_ok_and(is_whole), "{found:?}");
    assert!(bmc.requests().len() < 40, "{:#?}", bmc.requests());
}

#[tokio::test]
async fn a_scan_has_a_budget_of_requests() {
    let Some(bmc) = bmc().await else { return };
    {
        // A collection of a thousand members, none of which says anything.
        let mut service = bmc.service();
        let members: Vec<_> = (0..1000)
            .map(|n| serde_json::json!({ "@odata.id": format!("/redfish/v1/Systems/1/N/{n}") }))
            .collect();
        let path = "/redfish/v1/Systems/1/EthernetInterfaces";
        service.tree.get_mut(path).unwrap().body["Members"] = members.into();
    }
    let (found, took) = scan(&bmc).await;
    assert_eq!(found.unwrap().len(), 1);
    assert!(bmc.requests().len() <= 62, "{}", bmc.requests().len());
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_slow_drip_over_many_resources_ends_with_the_visit() {
    let Some(bmc) = bmc().await else { return };
    bmc.add_fault(FaultRule::always(
        "/redfish",
        Fault::Delay(Duration::from_millis(700)),
    ));
    let profile = hasty("hpe-ilo", |rules| rules.limits.scan = Span(2));
    let mut driver = Redfish::new(endpoint(&bmc), profile).unwrap();
    let error = driver.inventory().await.unwrap_err();
    assert_eq!(error.kind(), "timed-out", "{error}");
    driver.say_goodbye().await;
    assert_eq!(bmc.service().sessions(), 0);
}

#[tokio::test]
async fn roots_of_odd_services() {
    for (fault, expected) in [
        // Old boards of one vendor.
        (
            FaultRule::always("/redfish/v1/", Fault::Null).times(1),
            true,
        ),
        // One spelling of the root alone.
        (
            FaultRule::once("GET", "/redfish/v1/", Fault::Status(404, String::new())),
            true,
        ),
        (
            FaultRule::once("GET", "/redfish/v1/", Fault::Status(200, "{}".into())),
            true,
        ),
        (
            FaultRule::always("/redfish/v1", Fault::Status(404, "<html>".into())),
            false,
        ),
    ] {
        let Some(bmc) = bmc().await else { return };
        bmc.add_fault(fault.clone());
        let found = scan(&bmc).await.0;
        assert_eq!(
            found.as_deref().is_ok_and(is_whole),
            expected,
            "{fault:?}: {found:?}"
        );
    }
}

#[tokio::test]
async fn a_device_that_is_not_there() {
    let Some(bmc) = bmc().await else { return };
    let endpoint = endpoint(&bmc);
    drop(bmc);
    let mut driver = Redfish::new(endpoint, hasty("redfish", |_| {})).unwrap();
    let error = driver.inventory().await.unwrap_err();
    assert_eq!(error.kind(), "unreachable", "{error}");
    driver.say_goodbye().await;
}

#[tokio::test]
async fn odd_values_lose_that_value() {
    let Some(bmc) = bmc().await else { return };
    {
        let mut service = bmc.service();
        let system = &mut service.tree.get_mut(SYSTEM).unwrap().body;
        system["UUID"] = "00020003-0004-0005-0006-000700080009".into();
        system["SerialNumber"] = 4711.into();
        system["Manufacturer"] = serde_json::json!({ "a": [] });
        system["Model"] = "Not Available".into();
        system["PowerState"] = serde_json::Value::Null;
        system["Links"] = "nothing".into();
        system["Oem"] = serde_json::json!([1, 2]);
        system["Boot"] = 3.into();
    }
    let found = scan(&bmc).await.0.unwrap();
    let machine = &found[0];
    assert_eq!(
        (&machine.uuid, &machine.manufacturer, &machine.model),
        (&None, &None, &None)
    );
    assert_eq!(machine.serial.as_deref(), Some("4711"));
    assert_eq!(machine.power.to_string(), "Unknown");
    assert_eq!(machine.macs.len(), 4);
}
