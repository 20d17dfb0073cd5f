use std::collections::VecDeque;

use super::*;
use crate::clock::FakeClock;

/// A machine whose kubeadm runs end as told.
#[derive(Default)]
struct FakeHost {
    outcomes: VecDeque<Outcome>,
    refusals: VecDeque<TokenRefusal>,
    runtime_starts_at_look: u32,
    has_joined: bool,
    is_sick: bool,
    server_time_ms: u64,
    looks: u32,
    calls: Vec<String>,
    reports: Vec<(Progress, String)>,
}

impl Host for FakeHost {
    fn runtime_socket(&mut self) -> Option<String> {
        self.looks += 1;
        (self.looks > self.runtime_starts_at_look).then(|| "/run/r.sock".to_owned())
    }
    fn has_joined(&mut self) -> bool {
        self.has_joined
    }
    fn token(&mut self) -> Result<JoinToken, TokenRefusal> {
        self.calls.push("token".to_owned());
        match self.refusals.pop_front() {
            Some(refusal) => Err(refusal),
            None => Ok(JoinToken {
                token: format!("abcdef.{:016}", self.calls.len()),
                expires_in_secs: 600,
                server_time_ms: self.server_time_ms,
            }),
        }
    }
    fn set_clock(&mut self, unix_ms: u64) {
        self.calls.push(format!("clock {unix_ms}"));
    }
    fn kubeadm(&mut self, configuration: &str, secret: &str) -> Outcome {
        assert!(configuration.contains(secret));
        self.calls.push("kubeadm".to_owned());
        self.outcomes.pop_front().unwrap_or(Outcome::Joined)
    }
    fn clean(&mut self) {
        self.calls.push("clean".to_owned());
    }
    fn kubelet_is_healthy(&mut self) -> bool {
        !self.is_sick
    }
    fn report(&mut self, progress: Progress, message: &str, _begin: Monotonic) {
        self.reports.push((progress, message.to_owned()));
    }
}

fn run(host: &mut FakeHost) -> (Result<(), JoinError>, Duration) {
    let clock = FakeClock::default();
    let config = crate::configure::tests::config();
    let result = join(&config, host, &clock, &Log::new());
    (result, clock.now().0)
}

#[test]
fn a_join_that_works() {
    let mut host = FakeHost {
        runtime_starts_at_look: 4,
        ..FakeHost::default()
    };
    let (result, waited) = run(&mut host);
    result.unwrap();
    assert_eq!(host.calls, ["clean", "token", "kubeadm"]);
    assert_eq!(waited, LOOK_AGAIN * 4);
    let kinds: Vec<Progress> = host.reports.iter().map(|(progress, _)| *progress).collect();
    assert_eq!(kinds, [Progress::Started, Progress::Done]);
}

#[test]
fn what_stands_in_the_way_is_cleaned_and_tried_with_a_new_token() {
    let mut host = FakeHost {
        outcomes: VecDeque::from([
            Outcome::NameTaken,
            Outcome::NameTaken,
            Outcome::TokenRefused,
            Outcome::Failed("swap is on".to_owned()),
        ]),
        ..FakeHost::default()
    };
    let (result, waited) = run(&mut host);
    result.unwrap();
    assert_eq!(
        host.calls.join(" "),
        format!(
            "{}token kubeadm",
            "clean token kubeadm ".repeat(4) + "clean "
        )
    );
    assert_eq!(waited, NAME_PAUSE * 2 + Duration::from_secs(5 + 10));
    assert!(
        host.reports[1].1.contains("still Ready"),
        "{:?}",
        host.reports
    );
    assert!(
        host.reports[4].1.contains("swap is on"),
        "{:?}",
        host.reports
    );
    assert!(
        host.reports[5].1.contains("at attempt 5"),
        "{:?}",
        host.reports
    );
}

#[test]
fn an_api_server_away_for_an_hour_is_waited_for() {
    let away = Outcome::ApiAway("connection refused".to_owned());
    let mut host = FakeHost {
        outcomes: VecDeque::from(vec![away; 64]),
        ..FakeHost::default()
    };
    let (result, waited) = run(&mut host);
    result.unwrap();
    assert!(waited > Duration::from_secs(3600), "{waited:?}");
    let failed = host
        .reports
        .iter()
        .filter(|(progress, _)| *progress == Progress::Failed)
        .count();
    assert_eq!(failed, 64);
}

#[test]
fn boot_servers_wish_for_a_pause_is_heeded() {
    let refusal = |retry_after| TokenRefusal {
        reason: "busy".to_owned(),
        retry_after,
    };
    let mut host = FakeHost {
        refusals: VecDeque::from([
            refusal(Some(Duration::from_secs(10))),
            refusal(None),
            refusal(Some(Duration::from_secs(100_000))),
        ]),
        ..FakeHost::default()
    };
    let (result, waited) = run(&mut host);
    result.unwrap();
    assert_eq!(waited, Duration::from_secs(10 + 5 + 120));
}

#[test]
fn a_badly_wrong_clock_is_set_before_kubeadm_runs() {
    let right = FakeClock::default().wall().0;
    for (server, expected) in [
        (right + 1000, None),
        (right - 3_000_000, None),
        (right + 4_000_000, Some(right + 4_000_000)),
        (right - 4_000_000, Some(right - 4_000_000)),
    ] {
        let mut host = FakeHost {
            server_time_ms: server,
            ..FakeHost::default()
        };
        run(&mut host).0.unwrap();
        let set = host
            .calls
            .iter()
            .find_map(|call| call.strip_prefix("clock "));
        assert_eq!(set.map(str::to_owned), expected.map(|ms| ms.to_string()));
        assert_eq!(host.calls.last().unwrap(), "kubeadm");
    }
}

/// A clock that lags by half an hour is left alone until a certificate of a young
/// cluster is not valid yet.
#[test]
fn a_clock_is_set_where_a_certificate_seems_out_of_date() {
    let lag = 1_800_000;
    let mut host = FakeHost {
        outcomes: VecDeque::from([Outcome::ClockDoubted("x509: not yet valid".to_owned())]),
        server_time_ms: FakeClock::default().wall().0 + lag,
        ..FakeHost::default()
    };
    run(&mut host).0.unwrap();
    let clock = format!("clock {}", host.server_time_ms);
    let expected = [
        "clean", "token", "kubeadm", "clean", "token", &clock, "kubeadm",
    ];
    assert_eq!(host.calls, expected);
    let told = &host.reports[1].1;
    assert!(told.contains("clock"), "{told}");
}

#[test]
fn a_second_run_finds_that_all_is_done() {
    let mut host = FakeHost {
        has_joined: true,
        ..FakeHost::default()
    };
    run(&mut host).0.unwrap();
    assert!(host.calls.is_empty());
    assert_eq!(
        host.reports,
        [(Progress::Done, "had joined before".to_owned())]
    );
}

#[test]
fn a_runtime_that_never_starts_and_a_sick_kubelet_are_told() {
    let mut host = FakeHost {
        runtime_starts_at_look: u32::MAX,
        ..FakeHost::default()
    };
    let (result, waited) = run(&mut host);
    assert!(matches!(result, Err(JoinError::NoRuntime { secs: 300 })));
    assert!(waited >= RUNTIME_PATIENCE && waited < RUNTIME_PATIENCE * 2);
    let mut host = FakeHost {
        is_sick: true,
        ..FakeHost::default()
    };
    run(&mut host).0.unwrap();
    assert!(
        host.reports
            .last()
            .unwrap()
            .1
            .contains("journalctl -u kubelet")
    );
}
