//! Matchbox's endpoints. The texts are made in [`crate::matchbox`]; here is who
//! gets them.
//!
//! Matchbox gives anything to whoever asks. Here what may hold a secret, the
//! configs and the metadata, goes to the machine alone where it is one that is
//! known: by the address leased to it, as its boot config does. A request whose
//! parameters name no machine of the inventory is answered as Matchbox would.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use boot_proto::ids::MacAddr;
use boot_proto::resources::MatchboxProfileSpec;
use boot_proto::uuid;

use super::boot_config::only_while_booting;
use super::errors::{Failure, blocking};
use super::identity::{Claim, Identity, Refusal, identify};
use super::{App, Peer};
use crate::boots::{Given, Script};
use crate::inventory::{Inventory, PoolRule};
use crate::manifests::Declared;
use crate::matchbox::{self, ConfigKind, Labels, Match};

/// What Matchbox says where nothing matches.
const NOTHING: &str = "404 page not found\n";
const TEXT: &str = "text/plain; charset=utf-8";

/// Whether all machines are Matchbox's: then the answers are its own to the byte,
/// also those for a machine that nothing matches.
pub(super) fn is_pure(declared: &Declared) -> bool {
    !declared.matchbox_groups.is_empty() && declared.pools.is_empty()
}

/// `GET /`
pub(super) async fn home(State(app): State<App>) -> Response {
    if app.farm.inventory().declared().matchbox_groups.is_empty() {
        return super::errors::not_found(axum::http::Uri::from_static("/"))
            .await
            .into_response();
    }
    answer(TEXT, "matchbox\n".to_owned())
}

/// `GET /boot.ipxe.0`
pub(super) async fn bootstrap() -> Response {
    answer(TEXT, matchbox::BOOTSTRAP.to_owned())
}

/// `GET /ignition`
pub(super) async fn ignition(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    config(app, peer, query, ConfigKind::Ignition).await
}

/// `GET /cloud`
pub(super) async fn cloud(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    config(app, peer, query, ConfigKind::Cloud).await
}

/// `GET /generic`
pub(super) async fn generic(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    config(app, peer, query, ConfigKind::Generic).await
}

/// `GET /metadata`
pub(super) async fn metadata(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let query = query.unwrap_or_default();
    blocking(move || {
        let inventory = app.farm.inventory();
        let labels = matchbox::labels(&query);
        let Some(found) = matchbox::select(inventory.declared(), &labels) else {
            return Ok(nothing(&labels, "no MatchboxGroup matches"));
        };
        let identity = gate(&app, &inventory, peer, &labels)?;
        let values = matchbox::variables(&found.group.spec, &labels, &query);
        tell(
            &app,
            identity.as_ref(),
            "metadata",
            found.group.name(),
            false,
        );
        // The word is Matchbox's.
        Ok(answer("plain/text", matchbox::environment(&values)))
    })
    .await
}

async fn config(
    app: App,
    peer: Peer,
    query: Option<String>,
    kind: ConfigKind,
) -> Result<Response, Failure> {
    let query = query.unwrap_or_default();
    blocking(move || {
        let inventory = app.farm.inventory();
        let labels = matchbox::labels(&query);
        let Some(found) = matchbox::select(inventory.declared(), &labels) else {
            return Ok(nothing(&labels, "no MatchboxGroup matches"));
        };
        let profile = found.profile.map(|profile| &profile.spec);
        let Some(template) = profile.and_then(|profile| kind.of(profile)) else {
            return Ok(nothing(&labels, "the MatchboxProfile has none"));
        };
        let identity = gate(&app, &inventory, peer, &labels)?;
        let values = matchbox::variables(&found.group.spec, &labels, &query);
        let text = match matchbox::config(kind, template, &values) {
            Ok(text) => text,
            Err(error) => {
                let error = crate::images::chain(&error);
                let (group, kind) = (found.group.name(), kind.name());
                tracing::warn!(group, template = template.name, error, "no {kind} config");
                if let Some(identity) = &identity {
                    let message = format!("no {kind} config: {}: {error}", template.name);
                    app.boots.note(identity.mac, "script", &message);
                }
                return Ok(nothing(&labels, "the template renders nothing"));
            }
        };
        tell(&app, identity.as_ref(), kind.name(), &template.name, true);
        let content_type = match kind {
            ConfigKind::Ignition => "application/json",
            _ if text.starts_with("<?xml") => "text/xml; charset=utf-8",
            _ => TEXT,
        };
        Ok(answer(content_type, text))
    })
    .await
}

