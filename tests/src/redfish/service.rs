//! What the virtual BMC answers, and what changes in it: requests -> replies,
//! without I/O.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::faults::{self, Fault, FaultRule};
use super::http::{Reply, Request, base64};
use super::tree::{Entry, Tree};

/// What it thinks of If-Match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EtagHabit {
    /// It does not look at it.
    #[default]
    Ignored,
    /// It refuses changes without it.
    Needed,
    /// Its own ETag never matches; `*` does, and none at all.
    NeverMatches,
}

/// What becomes of a boot override.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BootHabit {
    /// It is stored.
    #[default]
    Taken,
    /// It is answered with 200 and dropped.
    Ignored,
    /// It is refused on the system and taken by this resource.
    OnlyAt(String),
    /// It is refused on the system with a message that names this resource.
    MovedTo(String),
    /// Without BootSourceOverrideMode it is stored as Disabled.
    NeedsMode,
    /// With BootSourceOverrideMode it is refused.
    RefusesMode,
}

/// How the answer to a login says where the session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocationHabit {
    /// By a Location that is a path.
    #[default]
    Path,
    /// By a whole URL, with an address of the BMC's own.
    Absolute,
    /// In the body alone.
    InBody,
    /// In the body, as an Id, and with status 200.
    IdAlone,
}

/// A Redfish service.
#[derive(Debug)]
pub struct Service {
    /// Its resources.
    pub tree: Tree,
    /// Login that is good.
    pub login: (String, String),
    /// Sessions that there may be at a time.
    pub most_sessions: usize,
    /// How the answer to a login says where the session is.
    pub location: LocationHabit,
    /// Faults; the first that fits is taken.
    pub faults: Vec<FaultRule>,
    /// If-Match.
    pub etags: EtagHabit,
    /// Boot overrides.
    pub boot: BootHabit,
    /// How many looks at a system an order takes to show.
    pub looks_until_power: u32,
    /// Whether power orders are answered and dropped.
    pub ignores_power: bool,
    /// How often a power order is refused as too early.
    pub not_ready: u32,
    /// Requests so far, as `METHOD path`.
    pub log: Vec<String>,
    /// Resets that were taken: path of the system and reset type.
    pub resets: Vec<(String, String)>,
    /// Most sessions at a time so far.
    pub peak_sessions: usize,
    sessions: BTreeMap<String, String>,
    next_session: u32,
    pending: BTreeMap<String, (u32, &'static str)>,
}

impl Service {
    /// A service that obeys, to the login `admin`, `secret`.
    #[must_use]
    pub fn new(tree: Tree) -> Self {
        Self {
            tree,
            login: ("admin".into(), "secret".into()),
            most_sessions: 8,
            location: LocationHabit::default(),
            faults: Vec::new(),
            etags: EtagHabit::default(),
            boot: BootHabit::default(),
            looks_until_power: 1,
            ignores_power: false,
            not_ready: 0,
            log: Vec::new(),
            resets: Vec::new(),
            peak_sessions: 0,
            sessions: BTreeMap::new(),
            next_session: 1,
            pending: BTreeMap::new(),
        }
    }

    /// Open sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Ends all sessions, as a restart does.
    pub fn drop_sessions(&mut self) {
        self.sessions.clear();
    }

    /// Answers a request.
    pub fn handle(&mut self, request: &Request) -> Reply {
        let (method, path) = (request.method.as_str(), request.path.as_str());
        self.log.push(format!("{method} {path}"));
        let fault = self
            .faults
            .iter_mut()
            .find_map(|rule| rule.takes(method, path).then(|| rule.fault.clone()));
        if let Some(reply) = fault
            .as_ref()
            .and_then(|fault| self.in_place_of(fault, path))
        {
            return reply;
        }
        let mut reply = self.answer(request);
        match &fault {
            Some(Fault::WrongContentType) => {
                reply.headers.retain(|(name, _)| name != "Content-Type");
                reply = reply.with("Content-Type", "text/html");
            }
            Some(Fault::NextLinkLoop) => {
                if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) {
                    body["Members@odata.nextLink"] = format!("{path}?$skip=1").into();
                    reply.body = body.to_string().into_bytes();
                }
            }
            Some(fault) => faults::rewrite(&mut reply, fault),
            None => {}
        }
        reply.fault = fault;
        reply
    }

