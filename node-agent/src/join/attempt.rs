//! The road to a joined node: what to do after each outcome, and how long to
//! wait before it.

use std::time::Duration;

use boot_proto::boot_config::{BootConfig, JoinConfig, JoinToken};
use boot_proto::report::Progress;
use boot_proto::time::Monotonic;

use super::JoinError;
use super::kubeadm::join_configuration;
use super::outcome::Outcome;
use crate::clock::Clock;
use crate::log::Log;

/// How long the container runtime may take to start.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(300);
/// How long the kubelet may take to be healthy after the join.
const KUBELET_PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks at something that is starting.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How often a wait is told of.
const TELL_EVERY: Duration = Duration::from_secs(15);
/// A clock this far off makes certificates look expired or not yet valid.
const CLOCK_TOLERANCE_MS: u64 = 3_600_000;
/// And this far off where a certificate has just looked so: that of a cluster made
/// minutes ago does to a clock that lags by half an hour.
const DOUBTED_CLOCK_TOLERANCE_MS: u64 = 60_000;
/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pause while the old Node of this name is still Ready: its heartbeats are
/// missed after 40 to 50 s.
const NAME_PAUSE: Duration = Duration::from_secs(5);

/// Why boot-server gave no token.
#[derive(Clone, Debug)]
pub struct TokenRefusal {
    /// In words.
    pub reason: String,
    /// When to ask again, where it said so.
    pub retry_after: Option<Duration>,
}

/// What the join needs of the machine.
pub trait Host {
    /// The socket of a container runtime that answers.
    fn runtime_socket(&mut self) -> Option<String>;
    /// Whether this machine has joined already and its kubelet is healthy.
    fn has_joined(&mut self) -> bool;
    /// Asks boot-server for a token.
    ///
    /// # Errors
    /// Why it gave none.
    fn token(&mut self) -> Result<JoinToken, TokenRefusal>;
    /// Sets the wall clock.
    fn set_clock(&mut self, unix_ms: u64);
    /// Runs `kubeadm join` with this configuration; `secret` is kept out of logs.
    fn kubeadm(&mut self, configuration: &str, secret: &str) -> Outcome;
    /// Removes what an unfinished join left behind, so that the next one can begin.
    fn clean(&mut self);
    /// Whether the kubelet says that it is healthy.
    fn kubelet_is_healthy(&mut self) -> bool;
    /// Tells boot-server.
    fn report(&mut self, progress: Progress, message: &str, begin: Monotonic);
}

/// Joins the cluster; goes on until it has worked.
///
/// # Errors
/// When the container runtime does not start.
pub fn join(
    config: &BootConfig,
    host: &mut dyn Host,
    clock: &dyn Clock,
    log: &Log,
) -> Result<(), JoinError> {
    let begin = clock.now();
    let Some(join) = &config.join else {
        log.info("the boot config names no cluster; nothing to join");
        return Ok(());
    };
    if host.has_joined() {
        log.info(&format!(
            "this machine is a node of cluster {} already",
            join.cluster
        ));
        host.report(Progress::Done, "had joined before", begin);
        return Ok(());
    }
    host.report(
        Progress::Started,
        &format!("joining cluster {}", join.cluster),
        begin,
    );
    // Where the kubelet's folder is on a local disk, it has what the last boot left:
    // with a certificate of another cluster there, the kubelet would ask for none.
    host.clean();
    let Some(socket) = wait_for_runtime(host, clock, log) else {
        let secs = RUNTIME_PATIENCE.as_secs();
        host.report(
            Progress::Failed,
            &format!("no container runtime after {secs} s"),
            begin,
        );
        return Err(JoinError::NoRuntime { secs });
    };
    let attempts = try_until_joined(config, join, &socket, host, clock, log, begin);
    let is_healthy = wait_for(KUBELET_PATIENCE, clock, || {
        host.kubelet_is_healthy().then_some(())
    });
    let mut message = format!("joined cluster {} at attempt {attempts}", join.cluster);
    if is_healthy.is_none() {
        message.push_str(", but the kubelet is not healthy: see `journalctl -u kubelet`");
        log.warn(&message);
    } else {
        log.info(&message);
    }
    host.report(Progress::Done, &message, begin);
    Ok(())
}

