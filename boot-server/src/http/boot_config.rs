//! `GET /v1/boot-config`: all a machine needs to become a node, for it alone.

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use boot_proto::boot_config::BootConfig;
use boot_proto::ids::MacAddr;
use boot_proto::resources::SshHostKeys;
use serde::Deserialize;

use super::errors::{Failure, blocking};
use super::identity::{Claim, Identity, identify};
use super::{App, Peer, choose_image};
use crate::boot_config::{Facts, make};
use crate::clock;
use crate::inventory::Client;

/// `?mac=`: the NIC that the machine booted from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    pub mac: Option<MacAddr>,
}

/// Sends the boot config to the address leased to the machine.
pub(super) async fn get(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let config = blocking(move || decide(&app, peer, &asked)).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(config)).into_response())
}

fn decide(app: &App, peer: Peer, asked: &Asked) -> Result<BootConfig, Failure> {
    let inventory = app.farm.inventory();
    let identity = identify(
        app,
        &inventory,
        peer,
        &Claim {
            mac: asked.mac,
            uuid: None,
        },
    )?;
    only_while_booting(app, &identity)?;
    let client = Client {
        mac: identity.mac,
        uuid: None,
    };
    let assignment = app
        .farm
        .met(&client, clock::wall())
        .map_err(|error| Failure::internal(&error))?;
    app.adoption.restarted(&assignment);
    let chosen = choose_image(&app.images, &inventory, &assignment)
        .map_err(|reason| Failure::new(StatusCode::NOT_FOUND, reason.to_string()))?;
    let subnet = inventory.subnet_of(identity.address);
    let signed = app
        .images
        .signed(&chosen.image.digest)
        .map_err(|error| Failure::internal(&error))?;
    let facts = Facts {
        server: &peer.base_url(),
        mac: identity.mac,
        address: identity.address,
        is_reserved: inventory.reservation_of(identity.address) == Some(&assignment.machine),
        subnet: subnet.map(|subnet| &subnet.spec),
        image: &chosen.image,
        signed: signed.as_ref(),
    };
    let mut config = make(&assignment, &facts);
    if assignment.profile.ssh_host_keys != Some(SshHostKeys::Image) {
        config.system.ssh_host_keys = app.host_keys.of(&assignment.machine);
    }
    Ok(config)
}

/// Refuses what is meant for the boot once the node is Ready: pods' traffic
/// leaves a node with the node's own address, and so would pass for it.
pub(super) fn only_while_booting(app: &App, identity: &Identity) -> Result<(), Failure> {
    let machine = &identity.assignment.machine;
    let macs = identity.assignment.macs.iter().chain([&identity.mac]);
    let latest = macs
        .filter_map(|mac| app.boots.latest(*mac))
        .max_by_key(|boot| boot.started);
    if latest.is_some_and(|boot| boot.outcome == "ready") {
        tracing::warn!(machine, ip = %identity.address, "refused: the machine has finished booting");
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            format!(
                "machine {machine} has finished booting; this is given to a booting machine only"
            ),
        ));
    }
    Ok(())
}