    /// The reply to a request that does not reach the service itself.
    fn in_place_of(&mut self, fault: &Fault, path: &str) -> Option<Reply> {
        Some(match fault {
            Fault::Status(status, body) => Reply {
                status: *status,
                body: body.clone().into_bytes(),
                ..Reply::default()
            },
            Fault::Garbled => Reply {
                status: 200,
                body: b"<html>{\"Members\": [".to_vec(),
                ..Reply::default()
            },
            Fault::Redirect(to) => Reply::empty(302).with("Location", to.clone()),
            Fault::RedirectLoop => Reply::empty(308).with("Location", path),
            Fault::Deep(levels) => {
                let body = format!("{}1{}", "{\"a\":".repeat(*levels), "}".repeat(*levels));
                Reply {
                    status: 200,
                    body: body.into_bytes(),
                    ..Reply::default()
                }
            }
            Fault::SessionLost => {
                self.sessions.clear();
                Reply::json(
                    401,
                    &error("Base.1.8.NoValidSession", "There is no valid session."),
                )
            }
            Fault::Null => Reply::json(200, &Value::Null),
            _ => return None,
        })
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let path = request
            .path
            .split('?')
            .next()
            .unwrap_or_default()
            .trim_end_matches('/');
        let is_login = request.method == "POST" && self.is_session_collection(path);
        let is_open = is_login || matches!(path, "/redfish" | "/redfish/v1" | "/rest/v1");
        if !is_open && !self.is_authorised(request) {
            return Reply::json(401, &error("Base.1.8.NoValidSession", "Log in."))
                .with("WWW-Authenticate", "Basic realm=\"virtual\"");
        }
        match request.method.as_str() {
            "GET" => self.get(request),
            "POST" if is_login => self.log_in(request, path),
            "POST" => self.reset(request, path),
            "PATCH" => self.patch(request, path),
            "DELETE" => match self.sessions.iter().find(|(_, own)| own.as_str() == path) {
                Some((token, _)) => {
                    let token = token.clone();
                    self.sessions.remove(&token);
                    Reply::empty(204)
                }
                None => not_found(),
            },
            _ => Reply::json(405, &error("Base.1.8.MethodNotAllowed", "No.")),
        }
    }

    fn is_session_collection(&self, path: &str) -> bool {
        let root = |path| self.tree.get(path).map(|entry| &entry.body);
        let old = root("/rest/v1").and_then(|root| root.pointer("/links/Sessions/href"));
        let named = root("/redfish/v1")
            .and_then(|root| root.pointer("/Links/Sessions/@odata.id"))
            .or(old)
            .and_then(Value::as_str)
            .unwrap_or("/redfish/v1/SessionService/Sessions");
        path.eq_ignore_ascii_case(named.trim_end_matches('/'))
    }

    fn is_authorised(&self, request: &Request) -> bool {
        if let Some(token) = request.header("x-auth-token") {
            return self.sessions.contains_key(token);
        }
        let (user, password) = &self.login;
        let expected = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
        request.header("authorization") == Some(expected.as_str())
    }

