//! HTTP with one Redfish service: bounded, patient with what is known to pass,
//! and never showing a password. Who logs in how is `session`.

use std::sync::Arc;

use boot_proto::redfish_rules::RedfishRules;
use reqwest::{Method, Url, header};
use serde_json::Value;
use tokio::time::sleep;

use super::answer::Answer;
use super::endpoint::Endpoint;
use super::fetch::{Fetch, FetchError, Fetched};
use super::lenient;
use super::session::Sessions;
use super::tls;
use super::wire::{TOO_MANY_REDIRECTS, build, chain, sensitive};
use crate::drivers::{DriverError, excerpt};

/// A connection to one service.
pub struct Client {
    endpoint: Endpoint,
    rules: Arc<RedfishRules>,
    tls: rustls::ClientConfig,
    /// Made when they are needed and let go after a visit, with their
    /// connections: thousands of devices would hold thousands of sockets, and a
    /// BMC has few to give.
    reads: Option<reqwest::Client>,
    orders: Option<reqwest::Client>,
    pub(super) sessions: Sessions,
    /// Requests of this visit.
    sent: u32,
    total: u64,
}

/// If-Match of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Left out.
    None,
    /// This ETag.
    Etag(String),
    /// `*`: any.
    Any,
}

/// Something to be done.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// POST, PATCH or DELETE.
    pub method: Method,
    /// Where.
    pub path: &'a str,
    /// What.
    pub body: Option<Value>,
    /// On which state.
    pub if_match: IfMatch,
}

/// Which credentials go with a request.
#[derive(Clone, Debug)]
pub(super) enum Auth {
    None,
    Basic,
    Token(String),
}

