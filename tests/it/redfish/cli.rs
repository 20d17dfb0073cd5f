//! The command lines, as a person types them, against virtual BMCs.

use boot_proto::api::ObservedMachine;
use moonfarm_tests::redfish::{BootHabit, VirtualBmc};

use super::capture;

/// Runs a command line with the address and the login of `bmc`.
pub(super) async fn run(bmc: &VirtualBmc, words: &[&str]) -> (String, Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let url = bmc.url();
    let mut args = vec!["chassis-agent"];
    args.extend(words);
    args.extend([
        "--user",
        "admin",
        "--password-file",
        password.to_str().unwrap(),
    ]);
    if !words.contains(&"--address") {
        args.extend(["--address", url.as_str()]);
    }
    let mut out = Vec::new();
    let result = chassis_agent::cli::run(args, &mut out).await;
    let failure = result.err().map(|error| format!("{error:#}"));
    assert_eq!(bmc.service().sessions(), 0, "a session was left behind");
    (String::from_utf8(out).unwrap(), failure)
}

#[tokio::test]
async fn observe_prints_machines() {
    let Some(folder) = capture("hpe-dl325-gen10plus-ilo5-2.46") else {
        return;
    };
    let bmc = VirtualBmc::start(&folder).await.unwrap();
    for profile in ["auto", "hpe-ilo", "redfish"] {
        let (out, failure) = run(&bmc, &["observe", "--profile", profile, "-o", "json"]).await;
        assert_eq!(failure, None);
        let machines: Vec<ObservedMachine> = serde_json::from_str(&out).unwrap();
        assert_eq!(machines.len(), 1);
        assert_eq!(
            (machines[0].slot.as_str(), machines[0].macs.len()),
            ("1", 4)
        );
    }
    let (out, _) = run(&bmc, &["observe"]).await;
    assert!(out.starts_with("SLOT"), "{out}");
    assert!(out.contains("94:40:c9:5c:86:bc"), "{out}");
}

#[tokio::test]
async fn a_host_without_a_scheme_is_asked_over_https() {
    let Some(folder) = capture("hpe-dl325-gen10plus-ilo5-2.46") else {
        return;
    };
    let bmc = VirtualBmc::start_tls(&folder).await.unwrap();
    let host = bmc.url().replace("https://", "");
    let fingerprint = bmc.identity().unwrap().fingerprint();
    let (out, failure) = run(
        &bmc,
        &[
            "observe",
            "--address",
            &host,
            "--profile",
            "hpe-ilo",
            "--certificate",
            &fingerprint,
        ],
    )
    .await;
    assert_eq!(failure, None);
    assert!(out.contains("ProLiant DL325"), "{out}");
    // Not trusted: the message tells the fingerprint.
    let (_, failure) = run(
        &bmc,
        &["observe", "--address", &host, "--profile", "hpe-ilo"],
    )
    .await;
    assert!(failure.unwrap().contains(&fingerprint));
}

#[tokio::test]
async fn orders_say_what_became_of_them() {
    let Some(folder) = capture("dell-r750-idrac9-6.00.30") else {
        return;
    };
    let bmc = VirtualBmc::start(&folder).await.unwrap();
    let slot = "System.Embedded.1";
    for (words, line, failure) in [
        (vec!["power", "on", slot], "on: was so already", None),
        (vec!["power", "force-off", slot], "force-off: done", None),
        (
            vec!["boot-once", "pxe", slot],
            "boot-once pxe: confirmed",
            None,
        ),
        (vec!["power", "cycle", slot], "cycle: done", None),
        (vec!["power", "reset", slot], "reset: done", None),
        (vec!["power", "off", slot], "off: done", None),
        (
            vec!["power", "on", "elsewhere"],
            "there is no machine in elsewhere",
            Some("1 of 1"),
        ),
    ] {
        let (out, error) = run(&bmc, &words).await;
        assert!(out.contains(line), "{words:?}: {out} {error:?}");
        match failure {
            None => assert_eq!(error, None, "{words:?}"),
            Some(text) => assert!(error.unwrap().contains(text), "{words:?}"),
        }
    }
    let sent: Vec<String> = bmc
        .service()
        .resets
        .iter()
        .map(|(_, kind)| kind.clone())
        .collect();
    // The cycle met a machine that was off.
    assert_eq!(sent, ["ForceOff", "On", "ForceRestart", "GracefulShutdown"]);
}

#[tokio::test]
async fn a_boot_order_that_is_ignored_is_said() {
    let Some(folder) = capture("dell-r750-idrac9-6.00.30") else {
        return;
    };
    let bmc = VirtualBmc::start(&folder).await.unwrap();
    bmc.service().boot = BootHabit::Ignored;
    // A profile of the operator's own, that does not wait.
    let own = tempfile::tempdir().unwrap();
    let text =
        "name: hasty\nvendor: any\nmodel: any\ndriver: redfish\nredfish:\n  boot: {pause: 0s}\n";
    std::fs::write(own.path().join("hasty.yaml"), text).unwrap();
    let profiles = own.path().to_str().unwrap();
    let slot = "System.Embedded.1";
    let words = [
        "boot-once",
        "http",
        slot,
        "--profiles",
        profiles,
        "--profile",
        "hasty",
    ];
    let (out, failure) = run(&bmc, &words).await;
    assert!(out.contains("no way was taken"), "{out}");
    assert!(failure.unwrap().contains("failed for 1 of 1"));
}

#[tokio::test]
async fn addresses_and_profiles_that_do_not_go_together() {
    let Some(folder) = capture("hpe-dl325-gen10plus-ilo5-2.46") else {
        return;
    };
    let bmc = VirtualBmc::start(&folder).await.unwrap();
    for (words, message) in [
        (
            vec!["--profile", "nonsense"],
            "there is no hardware profile",
        ),
        (
            vec!["--address", "https://admin:pw@bmc"],
            "a user name does not belong into it",
        ),
        (vec!["--certificate", "12"], "64 hex digits"),
    ] {
        let mut all = vec!["observe"];
        all.extend(words);
        let (_, failure) = run(&bmc, &all).await;
        let failure = failure.unwrap();
        assert!(failure.contains(message), "{failure}");
    }
}