    fn log_in(&mut self, request: &Request, path: &str) -> Reply {
        let body = request.json();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        if (text("UserName"), text("Password")) != (&self.login.0, &self.login.1) {
            return Reply::json(401, &error("Base.1.8.ResourceAtUriUnauthorized", "Wrong."));
        }
        if self.sessions.len() >= self.most_sessions {
            let full = "The maximum number of user sessions is reached.";
            return Reply::json(503, &error("IDRAC.2.1.RAC0218", full));
        }
        let number = self.next_session;
        self.next_session += 1;
        let (token, place) = (format!("token-{number}"), format!("{path}/{number}"));
        self.sessions.insert(token.clone(), place.clone());
        self.peak_sessions = self.peak_sessions.max(self.sessions.len());
        let id = number.to_string();
        let (status, body) = match self.location {
            LocationHabit::IdAlone => (200, json!({ "Id": id })),
            _ => (201, json!({ "@odata.id": place, "Id": id })),
        };
        let reply = Reply::json(status, &body).with("X-Auth-Token", token);
        match self.location {
            LocationHabit::Path => reply.with("Location", place),
            LocationHabit::Absolute => reply.with("Location", format!("https://10.0.0.9{place}")),
            LocationHabit::InBody | LocationHabit::IdAlone => reply,
        }
    }

    fn get(&mut self, request: &Request) -> Reply {
        self.let_time_pass(&request.path);
        let Some(entry) = self.tree.get(&request.path) else {
            return not_found();
        };
        if let Some(text) = &entry.text {
            return Reply {
                status: entry.status,
                body: text.clone().into_bytes(),
                ..Reply::default()
            };
        }
        let expands = self.tree.get("/redfish/v1").and_then(|root| {
            root.body
                .pointer("/ProtocolFeaturesSupported/ExpandQuery/NoLinks")?
                .as_bool()
        });
        let mut body = entry.body.clone();
        if expands == Some(true) && request.path.contains("$expand") {
            self.tree.expand(&mut body);
        }
        Reply::json(entry.status, &body).with("ETag", etag(entry))
    }

    /// A system shows an order only after some looks.
    fn let_time_pass(&mut self, path: &str) {
        let key = path
            .split('?')
            .next()
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_lowercase();
        let Some((looks, state)) = self.pending.get_mut(&key) else {
            return;
        };
        *looks = looks.saturating_sub(1);
        if *looks == 0 {
            let state = *state;
            self.pending.remove(&key);
            if let Some(entry) = self.tree.get_mut(&key) {
                entry.body["PowerState"] = state.into();
                entry.version += 1;
            }
        }
    }

    fn reset(&mut self, request: &Request, path: &str) -> Reply {
        // Under /rest/v1 the order goes to the system and names its action.
        let is_named = request.json().get("Action") == Some(&"Reset".into());
        let system = match path.split_once("/Actions/ComputerSystem.Reset") {
            Some((system, _)) => system,
            None if is_named && path.starts_with("/rest/") => path,
            None => return not_found(),
        };
        let kind = request
            .json()
            .get("ResetType")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let kind = kind.unwrap_or_default();
        let Some(entry) = self.tree.get(system) else {
            return not_found();
        };
        if !self.offered(entry).contains(&kind) {
            return Reply::json(400, &error("Base.1.8.ActionParameterNotSupported", &kind));
        }
        if self.not_ready > 0 {
            self.not_ready -= 1;
            return Reply::json(
                400,
                &error("iLO.2.14.InvalidOperationForSystemState", "Later."),
            );
        }
        let is_on = entry.body.get("PowerState").and_then(Value::as_str) == Some("On");
        let state = match kind.as_str() {
            "On" | "ForceOn" if is_on => {
                return Reply::json(400, &error("", "Invalid reset type for current state"));
            }
            "On" | "ForceOn" => "On",
            "Off" | "ForceOff" | "GracefulShutdown" => "Off",
            "PushPowerButton" if is_on => "Off",
            "PushPowerButton" | "PowerCycle" => "On",
            _ if is_on => "On",
            _ => return Reply::json(400, &error("", "Invalid reset type for current state")),
        };
        self.resets.push((system.to_owned(), kind));
        if !self.ignores_power {
            let key = system.trim_end_matches('/').to_lowercase();
            self.pending.insert(key, (self.looks_until_power, state));
        }
        Reply::empty(204)
    }

