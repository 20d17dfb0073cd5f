//! `POST /v1/join-token`: a token to join the cluster, for the machine that asks.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};

use super::boot_config::{Asked, only_while_booting};
use super::errors::{Failure, blocking};
use super::identity::{Claim, identify};
use super::{App, Peer};
use crate::tokens::{TokenError, TokenRequest};

/// When a machine may ask again after something was wrong at the cluster.
const RETRY: Duration = Duration::from_secs(10);

/// Mints a token.
pub(super) async fn post(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let asking = app.clone();
    let (mac, request) = blocking(move || {
        let inventory = asking.farm.inventory();
        let identity = identify(
            &asking,
            &inventory,
            peer,
            &Claim {
                mac: asked.mac,
                uuid: None,
            },
        )?;
        only_while_booting(&asking, &identity)?;
        let assignment = identity.assignment;
        let Some(cluster) = assignment.cluster else {
            let machine = assignment.machine;
            let error = format!("the pool of machine {machine} names no cluster to join");
            return Err(Failure::new(StatusCode::NOT_FOUND, error));
        };
        let request = TokenRequest {
            machine: assignment.machine,
            hostname: assignment.hostname,
            uuid: assignment.uuid,
            cluster,
        };
        Ok((identity.mac, request))
    })
    .await?;
    let machine = request.machine.clone();
    match app.tokens.mint(request).await {
        Ok(token) => {
            app.boots.note(mac, "join", "join token minted");
            Ok(([(header::CACHE_CONTROL, "no-store")], Json(token)).into_response())
        }
        Err(error) => {
            let text = crate::images::chain(&error);
            tracing::warn!(machine, error = text, "no join token");
            app.boots
                .note(mac, "join", &format!("no join token: {text}"));
            Err(failure(&error, text))
        }
    }
}

fn failure(error: &TokenError, text: String) -> Failure {
    let (status, retry) = match error {
        TokenError::TooOften { retry_after, .. } => (StatusCode::TOO_MANY_REQUESTS, *retry_after),

        TokenError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, RETRY),
        TokenError::NameTaken { .. }
        | TokenError::NoCredentials { .. }
        | TokenError::Kubeconfig { .. }
        | TokenError::Api { .. }
        | TokenError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, RETRY),
    };
    Failure::new(status, text).retry_after(retry)
}
