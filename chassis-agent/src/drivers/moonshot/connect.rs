//! From an address and a login to an authenticated SSH connection.

use std::net::Shutdown;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boot_proto::hardware_profile::CliTiming;
use russh::client::{self, AuthResult, DisconnectReason, KeyboardInteractiveAuthResponse};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Disconnect, MethodKind};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::algorithms;
use crate::config::{HostKeyPolicy, Target};
use crate::drivers::{DriverError, excerpt};
use crate::host_keys::{self, Recorded};

/// An authenticated connection. Dropping it closes the socket, whatever the
/// device does.
pub(super) struct Connection {
    pub handle: client::Handle<Verifier>,
    notes: Arc<Mutex<Notes>>,
    socket: std::net::TcpStream,
    address: String,
}

/// What the handler learns while the library's own error says little.
#[derive(Default)]
struct Notes {
    host_key: Option<DriverError>,
    goodbye: Option<(Disconnect, String)>,
}

impl Connection {
    /// Connects and logs in.
    pub(super) async fn open(target: &Target, timing: &CliTiming) -> Result<Self, DriverError> {
        let patience = timing.connect.duration();
        let mut connection = within(target, "connecting", patience, Self::connect(target)).await?;
        let patience = timing.login.duration();
        within(target, "logging in", patience, connection.log_in(target)).await?;
        tracing::debug!(address = %target.address, "logged in");
        Ok(connection)
    }

    async fn connect(target: &Target) -> Result<Self, DriverError> {
        let address = target.address.to_string();
        let unreachable = |error: std::io::Error| DriverError::Unreachable {
            address: address.clone(),
            doing: "connecting".into(),
            reason: error.to_string(),
        };
        let endpoint = (target.address.host.as_str(), target.address.port);
        let stream = TcpStream::connect(endpoint).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let stream = stream.into_std().map_err(unreachable)?;
        // The library's task owns the stream; this second handle on the socket
        // ends the task even while the device takes no bytes from us.
        let socket = stream.try_clone().map_err(unreachable)?;
        let stream = TcpStream::from_std(stream).map_err(unreachable)?;
        let notes = Arc::new(Mutex::new(Notes::default()));
        let verifier = Verifier {
            address: address.clone(),
            policy: target.host_key.clone(),
            notes: Arc::clone(&notes),
        };
        let config = client::Config {
            preferred: algorithms::preferred(target.legacy_algorithms),
            gex: algorithms::group_sizes(),
            // What the device may send before we have read it.
            window_size: 128 * 1024,
            channel_buffer_size: 32,
            ..client::Config::default()
        };
        match client::connect_stream(Arc::new(config), stream, verifier).await {
            Ok(handle) => Ok(Self {
                handle,
                notes,
                socket,
                address,
            }),
            Err(error) => {
                let _ = socket.shutdown(Shutdown::Both);
                Err(explain(
                    &address,
                    "connecting",
                    &notes,
                    error,
                    target.legacy_algorithms,
                ))
            }
        }
    }

    /// Why the connection broke.
    pub(super) fn broke(&self, doing: &str, error: russh::Error) -> DriverError {
        explain(&self.address, doing, &self.notes, error, true)
    }

    async fn log_in(&mut self, target: &Target) -> Result<(), DriverError> {
        let user = &target.login.user;
        let mut tried = Vec::new();
        let broke = |this: &Self, error| this.broke("logging in", error);
        if let Some(key) = &target.login.private_key {
            tried.push("the private key");
            let told = if key.algorithm().is_rsa() {
                self.handle
                    .best_supported_rsa_hash()
                    .await
                    .map_err(|e| broke(self, e))?
            } else {
                Some(Some(HashAlg::Sha256))
            };
            let ways = algorithms::rsa_signatures(told, target.legacy_algorithms);
            if ways.is_empty() {
                tried.push("(it takes SHA-1 signatures only, which --legacy-algorithms allows)");
            }
            for hash in ways {
                let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
                let result = self.handle.authenticate_publickey(user, key).await;
                if result.map_err(|e| broke(self, e))?.success() {
                    return Ok(());
                }
            }
        }
        if let Some(password) = &target.login.password {
            tried.push("the password");
            let result = self
                .handle
                .authenticate_password(user, password.reveal())
                .await;
            match result.map_err(|e| broke(self, e))? {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure {
                    remaining_methods, ..
                } => {
                    let asks = remaining_methods.contains(&MethodKind::KeyboardInteractive);
                    if asks && self.answer_questions(user, password.reveal()).await? {
                        return Ok(());
                    }
                }
            }
        }
        Err(self.login_refused(user, &tried))
    }

    /// The keyboard-interactive way (RFC 4256): the password is the answer to
    /// the one question.
    async fn answer_questions(&mut self, user: &str, password: &str) -> Result<bool, DriverError> {
        const MOST_ROUNDS: usize = 4;
        let broke = |this: &Self, error| this.broke("logging in", error);
        let first = self
            .handle
            .authenticate_keyboard_interactive_start(user, None)
            .await;
        let mut state = first.map_err(|e| broke(self, e))?;
        for _ in 0..MOST_ROUNDS {
            let prompts = match state {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
            };
            let answers = prompts.iter().map(|_| password.to_owned()).collect();
            let next = self
                .handle
                .authenticate_keyboard_interactive_respond(answers)
                .await;
            state = next.map_err(|e| broke(self, e))?;
        }
        Ok(false)
    }

