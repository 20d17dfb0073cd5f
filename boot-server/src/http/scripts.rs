//! `GET /boot.ipxe` and `GET /ipxe`: what iPXE does next.

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use boot_proto::cmdline::BootArguments;
use boot_proto::uuid;
use serde::Deserialize;

use super::errors::{Failure, blocking};
use super::identity::{Claim, Identity, Refusal, identify};
use super::{App, Chosen, Peer, choose_image};
use crate::boots::Script;
use crate::clock;
use crate::inventory::{Client, Inventory};
use crate::ipxe::{BootScript, first_script, refusal};

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
pub(super) async fn first(Extension(peer): Extension<Peer>) -> Response {
    script(first_script(&peer.base_url()))
}

/// The script of the machine that asks.
pub(super) async fn machine(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Query(said): Query<Said>,
) -> Result<Response, Failure> {
    let claim = said.claim()?;
    blocking(move || decide(&app, peer, &said, &claim))
        .await
        .map(script)
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

fn decide(app: &App, peer: Peer, said: &Said, claim: &Claim) -> Result<String, Failure> {
    let inventory = app.farm.inventory();
    let identity = match known(app, &inventory, peer, claim) {
        Ok(Known::Proven(identity)) => identity,
        Ok(Known::Claimed(identity)) => return Ok(claimed(app, &inventory, peer, &identity)),
        // Why it was refused another machine's script is not for its screen.
        Err(refused @ (Refusal::Foreign { .. } | Refusal::Impostor { .. })) => {
            return Err(refused.into());
        }
        Err(refused) => {
            tracing::info!(ip = %peer.remote.ip(), mac = ?claim.mac, reason = %refused, "no boot script");
            return Ok(refusal(&refused.to_string()));
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
            return Ok(refusal(&error.to_string()));
        }
    };
    let chosen = choose_image(&app.images, &inventory, &assignment);
    app.boots.script(&Script {
        mac: identity.mac,
        address: identity.address,
        machine: &assignment.machine,
        firmware: said.firmware(),
        image: chosen
            .as_ref()
            .map(|chosen| chosen.image.digest)
            .map_err(ToString::to_string),
    });
    match chosen {
        Ok(chosen) => {
            let failures = app.boots.failures_in_a_row(identity.mac);
            Ok(render(peer, &identity, &assignment, &chosen, failures))
        }
        Err(reason) => {
            tracing::warn!(machine = %assignment.machine, mac = %identity.mac, %reason, "no boot script");
            Ok(refusal(&reason.to_string()))
        }
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
fn claimed(app: &App, inventory: &Inventory, peer: Peer, identity: &Identity) -> String {
    let assignment = &identity.assignment;
    tracing::warn!(ip = %identity.address, mac = %identity.mac, machine = assignment.machine,
        "a boot script on the client's own word: nobody has its address leased or reserved, so \
         that it will get no boot config");
    match choose_image(&app.images, inventory, assignment) {
        Ok(chosen) => render(peer, identity, assignment, &chosen, 0),
        Err(reason) => refusal(&reason.to_string()),
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

fn render(
    peer: Peer,
    identity: &Identity,
    assignment: &crate::inventory::Assignment,
    chosen: &Chosen,
    failures: u32,
) -> String {
    let manifest = &chosen.image.manifest;
    let mut arguments = manifest.kernel_arguments.clone();
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
        ..BootArguments::default()
    };
    arguments.push(own.render());
    BootScript {
        server: &peer.base_url(),
        machine: &assignment.machine,
        mac: identity.mac,
        image: &manifest.name,
        kernel: manifest.kernel.digest,
        initramfs: manifest.initramfs.digest,
        arguments,
    }
    .render()
}

fn script(text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}
