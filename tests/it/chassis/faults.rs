//! Devices that refuse, hang or babble cost bounded time and say why.

use std::time::{Duration, Instant};

use chassis_agent::drivers::Scope;
use moonfarm_tests::chassis::{Fault, Options};

use super::*;

/// What becomes of a scan under a fault, within bounded time.
async fn check(faults: Vec<Fault>, expected_kind: &str, expected_text: &str) {
    let chassis = chassis();
    chassis.faults().set(faults.clone());
    let mut driver = driver(&chassis).await;
    let begun = Instant::now();
    let error = driver
        .observe(Scope::Full)
        .await
        .expect_err(&format!("{faults:?}"));
    assert_eq!(error.kind(), expected_kind, "{faults:?}: {error}");
    let text = error.to_string();
    assert!(text.contains(expected_text), "{faults:?}: {text}");
    assert!(!format!("{error:?} {text}").contains(PASSWORD), "{text}");
    assert!(text.len() < 800, "{} bytes: {text}", text.len());
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{faults:?} took {:?}",
        begun.elapsed()
    );
    // The next visit starts afresh.
    chassis.faults().clear();
    assert_eq!(
        driver.observe(Scope::Full).await.unwrap().len(),
        8,
        "{faults:?}"
    );
}

#[tokio::test]
async fn a_refused_login_is_told() {
    check(vec![Fault::RefuseLogin], "login-refused", "Administrator").await;
}

#[tokio::test]
async fn a_wrong_password_is_told_without_the_password() {
    let chassis = chassis();
    let mut wrong = target(&chassis);
    wrong.login.password = Some(Secret::new("wrong but secret".into()));
    let mut driver = open(wrong).await.unwrap();
    let error = driver.observe(Scope::Power).await.unwrap_err();
    assert_eq!(error.kind(), "login-refused");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
}

#[tokio::test]
async fn a_device_that_hangs_is_given_up() {
    check(
        vec![Fault::Hang("show node list".into())],
        "timed-out",
        "show node list",
    )
    .await;
}

#[tokio::test]
async fn a_device_that_hangs_in_its_shell_is_given_up() {
    let faults = vec![Fault::NoExec, Fault::Hang("show node macaddr".into())];
    check(faults, "timed-out", "show node macaddr all").await;
}

#[tokio::test]
async fn a_slow_drip_is_given_up() {
    let drip = Fault::Drip(Duration::from_millis(20));
    check(vec![drip], "timed-out", "show node list").await;
}

#[tokio::test]
async fn garbage_is_told_with_a_short_excerpt() {
    check(
        vec![Fault::Garble("show node list".into())],
        "garbled",
        "show node list",
    )
    .await;
    check(
        vec![Fault::Garble("show node macaddr".into())],
        "garbled",
        "no table of MACs",
    )
    .await;
}

#[tokio::test]
async fn a_broken_connection_is_told() {
    check(
        vec![Fault::BreakAfter(300)],
        "unreachable",
        "show node list",
    )
    .await;
    check(
        vec![Fault::NoExec, Fault::BreakAfter(300)],
        "unreachable",
        "show node list",
    )
    .await;
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    check(vec![Fault::EndlessOutput], "garbled", "longer than").await;
    check(
        vec![Fault::NoExec, Fault::EndlessOutput],
        "garbled",
        "longer than",
    )
    .await;
}

#[tokio::test]
async fn too_many_sessions_are_told_as_busy() {
    check(
        vec![Fault::TooManyConnections],
        "busy",
        "Maximum number of sessions",
    )
    .await;
}

#[tokio::test]
async fn one_line_that_is_too_long_is_left_out_and_the_rest_read() {
    let chassis = chassis();
    chassis.faults().set([Fault::LongLine(300_000)]);
    let mut driver = driver(&chassis).await;
    assert_eq!(driver.observe(Scope::Full).await.unwrap().len(), 8);
}

#[tokio::test]
async fn facts_that_cannot_be_read_cost_no_machine() {
    let chassis = chassis();
    chassis
        .faults()
        .set([Fault::Garble("show node info".into())]);
    let mut driver = driver(&chassis).await;
    let machines = driver.observe(Scope::Full).await.unwrap();
    assert_eq!(machines.len(), 8);
    assert!(
        machines
            .iter()
            .all(|machine| machine.macs.len() + 1 >= 2 && machine.model.is_none())
    );
}

#[tokio::test]
async fn nobody_there_is_told() {
    let address = chassis().address();
    let mut gone = target(&chassis());
    gone.address = address.to_string().parse().unwrap();
    let error = open(gone)
        .await
        .unwrap()
        .observe(Scope::Power)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "unreachable", "{error}");
}

#[tokio::test]
async fn a_listener_that_never_speaks_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let chassis = chassis();
    let mut silent = target(&chassis);
    silent.address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let error = open(silent)
        .await
        .unwrap()
        .observe(Scope::Power)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "timed-out", "{error}");
}

#[tokio::test]
async fn old_algorithms_are_used_when_allowed_and_named_when_not() {
    let chassis = start(Options {
        is_old: true,
        model: model(),
        ..Options::default()
    });
    let error = driver(&chassis)
        .await
        .observe(Scope::Power)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "negotiation");
    let text = error.to_string();
    assert!(
        text.contains("--legacy-algorithms") && text.contains("group14-sha1"),
        "{text}"
    );
    let allowed = Target {
        legacy_algorithms: true,
        ..target(&chassis)
    };
    let mut driver = open(allowed).await.unwrap();
    assert_eq!(driver.observe(Scope::Power).await.unwrap().len(), 8);
}