    fn login_refused(&self, user: &str, tried: &[&str]) -> DriverError {
        // A device that hangs up after a wrong password says less than one that
        // answers; both refuse, unless it said goodbye with another reason.
        let goodbye = self
            .notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .goodbye
            .take();
        match goodbye {
            Some((Disconnect::TooManyConnections, message)) => DriverError::Busy {
                address: self.address.clone(),
                answer: excerpt(&message),
            },
            _ => DriverError::LoginRefused {
                address: self.address.clone(),
                user: user.to_owned(),
                reason: format!("{} did not do", tried.join(" and ")),
            },
        }
    }

    /// Says goodbye, as far as the device listens.
    pub(super) async fn close(self) {
        let bye = self.handle.disconnect(Disconnect::ByApplication, "", "");
        let _ = timeout(Duration::from_secs(2), bye).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // An error means that it is closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Bounds what is done with the device in time.
async fn within<T>(
    target: &Target,
    doing: &str,
    patience: Duration,
    work: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    timeout(patience, work).await.unwrap_or_else(|_| {
        Err(DriverError::TimedOut {
            address: target.address.to_string(),
            doing: doing.into(),
            after: patience,
        })
    })
}

/// The library's error in our words.
fn explain(
    address: &str,
    doing: &str,
    notes: &Mutex<Notes>,
    error: russh::Error,
    legacy: bool,
) -> DriverError {
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(host_key) = notes.host_key.take() {
        return host_key;
    }
    if let Some((code, message)) = notes.goodbye.take() {
        if matches!(code, Disconnect::TooManyConnections) {
            return DriverError::Busy {
                address: address.into(),
                answer: excerpt(&message),
            };
        }
        return DriverError::Unreachable {
            address: address.into(),
            doing: doing.into(),
            reason: format!(
                "it closed the connection: {:?} ({code:?})",
                excerpt(&message)
            ),
        };
    }
    if let russh::Error::NoCommonAlgo { kind, theirs, .. } = &error {
        return DriverError::Negotiation {
            address: address.into(),
            kind: format!("{kind:?}").to_lowercase(),
            theirs: excerpt(&theirs.join(", ")),
            advice: if legacy {
                ""
            } else {
                "; if the device is old, --legacy-algorithms (legacyAlgorithms: true in the \
                 Chassis) offers what it knows"
            },
        };
    }
    DriverError::Unreachable {
        address: address.into(),
        doing: doing.into(),
        reason: error.to_string(),
    }
}

/// Checks the host key and notes how the device says goodbye.
pub(super) struct Verifier {
    address: String,
    policy: HostKeyPolicy,
    notes: Arc<Mutex<Notes>>,
}

impl Verifier {
    fn check(&self, found: &str) -> Result<(), DriverError> {
        let changed = |expected: &str, by: String, remedy: String| DriverError::HostKeyChanged {
            address: self.address.clone(),
            found: found.to_owned(),
            expected: expected.to_owned(),
            by,
            remedy,
        };
        match &self.policy {
            HostKeyPolicy::Any => Ok(()),
            HostKeyPolicy::Pinned(pin) if same_fingerprint(pin, found) => Ok(()),
            HostKeyPolicy::Pinned(pin) => Err(changed(
                pin,
                "pinned with --host-key or hostKey".into(),
                "pin the new key there".into(),
            )),
            HostKeyPolicy::FirstContact(file) => {
                let place = file.display();
                match host_keys::check_or_record(file, &self.address, found) {
                    Ok(Recorded::Same) => Ok(()),
                    Ok(Recorded::First) => {
                        tracing::info!(address = self.address, host_key = found, file = %place,
                            "first contact, host key recorded");
                        Ok(())
                    }
                    Ok(Recorded::Changed { expected }) => Err(changed(
                        &expected,
                        format!("recorded at first contact in {place}"),
                        format!("remove its line from {place}"),
                    )),
                    Err(error) => Err(DriverError::HostKeyStore {
                        address: self.address.clone(),
                        reason: format!(
                            "{place}: {error}; name another file with --known-hosts, pin the key \
                             with --host-key {found}, or take any key with --insecure"
                        ),
                    }),
                }
            }
        }
    }
}

/// Whether two spellings name one key: with or without `SHA256:` and padding.
fn same_fingerprint(one: &str, other: &str) -> bool {
    let bare = |text: &str| -> String {
        let text = text.trim();
        text.strip_prefix("SHA256:")
            .unwrap_or(text)
            .trim_end_matches('=')
            .to_owned()
    };
    bare(one) == bare(other)
}

impl client::Handler for Verifier {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let found = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        match self.check(&found) {
            Ok(()) => Ok(true),
            Err(error) => {
                self.notes
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .host_key = Some(error);
                Ok(false)
            }
        }
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<russh::Error>,
    ) -> Result<(), russh::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.notes
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .goodbye = Some((info.reason_code, info.message));
                Ok(())
            }
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_compared_by_value() {
        assert!(same_fingerprint("SHA256:abc=", " abc"));
        assert!(!same_fingerprint("SHA256:abc", "SHA256:abd"));
    }
}