impl Client {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(endpoint: Endpoint, rules: Arc<RedfishRules>) -> Result<Self, DriverError> {
        let failed = |reason: String| {
            DriverError::Profile(format!("{}: setting up TLS: {reason}", endpoint.address()))
        };
        let tls = tls::config(&endpoint.tls).map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            sessions: Sessions::new(rules.login),
            endpoint,
            rules,
            tls,
            reads: None,
            orders: None,
            sent: 0,
            total: 0,
        })
    }

    /// Goes on by the rules of another profile; a session is kept.
    pub fn set_rules(&mut self, rules: Arc<RedfishRules>) {
        self.end_visit();
        self.sessions.set_way(rules.login);
        self.rules = rules;
    }

    /// Closes the connections; the session is kept.
    pub fn end_visit(&mut self) {
        self.reads = None;
        self.orders = None;
    }

    /// Where the service is, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        self.endpoint.address()
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn rules(&self) -> &RedfishRules {
        &self.rules
    }

    /// Begins a new visit with a full budget of requests.
    pub const fn begin_visit(&mut self) {
        self.sent = 0;
    }

    /// Requests of this visit so far.
    #[must_use]
    pub const fn sent(&self) -> u32 {
        self.sent
    }

    /// Requests of all visits so far.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Gets a resource, patiently. The answer may be a refusal.
    ///
    /// # Errors
    /// When the service cannot be reached, refuses the login, or has no session
    /// left.
    pub async fn get(&mut self, path: &str) -> Result<Answer, DriverError> {
        let mut pause = self.rules.http.pause.duration();
        let mut left = self.rules.http.retries;
        loop {
            let order = Order {
                method: Method::GET,
                path,
                body: None,
                if_match: IfMatch::None,
            };
            let result = self.exchange(&order).await;
            let again = match &result {
                Ok(answer) => answer.status >= 500 && answer.status != 501 && !answer.is_full(),
                Err(DriverError::Unreachable { reason, .. }) => !reason.contains("certificate"),
                Err(_) => false,
            };
            if !again || left == 0 {
                return result;
            }
            tracing::debug!(address = self.address(), path, left, "asking again");
            left -= 1;
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// Gives an order, once: whether it may be repeated only the caller knows.
    ///
    /// # Errors
    /// When the service cannot be reached, refuses the login, or has no session
    /// left.
    pub async fn send(&mut self, order: &Order<'_>) -> Result<Answer, DriverError> {
        self.exchange(order).await
    }

    /// One request with credentials; logs in before, and once more when a
    /// session has run out.
    async fn exchange(&mut self, order: &Order<'_>) -> Result<Answer, DriverError> {
        let is_root = is_service_root(order.path);
        for attempt in 0..2 {
            // The root is open to everybody (DSP0266 §9.2) and says where
            // sessions are made.
            let auth = if is_root && attempt == 0 {
                Auth::None
            } else {
                self.authorise().await?
            };
            let answer = self.raw(order, &auth).await?;
            if answer.is_full() {
                return Err(self.full(&answer));
            }
            if answer.status == 403 && answer.wants_new_password() {
                return Err(self.refused_login(
                    "the password is the factory's and must be changed on the device first"
                        .to_owned(),
                ));
            }
            if answer.status != 401 {
                return Ok(answer);
            }
            if matches!(auth, Auth::Basic) {
                let reason = format!("{} {}", order.path, answer.complaint());
                return Err(self.refused_login(reason));
            }
            // A service forgets sessions when it restarts or has too many. One
            // that refuses a good session would be left with it.
            if attempt == 0 {
                self.delete_session().await;
            }
        }
        let reason = format!("{} was refused with a fresh session", order.path);
        Err(self.refused_login(reason))
    }

    pub(super) fn refused_login(&self, reason: String) -> DriverError {
        DriverError::LoginRefused {
            address: self.address(),
            user: self.endpoint.user.clone(),
            reason: self.scrub(reason),
        }
    }

    /// One request as it is.
    pub(super) async fn raw(
        &mut self,
        order: &Order<'_>,
        auth: &Auth,
    ) -> Result<Answer, DriverError> {
        let doing = format!("{} {}", order.method, order.path);
        if self.sent >= self.rules.limits.requests {
            return Err(DriverError::Garbled {
                command: doing,
                problem: format!(
                    "{} requests were not enough for this service",
                    self.rules.limits.requests
                ),
                excerpt: String::new(),
            });
        }
        self.sent += 1;
        self.total += 1;
        let url = self.url(order.path)?;
        let request = self.request(order, url, auth)?;
        tracing::trace!(address = self.address(), request = doing, "sending");
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.broken(&doing, error)),
        };
        self.read(&doing, response).await
    }

    fn url(&self, path: &str) -> Result<Url, DriverError> {
        let clean = super::resources::clean_path(path).ok_or_else(|| DriverError::Garbled {
            command: format!("GET {}", excerpt(path)),
            problem: "it is no path of this service".into(),
            excerpt: excerpt(path),
        })?;
        let mut url = self.endpoint.base.clone();
        let (path, query) = clean
            .split_once('?')
            .map_or((clean, None), |(p, q)| (p, Some(q)));
        url.set_path(path);
        url.set_query(query);
        Ok(url)
    }

    fn request(
        &mut self,
        order: &Order<'_>,
        url: Url,
        auth: &Auth,
    ) -> Result<reqwest::RequestBuilder, DriverError> {
        let is_read = order.method == Method::GET;
        // An order must not be lost on a kept connection that has died.
        let keep_alive = is_read && self.rules.http.keep_alive;
        let place = if is_read {
            &mut self.reads
        } else {
            &mut self.orders
        };
        let client = match place {
            Some(client) => client,
            None => place.insert(
                build(&self.tls, &self.rules, keep_alive)
                    .map_err(|error| DriverError::Profile(error.to_string()))?,
            ),
        };
        let mut request = client.request(order.method.clone(), url);
        if !is_read || !self.rules.http.keep_alive {
            request = request.header(header::CONNECTION, "close");
        }
        request = match auth {
            Auth::None => request,
            Auth::Basic => {
                request.basic_auth(&self.endpoint.user, Some(self.endpoint.password.reveal()))
            }
            Auth::Token(token) => request.header("X-Auth-Token", sensitive(token)),
        };
        request = match &order.if_match {
            IfMatch::None => request,
            IfMatch::Any => request.header(header::IF_MATCH, "*"),
            IfMatch::Etag(etag) => request.header(header::IF_MATCH, etag),
        };
        Ok(match &order.body {
            None => request,
            Some(body) => request.json(body),
        })
    }

    /// Reads an answer up to the limit.
    async fn read(
        &self,
        doing: &str,
        mut response: reqwest::Response,
    ) -> Result<Answer, DriverError> {
        let status = response.status().as_u16();
        let headers = response.headers();
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let encoding = text("content-encoding");
        let mut answer = Answer {
            status,
            etag: text("etag").filter(|etag| !etag.trim().is_empty()),
            location: text("location"),
            token: text("x-auth-token").filter(|token| !token.trim().is_empty()),
            body: Value::Null,
            oddity: None,
        };
        if (300..400).contains(&status) && status != 304 {
            let to = answer.location.as_deref().unwrap_or("nowhere");
            return Err(DriverError::Garbled {
                command: doing.to_owned(),
                problem: "it points to another host, another port or another scheme; give the \
                          address it names if that is the device"
                    .into(),
                excerpt: excerpt(to),
            });
        }
        // iDRAC 8 breaks the body of a 401 off, and nothing in it matters.
        if status == 401 {
            return Ok(answer);
        }
        let bytes = self.read_bytes(doing, &mut response).await?;
        let limit = self.longest_body();
        let bytes = lenient::unpacked(bytes, encoding.as_deref(), limit)
            .map_err(|lenient::TooLong| self.too_long(doing, b"(compressed)"))?;
        (answer.body, answer.oddity) = lenient::read(&bytes);
        answer.oddity = answer.oddity.map(|text| self.scrub(text));
        Ok(answer)
    }

    async fn read_bytes(
        &self,
        doing: &str,
        response: &mut reqwest::Response,
    ) -> Result<Vec<u8>, DriverError> {
        let limit = self.longest_body();
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => {
                    return Err(self.too_long(doing, &bytes));
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return Ok(bytes),
                Err(error) => return Err(self.broken(doing, error)),
            }
        }
    }

    fn longest_body(&self) -> usize {
        usize::try_from(self.rules.limits.body.0).unwrap_or(usize::MAX)
    }

    fn too_long(&self, doing: &str, bytes: &[u8]) -> DriverError {
        let beginning = String::from_utf8_lossy(bytes.get(..160).unwrap_or(bytes)).into_owned();
        DriverError::Garbled {
            command: doing.to_owned(),
            problem: format!("it is longer than {}", self.rules.limits.body),
            excerpt: excerpt(&self.scrub(beginning)),
        }
    }

    fn broken(&self, doing: &str, error: reqwest::Error) -> DriverError {
        let address = self.address();
        let doing = doing.to_owned();
        if error.is_timeout() {
            let http = &self.rules.http;
            let after = if error.is_connect() {
                http.connect.duration()
            } else {
                http.request.duration()
            };
            return DriverError::TimedOut {
                address,
                doing,
                after,
            };
        }
        let reason = self.scrub(chain(&error.without_url()));
        if reason.contains(TOO_MANY_REDIRECTS) {
            return DriverError::Garbled {
                command: doing,
                problem: TOO_MANY_REDIRECTS.into(),
                excerpt: String::new(),
            };
        }
        DriverError::Unreachable {
            address,
            doing,
            reason,
        }
    }

    pub(super) fn full(&mut self, answer: &Answer) -> DriverError {
        self.sessions.back_off(self.rules.http.full.duration());
        DriverError::Busy {
            address: self.address(),
            answer: answer.complaint(),
        }
    }

    /// A service may send back what it was sent.
    pub(super) fn scrub(&self, text: String) -> String {
        let password = self.endpoint.password.reveal();
        if password.is_empty() {
            text
        } else {
            text.replace(password, "(password)")
        }
    }

    /// The answer as a resource, or why there is none.
    async fn resource(&mut self, path: &str) -> Result<Value, FetchError> {
        let command = format!("GET {path}");
        let answer = match self.get(path).await {
            Ok(answer) => answer,
            Err(error @ DriverError::Garbled { .. }) => return Err(FetchError::Absent(error)),
            Err(error) => return Err(FetchError::Fatal(error)),
        };
        if !answer.is_success() {
            let answer = self.scrub(answer.complaint());
            return Err(FetchError::Absent(DriverError::Refused { command, answer }));
        }
        match answer.oddity {
            None => Ok(answer.body),
            Some(text) => Err(FetchError::Absent(DriverError::Garbled {
                command,
                problem: "it is no JSON".into(),
                excerpt: excerpt(&text),
            })),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let Some((path, token)) = self.sessions.take() else {
            return;
        };
        let client = build(&self.tls, &self.rules, false);
        if let (Ok(url), Ok(client)) = (self.url(&path), client) {
            let request = client.delete(url).header("X-Auth-Token", sensitive(&token));
            super::goodbye::send(self.address(), request);
        }
    }
}

impl Fetch for Client {
    fn get<'a>(&'a mut self, path: &'a str) -> Fetched<'a> {
        Box::pin(self.resource(path))
    }
}

fn is_service_root(path: &str) -> bool {
    matches!(
        path.trim_end_matches('/'),
        "/redfish/v1" | "/redfish" | "/rest/v1"
    )
}
