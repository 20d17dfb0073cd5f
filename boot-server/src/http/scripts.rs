//! `GET /boot.ipxe` and `GET /ipxe`, `GET /grub.cfg`: what iPXE or GRUB does next.

use axum::Extension;
use axum::extract::{Query, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use boot_proto::cmdline::BootArguments;
use boot_proto::resources::MatchboxBoot;
use boot_proto::uuid;
use serde::Deserialize;

use super::errors::{Failure, blocking};
use super::identity::{Claim, Identity, Refusal, identify};
use super::{App, Chosen, Peer, choose_image, matchbox as endpoints};
use crate::boots::{Given, Script};
use crate::clock;
use crate::grub::{self, BootEntry};
use crate::inventory::{Assignment, Client, Inventory, PoolRule};
use crate::ipxe::{self, BootScript, first_script};
use crate::matchbox;

/// What iPXE says of the machine. Only `mac` and `uuid` mean something here;
/// the rest is for the log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    mac: Option<String>,
    uuid: Option<String>,
    platform: Option<String>,
}

/// The first script, the same for all.
pub(super) async fn first(State(app): State<App>, Extension(peer): Extension<Peer>) -> Response {
    if endpoints::is_pure(app.farm.inventory().declared()) {
        return endpoints::bootstrap().await;
    }
    script(first_script(&peer.base_url()))
}

/// The script of the machine that asks.
pub(super) async fn machine(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    Query(said): Query<Said>,
) -> Result<Response, Failure> {
    blocking(move || {
        let query = query.unwrap_or_default();
        if let Some(given) = of_matchbox(&app, peer, &said, &query, matchbox::ipxe)? {
            return Ok(given);
        }
        let claim = said.claim()?;
        let decided = decide(&app, peer, Loader::Ipxe, &said, &claim)?;
        Ok(script(match decided {
            Answer::Boot(boot) => ipxe_script(peer, &boot),
            Answer::Refused(reason) => ipxe::refusal(&reason),
        }))
    })
    .await
}

/// The GRUB configuration under Matchbox's path.
pub(super) async fn matchbox_grub(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    Query(said): Query<Said>,
) -> Result<Response, Failure> {
    blocking(move || {
        let query = query.unwrap_or_default();
        if let Some(given) = of_matchbox(&app, peer, &said, &query, matchbox::grub)? {
            return Ok(given);
        }
        let (claim, place) = (said.claim()?, grub::http_place(peer.local));
        Ok(script(grub_config(&app, peer, &place, &said, &claim)?))
    })
    .await
}

/// What a MatchboxGroup gives the client, where one decides for it.
fn of_matchbox(
    app: &App,
    peer: Peer,
    said: &Said,
    query: &str,
    render: impl Fn(&MatchboxBoot) -> String,
) -> Result<Option<Response>, Failure> {
    let inventory = app.farm.inventory();
    let declared = inventory.declared();
    if declared.matchbox_groups.is_empty() {
        return Ok(None);
    }
    let labels = matchbox::labels(query);
    let claim = endpoints::claim(&labels);
    let known = match known(app, &inventory, peer, &claim) {
        Err(refused @ (Refusal::Foreign { .. } | Refusal::Impostor { .. })) => {
            return Err(refused.into());
        }
        other => other.ok(),
    };
    let rule = known.as_ref().and_then(|known| known.pool_rule());
    let found = matchbox::select(declared, &labels);
    let Some(found) = found.filter(|found| endpoints::goes_first(found, rule)) else {
        let is_pure = endpoints::is_pure(declared);
        return Ok(is_pure.then(|| endpoints::nothing(&labels, "no MatchboxGroup matches")));
    };
    let proven = known.and_then(|known| match known {
        Known::Proven(identity) => Some(identity),
        Known::Claimed(_) => None,
    });
    if let Some(identity) = &proven {
        let client = Client {
            mac: identity.mac,
            uuid: claim.uuid,
        };
        if let Err(error) = app.farm.met(&client, clock::wall()) {
            let error = crate::images::chain(&error);
            tracing::warn!(mac = %identity.mac, error, "a machine is not remembered");
        }
    }
    let profile = endpoints::script_of(app, proven.as_ref(), &found, said.firmware());
    Ok(Some(match profile {
        Some(profile) => endpoints::answer(TEXT, render(&profile.boot)),
        None => endpoints::nothing(&labels, "there is no such MatchboxProfile"),
    }))
}