fn wait_for_runtime(host: &mut dyn Host, clock: &dyn Clock, log: &Log) -> Option<String> {
    let mut told = clock.now();
    wait_for(RUNTIME_PATIENCE, clock, || {
        let socket = host.runtime_socket();
        if socket.is_none() && clock.now().since(told) >= TELL_EVERY {
            told = clock.now();
            log.info("waiting for the container runtime");
        }
        socket
    })
}

fn wait_for<T>(
    patience: Duration,
    clock: &dyn Clock,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let end = clock.now().after(patience);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if clock.now() >= end {
            return None;
        }
        clock.sleep(LOOK_AGAIN);
    }
}

/// Returns the number of the attempt that worked.
fn try_until_joined(
    config: &BootConfig,
    join: &JoinConfig,
    socket: &str,
    host: &mut dyn Host,
    clock: &dyn Clock,
    log: &Log,
    begin: Monotonic,
) -> u32 {
    let mut failures: u32 = 0;
    let mut tolerance_ms = CLOCK_TOLERANCE_MS;
    for attempt in 1.. {
        let result = one_attempt(config, join, socket, host, clock, log, tolerance_ms);
        let (reason, pause) = match result {
            Ok(()) => return attempt,
            Err((reason, Pause::Short)) => (reason, NAME_PAUSE),
            Err((reason, Pause::ClockDoubted)) => {
                tolerance_ms = DOUBTED_CLOCK_TOLERANCE_MS;
                failures += 1;
                (reason, growing(failures))
            }
            Err((reason, Pause::Asked(pause))) => (
                reason,
                pause.clamp(Duration::from_secs(1), LONGEST_PAUSE * 2),
            ),
            Err((reason, Pause::Growing)) => {
                failures += 1;
                (reason, growing(failures))
            }
        };
        let message = format!("{reason}; trying again in {} s", pause.as_secs());
        log.warn(&format!("attempt {attempt}: {message}"));
        host.report(Progress::Failed, &message, begin);
        clock.sleep(pause);
    }
    u32::MAX
}

enum Pause {
    Short,
    Growing,
    /// Growing, and the clock is compared more strictly the next time.
    ClockDoubted,
    Asked(Duration),
}

fn one_attempt(
    config: &BootConfig,
    join: &JoinConfig,
    socket: &str,
    host: &mut dyn Host,
    clock: &dyn Clock,
    log: &Log,
    tolerance_ms: u64,
) -> Result<(), (String, Pause)> {
    let token = host.token().map_err(|refusal| {
        let pause = refusal.retry_after.map_or(Pause::Growing, Pause::Asked);
        (format!("no join token: {}", refusal.reason), pause)
    })?;
    let off = clock.wall().0.abs_diff(token.server_time_ms);
    if token.server_time_ms != 0 && off > tolerance_ms {
        log.warn(&format!(
            "the clock is {} s off boot-server's; it is set now",
            off / 1000
        ));
        host.set_clock(token.server_time_ms);
    }
    let configuration = join_configuration(config, join, &token, socket);
    let failed = match host.kubeadm(&configuration, &token.token) {
        Outcome::Joined => return Ok(()),
        Outcome::NameTaken => {
            let name = &config.hostname;
            (
                format!("the Node {name} from before the restart is still Ready"),
                Pause::Short,
            )
        }
        // Growing: an API server that takes no tokens at all is not to be given one
        // every five seconds by each machine.
        Outcome::TokenRefused => (
            "the API server refused the token".to_owned(),
            Pause::Growing,
        ),
        Outcome::ClockDoubted(reason) => (
            format!("the clock, or a certificate of the API server, is wrong: {reason}"),
            Pause::ClockDoubted,
        ),
        Outcome::ApiAway(reason) => (
            format!("the API server {} does not answer: {reason}", join.endpoint),
            Pause::Growing,
        ),
        Outcome::KubeletFailed(reason) => (
            format!("the kubelet does not start, see `journalctl -u kubelet`: {reason}"),
            Pause::Growing,
        ),
        Outcome::Failed(reason) => (format!("kubeadm: {reason}"), Pause::Growing),
    };
    host.clean();
    Err(failed)
}

/// 5 s, 10 s, 20 s … up to a minute: an API server that is away for an hour is
/// joined within a minute of its return.
fn growing(failures: u32) -> Duration {
    let seconds = 5_u64 << failures.saturating_sub(1).min(8);
    Duration::from_secs(seconds).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
