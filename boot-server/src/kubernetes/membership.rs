//! How far a machine is with a move, in the status of its object: by a field
//! manager of its own and by the version that was read, so that of several
//! servers that decide, one is heard.

use std::sync::Arc;

use boot_proto::kubernetes::status::Condition;
use boot_proto::resources::{API_VERSION, Kind, Membership};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::api::ApiServer;
use super::events::Events;
use super::mirror::Mirror;
use crate::adoption::Keeper;
use crate::farm::{Change, Farm, moving};
use crate::inventory::LearnedMachine;

/// Field manager of memberships.
const MANAGER: &str = "moonfarm-boot-server-membership";
/// Key in the status of a Machine.
const KEY: &str = "membership";

/// Keeps memberships in the API server.
#[derive(Clone)]
pub struct Memberships {
    pub(super) api: ApiServer,
    pub(super) mirror: Mirror,
    pub(super) events: Events,
    pub(super) farm: Arc<Farm>,
}

impl Memberships {
    /// Writes the membership of a machine that has another name now, where its
    /// object knows none.
    pub async fn carry_over(&self, record: &LearnedMachine) {
        let key = (Kind::Machine, record.name.clone());
        let lacks_it = |status: &Value| status.get(KEY).is_none();
        let is_due = !record.status.membership.is_empty()
            && self
                .mirror
                .seen(&key)
                .is_some_and(|seen| lacks_it(&seen.status));
        if is_due && let Err(error) = self.keep(record, record).await {
            tracing::warn!(
                machine = record.name,
                error,
                "which node it is is not written"
            );
        }
    }

    async fn write(&self, before: &LearnedMachine, after: &LearnedMachine) -> Result<bool, String> {
        let name = &before.name;
        let key = (Kind::Machine, name.clone());
        // An object that is not there yet is made by the outbox.
        let Some(seen) = self.mirror.seen(&key) else {
            return Ok(false);
        };
        if membership(&seen.status).is_some_and(|there| there != before.status.membership) {
            return Ok(false);
        }
        let conditions: Vec<Condition> = moving(&after.status.conditions)
            .map(Condition::from)
            .into_iter()
            .collect();
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": Kind::Machine.name(),
            "metadata": {"name": name, "resourceVersion": seen.version},
            "status": {KEY: after.status.membership, "conditions": conditions},
        });
        let objects = self.api.objects(Kind::Machine.name(), "machines");
        let written = self.api.apply_status(&objects, name, MANAGER, &object);
        match written.await {
            Ok(_) => {}
            // Changed or deleted since; the watch shows it in a moment.
            Err(error) if matches!(error.status(), Some(404 | 409)) => return Ok(false),
            Err(error) => return Err(crate::images::chain(&error)),
        }
        self.farm
            .take_in(vec![Change::Put(Box::new(after.clone()))]);
        self.tell(&key, &seen.uid, before, after).await;
        Ok(true)
    }

    /// One Event for each step of a move.
    async fn tell(
        &self,
        key: &super::declare::Key,
        uid: &str,
        before: &LearnedMachine,
        after: &LearnedMachine,
    ) {
        let was = moving(&before.status.conditions);
        let is = moving(&after.status.conditions);
        if was.map(|was| &was.reason) == is.map(|is| &is.reason) {
            return;
        }
        match is {
            Some(is) if matches!(&*is.reason, "DrainTimedOut" | "ClusterRefuses") => {
                self.events
                    .warn(key, uid, &is.reason, "Move", &is.message)
                    .await;
            }
            Some(is) => {
                self.events
                    .tell(key, uid, &is.reason, "Move", &is.message)
                    .await
            }
            None => {
                self.events
                    .tell(key, uid, "Moved", "Move", "it is in its pool")
                    .await
            }
        }
    }
}

impl Keeper for Memberships {
    fn keep<'a>(
        &'a self,
        before: &'a LearnedMachine,
        after: &'a LearnedMachine,
    ) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(self.write(before, after))
    }
}

/// The membership in the status of an object; `None` where nobody wrote one.
fn membership(status: &Value) -> Option<Membership> {
    let value = status.get(KEY)?;
    Some(serde_json::from_value(value.clone()).unwrap_or_default())
}

/// Where an object says nothing of a membership, what is known here stands.
pub fn keep_known(change: &mut Change, status: Option<&Value>, known: Option<&LearnedMachine>) {
    let (Change::Put(machine), Some(known)) = (change, known) else {
        return;
    };
    if status.is_some_and(|status| status.get(KEY).is_some()) {
        return;
    }
    machine
        .status
        .membership
        .clone_from(&known.status.membership);
    if moving(&machine.status.conditions).is_none() {
        let told = moving(&known.status.conditions).cloned();
        machine.status.conditions.extend(told);
    }
}