/// The GRUB configuration of the machine that asks.
pub(super) async fn grub(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Query(said): Query<Said>,
) -> Result<Response, Failure> {
    let claim = said.claim()?;
    let place = grub::http_place(peer.local);
    let text = blocking(move || grub_config(&app, peer, &place, &said, &claim)).await?;
    Ok(script(text))
}

/// The GRUB configuration of the machine at the other end of `peer`, which
/// fetches from `place`. What it may not know, it is not told.
pub(crate) fn grub_config_of(app: &App, peer: Peer, place: &str) -> String {
    let said = Said {
        platform: Some("efi".into()),
        ..Said::default()
    };
    match grub_config(app, peer, place, &said, &Claim::default()) {
        Ok(text) => text,
        Err(_) => grub::refusal(place, "boot-server refused it, and its log says why"),
    }
}

/// Which of them asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loader {
    Ipxe,
    Grub,
}

/// What a machine is told.
enum Answer {
    Boot(Box<Boot>),
    Refused(String),
}

/// A machine and what it is to start.
struct Boot {
    identity: Identity,
    chosen: Chosen,
    arguments: Vec<String>,
}

impl Said {
    fn claim(&self) -> Result<Claim, Failure> {
        let wrong = |error| Failure::new(StatusCode::BAD_REQUEST, format!("mac: {error}"));
        let mac = self.mac.as_deref().map(str::parse).transpose();
        let mac = mac.map_err(|error: boot_proto::ids::InvalidId| wrong(error.to_string()))?;
        Ok(Claim {
            mac,
            uuid: self.uuid.as_deref().and_then(uuid::usable),
        })
    }

    fn firmware(&self) -> Option<&'static str> {
        match self.platform.as_deref() {
            Some("pcbios") => Some("bios"),
            Some("efi") => Some("uefi"),
            _ => None,
        }
    }
}

fn decide(
    app: &App,
    peer: Peer,
    loader: Loader,
    said: &Said,
    claim: &Claim,
) -> Result<Answer, Failure> {
    let inventory = app.farm.inventory();
    let identity = match known(app, &inventory, peer, claim) {
        Ok(Known::Proven(identity)) => identity,
        Ok(Known::Claimed(identity)) => {
            return Ok(claimed(app, &inventory, loader, identity));
        }
        // Why it was refused another machine's script is not for its screen.
        Err(refused @ (Refusal::Foreign { .. } | Refusal::Impostor { .. })) => {
            return Err(refused.into());
        }
        Err(refused) => {
            tracing::info!(ip = %peer.remote.ip(), mac = ?claim.mac, reason = %refused, "no boot script");
            return Ok(Answer::Refused(refused.to_string()));
        }
    };
    let client = Client {
        mac: identity.mac,
        uuid: claim.uuid.clone(),
    };
    let assignment = match app.farm.met(&client, clock::wall()) {
        Ok(assignment) => assignment,
        Err(error) => {
            tracing::warn!(mac = %identity.mac, error = %crate::images::chain(&error), "no boot script");
            return Ok(Answer::Refused(error.to_string()));
        }
    };
    let identity = Identity {
        assignment,
        ..identity
    };
    let chosen = chosen(app, &inventory, loader, &identity.assignment);
    app.boots.script(&Script {
        mac: identity.mac,
        address: identity.address,
        machine: &identity.assignment.machine,
        firmware: said.firmware(),
        given: match &chosen {
            Ok(chosen) => Given::Image(chosen.image.digest),
            Err(reason) => Given::Nothing(reason.clone()),
        },
    });
    if let Err(reason) = &chosen {
        tracing::warn!(machine = %identity.assignment.machine, mac = %identity.mac, %reason, "no boot script");
    }
    let failures = app.boots.failures_in_a_row(identity.mac);
    Ok(answer(identity, chosen, failures, app.tls_port))
}

/// The image, or why there is none for a machine that asks through `loader`.
fn chosen(
    app: &App,
    inventory: &Inventory,
    loader: Loader,
    assignment: &Assignment,
) -> Result<Chosen, String> {
    // iPXE starts what it likes; only what shim has checked goes on checking.
    if assignment.loading.secure_boot && loader == Loader::Ipxe {
        return Err(
            "its pool asks for Secure Boot: firmware has to load shim from here, and not iPXE"
                .into(),
        );
    }
    choose_image(&app.images, inventory, assignment).map_err(|reason| reason.to_string())
}

