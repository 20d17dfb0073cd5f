//! Writing one claim.

use std::net::Ipv4Addr;

use boot_proto::kubernetes::claim::{self, AddressClaimSpec};
use boot_proto::kubernetes::status::Timestamp;
use boot_proto::resources::API_VERSION;
use kube::api::{Api, DynamicObject, PostParams};
use kube_access::AccessError;
use serde_json::json;

use super::plan::{Known, Plan, claim_of, plan};
use super::{Claims, read};
use crate::clock;
use crate::dhcp::leases::Lease;
use crate::kubernetes::MANAGER;

/// Tries after somebody was faster.
const TRIES: usize = 3;
/// HTTP 409: the object is there already, or is not what it was.
const CONFLICT: u16 = 409;
/// HTTP 404.
const GONE: u16 = 404;

impl Claims {
    /// Brings the claim of an address in line with a lease, or ends it. Returns
    /// the lease that holds instead, where there is one.
    pub(super) async fn settle(
        &self,
        address: Ipv4Addr,
        lease: Option<&Lease>,
    ) -> Result<Option<Lease>, AccessError> {
        let Some(lease) = lease else {
            return self.release(address).await.map(|()| None);
        };
        let objects = self.api.objects(claim::KIND, claim::PLURAL);
        for _ in 0..TRIES {
            let (claim, replaces) = match self.wanted(lease) {
                Plan::Nothing => return Ok(None),
                Plan::Lost(held) => return Ok(Some(held)),
                Plan::Later => {
                    let known = self.lock().known.get(&address).cloned();
                    let claim = claim_of(lease, clock::wall(), &self.api.server);
                    (claim, known.map(|known| known.version))
                }
                Plan::Write { claim, replaces } => (claim, replaces),
            };
            match self.write(&objects, &claim, replaces).await {
                Ok(known) => {
                    self.lock().known.insert(address, known);
                    self.changed(address);
                    return Ok(None);
                }
                Err(error) if matches!(error.status(), Some(CONFLICT | GONE)) => {
                    self.look(&objects, address).await?;
                }
                Err(error) => return Err(error),
            }
        }
        // Others are at it all the time: theirs it is.
        let known = self.lock().known.get(&address).cloned();
        Ok(known.map(|known| super::lease_of(&known.claim, clock::wall())))
    }

    fn wanted(&self, lease: &Lease) -> Plan {
        let state = self.lock();
        let known = state.known.get(&lease.address);
        plan(known, lease, clock::wall(), &self.api.server)
    }

    /// Ends a claim that was given back; the object stays as the memory of who
    /// had the address.
    async fn release(&self, address: Ipv4Addr) -> Result<(), AccessError> {
        let Some(known) = self.lock().known.get(&address).cloned() else {
            return Ok(());
        };
        let claim = AddressClaimSpec {
            expires: Some(Timestamp(clock::wall())),
            ..known.claim
        };
        let objects = self.api.objects(claim::KIND, claim::PLURAL);
        match self.write(&objects, &claim, Some(known.version)).await {
            Ok(known) => {
                self.lock().known.insert(address, known);
                Ok(())
            }
            // Somebody has it again, or it is gone.
            Err(error) if matches!(error.status(), Some(CONFLICT | GONE)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn write(
        &self,
        objects: &Api<DynamicObject>,
        claim: &AddressClaimSpec,
        replaces: Option<String>,
    ) -> Result<Known, AccessError> {
        let name = claim::name(claim.address);
        let mut object = json!({
            "apiVersion": API_VERSION,
            "kind": claim::KIND,
            "metadata": {"name": name},
            "spec": claim,
        });
        if let Some(version) = &replaces {
            object["metadata"]["resourceVersion"] = json!(version);
        }
        let doing = || format!("claiming {}", claim.address);
        let object: DynamicObject =
            serde_json::from_value(object).map_err(|source| AccessError::Call {
                doing: doing(),
                source: Box::new(kube::Error::SerdeError(source)),
            })?;
        let parameters = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = if replaces.is_some() {
            let call = objects.replace(&name, &parameters, &object);
            self.api.call(doing, call).await?
        } else {
            let call = objects.create(&parameters, &object);
            self.api.call(doing, call).await?
        };
        Ok(Known {
            claim: claim.clone(),
            version: written.metadata.resource_version.unwrap_or_default(),
        })
    }

    /// Reads a claim that is not what it was thought to be.
    async fn look(
        &self,
        objects: &Api<DynamicObject>,
        address: Ipv4Addr,
    ) -> Result<(), AccessError> {
        let name = claim::name(address);
        let call = objects.get_opt(&name);
        let found = self
            .api
            .call(|| format!("reading the claim of {address}"), call)
            .await?;
        match found.as_ref().and_then(read) {
            Some(known) => {
                let is_foreign = known.claim.server.as_deref() != Some(&*self.api.server);
                tracing::debug!(ip = %address, is_foreign, "another was faster");
                self.lock().known.insert(address, known);
            }
            None => drop(self.lock().known.remove(&address)),
        }
        Ok(())
    }
}
