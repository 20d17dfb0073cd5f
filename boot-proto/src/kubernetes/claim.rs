//! `AddressClaim`: who has an address until when.
//!
//! The object is named by the address, and a name is given once: where two
//! boot-servers want to give one address at the same moment, the API server
//! creates one object and refuses the other.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::status::Timestamp;
use crate::ids::MacAddr;

/// Kind of the object.
pub const KIND: &str = "AddressClaim";
/// The word for it in the API's paths.
pub const PLURAL: &str = "addressclaims";

/// An address and the client it was given to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "AddressClaim",
        plural = "addressclaims",
        shortname = "ac",
        category = "moonfarm",
        namespaced,
        crates(kube_core = "::kube_core")
    )
)]
pub struct AddressClaimSpec {
    /// The address.
    pub address: Ipv4Addr,
    /// MAC it was given to.
    pub mac: MacAddr,
    /// Machine it belongs to, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Name of the Subnet.
    pub subnet: String,
    /// What kind of claim it is.
    pub kind: ClaimKind,
    /// Until when the address is given to nobody else. No lease ends later, so a
    /// lease that is renewed needs no write as long as it ends before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The boot-server that wrote it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// What kind of claim to an address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum ClaimKind {
    /// The machine's own address.
    Reserved,
    /// Taken from a range.
    Dynamic,
    /// Found in use by somebody else.
    Declined,
}

/// The name of the object that claims `address`: `ipv4-10-0-0-5`.
#[must_use]
pub fn name(address: Ipv4Addr) -> String {
    format!("ipv4-{}", address.to_string().replace('.', "-"))
}

/// The address in such a name.
#[must_use]
pub fn address(name: &str) -> Option<Ipv4Addr> {
    name.strip_prefix("ipv4-")?.replace('-', ".").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_addresses() {
        let ten = Ipv4Addr::new(10, 0, 0, 5);
        assert_eq!(name(ten), "ipv4-10-0-0-5");
        assert_eq!(address("ipv4-10-0-0-5"), Some(ten));
        for text in ["ipv4-10-0-0", "10-0-0-5", "ipv4-10-0-0-5-6", "ipv4-a-0-0-5"] {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
