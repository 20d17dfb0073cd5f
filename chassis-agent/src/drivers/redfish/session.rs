//! Who logs in how: basic authentication, or one session that is kept, renewed
//! and deleted. A service that refuses one way is never tried the other way: an
//! operator who asked for sessions does not want the password in every request.

use std::time::Duration;

use boot_proto::redfish_rules::LoginWay;
use boot_proto::time::Monotonic;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Auth, Client, IfMatch, Order};
use super::resources::{clean_path, link};
use crate::clock;
use crate::drivers::DriverError;

/// The session of one service.
pub(super) struct Sessions {
    way: LoginWay,
    /// Where sessions are made, once the root has said it.
    collection: Option<String>,
    current: Option<Session>,
    /// No login before this time: the service had no session left.
    not_before: Option<Monotonic>,
    pause: Duration,
}

struct Session {
    token: String,
    /// Where it is deleted; some services do not say.
    path: Option<String>,
}

/// Where sessions are made if the root does not say.
const USUAL_COLLECTION: &str = "/redfish/v1/SessionService/Sessions";

impl Sessions {
    pub(super) const fn new(way: LoginWay) -> Self {
        Self {
            way,
            collection: None,
            current: None,
            not_before: None,
            pause: Duration::ZERO,
        }
    }

    pub(super) const fn set_way(&mut self, way: LoginWay) {
        self.way = way;
    }

    /// Learns from the service root where sessions are made.
    pub(super) fn learn(&mut self, root: &Value) {
        let named = ["Links", "links"]
            .iter()
            .find_map(|links| root.get(links).and_then(|links| link(links, "Sessions")));
        if named.is_some() {
            self.collection = named;
        }
    }

    pub(super) fn back_off(&mut self, first: Duration) {
        self.pause = (self.pause * 2).clamp(first, first * 16);
        self.not_before = Some(Monotonic(clock::now().0 + self.pause));
    }

    /// The session's URI and token; it is not used any more.
    pub(super) fn take(&mut self) -> Option<(String, String)> {
        let session = self.current.take()?;
        Some((session.path?, session.token))
    }

    fn waits(&self) -> Option<Duration> {
        let left = self.not_before?.0.saturating_sub(clock::now().0);
        (!left.is_zero()).then_some(left)
    }
}

impl Client {
    /// The credentials for the next request; logs in where there is no session.
    pub(super) async fn authorise(&mut self) -> Result<Auth, DriverError> {
        if let Some(left) = self.sessions.waits() {
            return Err(DriverError::Busy {
                address: self.address(),
                answer: format!(
                    "it had no session left; the next login is tried in {} s",
                    left.as_secs() + 1
                ),
            });
        }
        match (self.sessions.way, &self.sessions.current) {
            (LoginWay::Basic, _) => Ok(Auth::Basic),
            (LoginWay::Session, Some(session)) => Ok(Auth::Token(session.token.clone())),
            (LoginWay::Session, None) => self.log_in().await,
        }
    }

    async fn log_in(&mut self) -> Result<Auth, DriverError> {
        let path = self
            .sessions
            .collection
            .clone()
            .unwrap_or_else(|| USUAL_COLLECTION.into());
        let endpoint = self.endpoint();
        let body = json!({ "UserName": endpoint.user, "Password": endpoint.password.reveal() });
        let order = Order {
            method: Method::POST,
            path: &path,
            body: Some(body),
            if_match: IfMatch::None,
        };
        let answer = self.raw(&order, &Auth::None).await?;
        if answer.is_full() || matches!(answer.status, 429 | 503) {
            return Err(self.full(&answer));
        }
        if answer.wants_new_password() && !answer.is_success() {
            return Err(self.refused_login(
                "the password is the factory's and must be changed on the device first".to_owned(),
            ));
        }
        if answer.status == 404 || answer.status == 405 {
            return Err(DriverError::Refused {
                command: format!("POST {path}"),
                answer: format!(
                    "{}; it seems to have no sessions, a hardware profile with `login: basic` \
                     would do without",
                    self.scrub(answer.complaint())
                ),
            });
        }
        let (true, Some(token)) = (answer.is_success(), answer.token.clone()) else {
            let reason = if answer.is_success() {
                "the answer to the login has no X-Auth-Token".to_owned()
            } else {
                format!("session {}", answer.complaint())
            };
            return Err(self.refused_login(reason));
        };
        // Location may be missing, or a whole URL; the body names it as well.
        let told = answer.location.as_deref().and_then(clean_path);
        let place = told
            .or_else(|| answer.body.get("@odata.id")?.as_str().and_then(clean_path))
            .map(str::to_owned)
            .or_else(|| {
                Some(format!(
                    "{}/{}",
                    path.trim_end_matches('/'),
                    id_of(&answer.body)?
                ))
            });
        self.sessions.pause = Duration::ZERO;
        self.sessions.not_before = None;
        self.sessions.current = Some(Session {
            token: token.clone(),
            path: place,
        });
        tracing::debug!(address = self.address(), "session opened");
        Ok(Auth::Token(token))
    }

    /// Deletes the session. A service that is away forgets it by itself.
    pub async fn close(&mut self) {
        self.begin_visit();
        self.delete_session().await;
    }

    pub(super) async fn delete_session(&mut self) {
        let Some(session) = self.sessions.current.take() else {
            return;
        };
        let Some(path) = session.path else {
            tracing::debug!(
                address = self.address(),
                "the session has no URI to delete it by"
            );
            return;
        };
        let order = Order {
            method: Method::DELETE,
            path: &path,
            body: None,
            if_match: IfMatch::None,
        };
        match self.raw(&order, &Auth::Token(session.token)).await {
            Ok(answer) if answer.is_success() || matches!(answer.status, 401 | 404) => {
                tracing::debug!(address = self.address(), "session deleted");
            }
            Ok(answer) => {
                tracing::warn!(
                    address = self.address(),
                    answer = answer.complaint(),
                    "the session was not deleted"
                );
            }
            Err(error) => {
                tracing::warn!(address = self.address(), %error, "the session was not deleted");
            }
        }
    }
}

/// The Id of a session, where its answer has that alone.
fn id_of(session: &Value) -> Option<String> {
    let id = super::resources::text(session, "Id")?;
    let is_plain = id
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    is_plain.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_sessions() {
        for (body, id) in [
            (json!({"Id": "abc-1"}), Some("abc-1")),
            (json!({"Id": 17}), Some("17")),
            (json!({"Id": "../Systems/1"}), None),
            (json!({"Id": ""}), None),
            (json!(null), None),
        ] {
            assert_eq!(id_of(&body).as_deref(), id, "{body}");
        }
    }

    #[test]
    fn logins_are_backed_off() {
        let mut sessions = Sessions::new(LoginWay::Session);
        assert_eq!(sessions.waits(), None);
        sessions.back_off(Duration::from_secs(60));
        sessions.back_off(Duration::from_secs(60));
        let left = sessions.waits().unwrap();
        assert!(
            left > Duration::from_secs(100) && left <= Duration::from_secs(120),
            "{left:?}"
        );
        for _ in 0..20 {
            sessions.back_off(Duration::from_secs(60));
        }
        assert!(sessions.waits().unwrap() <= Duration::from_secs(960));
    }
}
