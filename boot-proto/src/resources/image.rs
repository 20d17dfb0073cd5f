//! `Image`: a bootable image under a name of its own.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

/// A bootable image: a name for one in the image store.
///
/// Sizes and digests of kernel, initramfs and squashfs are in the image's own
/// manifest, which `digest` pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "Image",
        plural = "images",
        shortname = "img",
        category = "moonfarm",
        namespaced,
        status = "crate::kubernetes::status::ResourceStatus",
        crates(kube_core = "::kube_core")
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImageSpec {
    /// Digest of the image's manifest, as `boot-server image list` prints it.
    pub digest: Digest,
    /// Where boot-server fetches the image from, if it is not in its store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ImageOrigin>,
    /// Kernel arguments in addition to the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_arguments: Vec<String>,
}

/// Where an image comes from: one of these. What arrives is checked against the
/// image's digest, so that the way there need not be trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImageOrigin {
    /// A plain web server, or an S3 bucket that can be read by HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpOrigin>,
    /// An OCI registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciOrigin>,
}

/// An image's folder on a web server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpOrigin {
    /// URL of the folder that holds `manifest.json`, or of that file itself; the
    /// other files are beside it.
    pub url: String,
    /// File on boot-server's host with `USER:PASSWORD`, or with a bearer token alone,
    /// in its first line. Only for places that not everybody may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<String>,
}

/// An image as an OCI artifact, each file a layer, as ORAS pushes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OciOrigin {
    /// Such as `registry.example.org/farm/debian:13`, or with `@sha256:…`.
    pub reference: String,
    /// Talk to the registry by plain HTTP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// File on boot-server's host with `USER:PASSWORD`, or with a bearer token alone,
    /// in its first line. Only for places that not everybody may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<String>,
}