    fn offered(&self, entry: &Entry) -> Vec<String> {
        let action = entry.body.pointer("/Actions/#ComputerSystem.Reset");
        let list = |value: Option<&Value>| -> Vec<String> {
            let list = value.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let direct = list(action.and_then(|a| a.get("ResetType@Redfish.AllowableValues")));
        if !direct.is_empty() {
            return direct;
        }
        let old = list(
            entry
                .body
                .pointer("/AvailableActions/0/Capabilities/0/AllowableValues"),
        );
        if !old.is_empty() {
            return old;
        }
        let info = action
            .and_then(|a| a.get("@Redfish.ActionInfo"))
            .and_then(Value::as_str);
        let info = info.and_then(|path| self.tree.get(path));
        list(info.and_then(|info| info.body.pointer("/Parameters/0/AllowableValues")))
    }

    fn patch(&mut self, request: &Request, path: &str) -> Reply {
        let body = request.json();
        let Some(entry) = self.tree.get(path) else {
            return not_found();
        };
        let if_match = request.header("if-match");
        let matches = if_match == Some("*") || if_match == Some(etag(entry).as_str());
        match (self.etags, if_match) {
            (EtagHabit::Needed, None) => {
                return Reply::json(
                    428,
                    &error("Ami.1.0.PreconditionHeaderMissing", "If-Match."),
                );
            }
            (EtagHabit::Needed, Some(_)) if !matches => return precondition_failed(),
            (EtagHabit::NeverMatches, Some(given)) if given != "*" => return precondition_failed(),
            _ => {}
        }
        let is_system = path
            .rsplit('/')
            .nth(1)
            .is_some_and(|part| part == "Systems");
        let has_mode = body.pointer("/Boot/BootSourceOverrideMode").is_some();
        let boot = match (&self.boot, is_system) {
            (BootHabit::Ignored, _) => return Reply::empty(200),
            (BootHabit::OnlyAt(_), true) => {
                let text = "The property Boot is read only.";
                return Reply::json(400, &error("Base.1.8.PropertyNotWritable", text));
            }
            (BootHabit::MovedTo(place), true) => {
                let text = format!(
                    "Support of this Operation for Boot Properties is moved to FutureState \
                     URI({place})"
                );
                return Reply::json(
                    400,
                    &error("Ami.1.0.OperationSupportedInFutureStateURI", &text),
                );
            }
            (BootHabit::OnlyAt(place) | BootHabit::MovedTo(place), false) if place != path => {
                return not_found();
            }
            (BootHabit::RefusesMode, _) if has_mode => {
                let text = "BootSourceOverrideMode is read only.";
                return Reply::json(400, &error("Base.1.8.PropertyNotWritable", text));
            }
            (BootHabit::NeedsMode, _) if !has_mode => {
                json!({ "BootSourceOverrideEnabled": "Disabled" })
            }
            _ => body.get("Boot").cloned().unwrap_or_default(),
        };
        if let Some(entry) = self.tree.get_mut(path) {
            merge(&mut entry.body["Boot"], &boot);
            entry.version += 1;
        }
        Reply::empty(204)
    }
}

fn merge(into: &mut Value, from: &Value) {
    let Some(from) = from.as_object() else { return };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (name, value) in from {
        into[name] = value.clone();
    }
}

fn etag(entry: &Entry) -> String {
    format!("\"v{}\"", entry.version)
}

fn error(id: &str, message: &str) -> Value {
    json!({ "error": {
        "code": "Base.1.8.GeneralError",
        "message": "A general error has occurred. See ExtendedInfo for more information.",
        "@Message.ExtendedInfo": [{ "MessageId": id, "Message": message }],
    }})
}

fn not_found() -> Reply {
    Reply::json(
        404,
        &error("Base.1.8.ResourceMissingAtURI", "There is nothing here."),
    )
}

fn precondition_failed() -> Reply {
    Reply::json(
        412,
        &error("Base.1.8.PreconditionFailed", "The ETag does not match."),
    )
}