fn tell(app: &App, identity: Option<&Identity>, what: &str, name: &str, ends: bool) {
    let Some(identity) = identity else { return };
    let message = format!("{what} {name} given; what the machine makes of it it does not report");
    if ends {
        app.boots.handed_over(identity.mac, &message);
    } else {
        app.boots.note(identity.mac, "script", &message);
    }
}

/// The machine that asks, where it is one of the inventory's.
///
/// What the parameters say must fit the address. Where the address tells nothing,
/// they may name no machine that is known.
fn gate(
    app: &App,
    inventory: &Inventory,
    peer: Peer,
    labels: &Labels,
) -> Result<Option<Identity>, Failure> {
    let named = named(inventory, labels);
    match identify(app, inventory, peer, &claim(labels)) {
        Ok(identity) => {
            let own = &identity.assignment.machine;
            if let Some(other) = named.iter().find(|name| *name != own) {
                return Err(refused(peer, other));
            }
            only_while_booting(app, &identity)?;
            Ok(Some(identity))
        }
        Err(refusal @ (Refusal::Foreign { .. } | Refusal::Impostor { .. })) => Err(refusal.into()),
        Err(_) => match named.first() {
            Some(machine) => Err(refused(peer, machine)),
            None => Ok(None),
        },
    }
}

fn refused(peer: Peer, machine: &str) -> Failure {
    tracing::warn!(ip = %peer.remote.ip(), machine,
        "refused: the client asks for the config of a machine that its address does not belong to");
    let error = format!(
        "the parameters name machine {machine}, and this address is not leased to it; its config \
         goes to it alone"
    );
    Failure::new(StatusCode::FORBIDDEN, error)
}

/// What a request says of the client, as far as it can be held against what is
/// known.
pub(super) fn claim(labels: &Labels) -> Claim {
    let mac = label(labels, "mac").and_then(|mac| mac.parse::<MacAddr>().ok());
    Claim {
        mac,
        uuid: label(labels, "uuid").and_then(uuid::usable),
    }
}

/// Machines that the parameters name.
fn named(inventory: &Inventory, labels: &Labels) -> Vec<String> {
    let claim = claim(labels);
    let by_mac = claim.mac.and_then(|mac| inventory.machine_of_mac(mac));
    let by_uuid = claim
        .uuid
        .as_deref()
        .and_then(|uuid| inventory.machine_of_uuid(uuid));
    let by_name = label(labels, "hostname").and_then(|name| inventory.machine_of_hostname(name));
    [by_mac, by_uuid, by_name]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect()
}

fn label<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    let mut found = labels
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.as_str())
}

/// Whether a client boots what Matchbox's group says. A pool that names its
/// machines comes first, then a group with selectors, then the catch-all pool,
/// then the group without.
pub(crate) fn goes_first(found: &Match<'_>, rule: Option<PoolRule>) -> bool {
    match rule {
        None => true,
        Some(PoolRule::CatchAll) => !found.is_default(),
        Some(_) => false,
    }
}

/// The boot script of a profile, and a line for the boot log.
pub(super) fn script_of(
    app: &App,
    identity: Option<&Identity>,
    found: &Match<'_>,
    firmware: Option<&'static str>,
) -> Option<MatchboxProfileSpec> {
    let profile = found.profile?;
    if let Some(identity) = identity {
        app.boots.script(&Script {
            mac: identity.mac,
            address: identity.address,
            machine: &identity.assignment.machine,
            firmware,
            given: Given::Profile(profile.name().to_owned()),
        });
        let spec = &profile.spec;
        let has_config = [&spec.ignition, &spec.cloud, &spec.generic]
            .iter()
            .any(|template| template.is_some());
        if !has_config {
            let message = "the profile has no config to fetch: nothing more will be heard of it";
            app.boots.handed_over(identity.mac, message);
        }
    }
    Some(profile.spec.clone())
}

/// Nothing matches; why is for the log.
pub(super) fn nothing(labels: &Labels, reason: &str) -> Response {
    tracing::info!(
        ?labels,
        reason,
        "nothing for a client of Matchbox's endpoints"
    );
    (StatusCode::NOT_FOUND, headers(TEXT), NOTHING).into_response()
}

/// A text that no cache may keep.
pub(super) fn answer(content_type: &'static str, text: String) -> Response {
    (headers(content_type), text).into_response()
}

fn headers(content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, axum::http::HeaderValue::from_static(value));
    }
    headers
}
