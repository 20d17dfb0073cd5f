//! `POST /v1/report`: how far a node is.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use boot_proto::report::{BootReport, Phase, Progress, VERSION};

use super::errors::{Failure, blocking};
use super::identity::{Claim, Identity, identify};
use super::{App, Peer};
use crate::clock;
use crate::images::chain;
use crate::tokens::Joined;

/// Largest report.
const LIMIT: usize = 256 * 1024;
/// How long a report may take to come in.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Takes in a report from the machine it is about.
pub(super) async fn post(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<StatusCode, Failure> {
    let bytes = read(body).await?;
    let report: BootReport = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            format!("this is no boot report: {error}"),
        )
    })?;
    if report.version != VERSION {
        let error = format!("report version {}, known is {VERSION}", report.version);
        return Err(Failure::new(StatusCode::BAD_REQUEST, error));
    }
    let taken = app.clone();
    let joined = blocking(move || take_in(&taken, peer, &report)).await?;
    if let Some(joined) = joined {
        app.tokens.follow(joined, Arc::clone(&app.boots));
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn read(body: Body) -> Result<bytes::Bytes, Failure> {
    match tokio::time::timeout(TIMEOUT, to_bytes(body, LIMIT)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a report has {LIMIT} bytes at most, and must arrive whole"),
        )),
        Err(_) => Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            "the report took too long",
        )),
    }
}

/// Notes the report; says which boot has joined, where it has.
fn take_in(app: &App, peer: Peer, report: &BootReport) -> Result<Option<Joined>, Failure> {
    let inventory = app.farm.inventory();
    let claim = Claim {
        mac: Some(report.mac),
        uuid: None,
    };
    let identity = identify(app, &inventory, peer, &claim)?;
    let machine = &identity.assignment.machine;
    if report.progress == Progress::Failed {
        tracing::warn!(machine, mac = %report.mac, phase = %report.phase, error = report.message,
            "a node reports a failure");
    } else {
        tracing::debug!(machine, mac = %report.mac, phase = %report.phase,
            progress = ?report.progress, percent = report.percent, "report");
    }
    if let Some(facts) = &report.facts
        && let Err(error) = app.farm.learn_facts(machine, facts, clock::wall())
    {
        tracing::warn!(machine, error = %chain(&error), "a machine's facts are not remembered");
    }
    app.boots.report(report, machine, identity.address);
    Ok(finished(app, &identity, report))
}

/// What follows when a node has done its last phase: a plain machine has
/// arrived, one of a cluster is seen through to Ready.
fn finished(app: &App, identity: &Identity, report: &BootReport) -> Option<Joined> {
    if report.progress != Progress::Done {
        return None;
    }
    let boot = app
        .boots
        .latest(report.mac)
        .filter(|boot| boot.outcome != "ready")?;
    let assignment = &identity.assignment;
    match (&assignment.cluster, report.phase) {
        (None, Phase::SwitchRoot) => {
            app.boots
                .ready(boot.id, "runs; its pool names no cluster to join");
            None
        }
        (Some(cluster), Phase::Join) => {
            app.adoption.joined(assignment);
            Some(Joined {
                boot: boot.id,
                mac: report.mac,
                machine: assignment.machine.clone(),
                hostname: assignment.hostname.clone(),
                cluster: cluster.clone(),
                labels: assignment.profile.labels.clone(),
                taints: assignment.profile.taints.clone(),
            })
        }
        _ => None,
    }
}