fn answer(
    identity: Identity,
    chosen: Result<Chosen, String>,
    failures: u32,
    tls_port: Option<u16>,
) -> Answer {
    match chosen {
        Ok(chosen) => Answer::Boot(Box::new(Boot {
            arguments: arguments(&identity.assignment, &chosen, failures, tls_port),
            identity,
            chosen,
        })),
        Err(reason) => Answer::Refused(reason),
    }
}

/// How a client is known.
enum Known {
    /// Its address tells.
    Proven(Identity),
    /// It says so itself.
    Claimed(Identity),
}

/// The script of a machine that only says who it is. Nothing is remembered of
/// that: anybody could fill the store, or write into another machine's boot.
fn claimed(app: &App, inventory: &Inventory, loader: Loader, identity: Identity) -> Answer {
    tracing::warn!(ip = %identity.address, mac = %identity.mac, machine = identity.assignment.machine,
        "a boot script on the client's own word: nobody has its address leased or reserved, so \
         that it will get no boot config");
    let chosen = chosen(app, inventory, loader, &identity.assignment);
    answer(identity, chosen, 0, app.tls_port)
}

impl Known {
    const fn pool_rule(&self) -> Option<PoolRule> {
        let (Self::Proven(identity) | Self::Claimed(identity)) = self;
        identity.assignment.pool_rule
    }
}

/// A script holds no secret: where nobody's lease tells who it is, the client's
/// own word does.
fn known(app: &App, inventory: &Inventory, peer: Peer, claim: &Claim) -> Result<Known, Refusal> {
    match identify(app, inventory, peer, claim) {
        Err(Refusal::NoLease(address)) => {
            let mac = claim.mac.ok_or(Refusal::NoLease(address))?;
            let client = Client {
                mac,
                uuid: claim.uuid.clone(),
            };
            Ok(Known::Claimed(Identity {
                assignment: inventory.assign(&client)?,
                mac,
                address,
            }))
        }
        other => other.map(Known::Proven),
    }
}

/// Kernel arguments: the image's, the Image resource's, the profiles'.
fn arguments(
    assignment: &Assignment,
    chosen: &Chosen,
    failures: u32,
    tls_port: Option<u16>,
) -> Vec<String> {
    let mut arguments = chosen.image.manifest.kernel_arguments.clone();
    arguments.extend(chosen.arguments.iter().cloned());
    arguments.extend(assignment.profile.kernel_arguments.iter().cloned());
    // The kernel, modprobe and the initramfs all read a module's options there.
    for (module, options) in &assignment.profile.module_options {
        let options = options.split_ascii_whitespace();
        arguments.extend(options.map(|option| format!("{module}.{option}")));
    }
    let own = BootArguments {
        network: assignment.profile.network.clone(),
        recovery: assignment.profile.recovery.clone(),
        failures,
        tls_port,
        ..BootArguments::default()
    };
    arguments.push(own.render());
    arguments
}

fn ipxe_script(peer: Peer, boot: &Boot) -> String {
    let manifest = &boot.chosen.image.manifest;
    BootScript {
        server: &peer.base_url(),
        machine: &boot.identity.assignment.machine,
        mac: boot.identity.mac,
        image: &manifest.name,
        kernel: manifest.kernel.digest,
        initramfs: manifest.initramfs.digest,
        arguments: boot.arguments.clone(),
    }
    .render()
}

fn grub_config(
    app: &App,
    peer: Peer,
    place: &str,
    said: &Said,
    claim: &Claim,
) -> Result<String, Failure> {
    let boot = match decide(app, peer, Loader::Grub, said, claim)? {
        Answer::Boot(boot) => boot,
        Answer::Refused(reason) => return Ok(grub::refusal(place, &reason)),
    };
    let manifest = &boot.chosen.image.manifest;
    let entry = BootEntry {
        place,
        url: &peer.base_url(),
        machine: &boot.identity.assignment.machine,
        mac: boot.identity.mac,
        image: &manifest.name,
        kernel: manifest.kernel.digest,
        initramfs: manifest.initramfs.digest,
        arguments: boot.arguments,
    };
    Ok(entry.render())
}

const TEXT: &str = "text/plain; charset=utf-8";

fn script(text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, TEXT),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}
