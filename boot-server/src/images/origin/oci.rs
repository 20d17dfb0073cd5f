//! References of OCI artifacts, what their manifests say, and the tokens that
//! registries want (OCI distribution specification 1.1). Pure.

use std::collections::HashMap;

use boot_proto::ids::Digest;
use serde::Deserialize;

/// Media types of manifests that are understood.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Why a text is no reference.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no reference of an artifact, such as registry.example.org/farm/debian:13")]
pub struct ReferenceError(String);

/// An artifact of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    base: String,
    repository: String,
    /// Tag or digest.
    version: String,
}

impl Reference {
    pub fn parse(text: &str, plain_http: bool) -> Result<Self, ReferenceError> {
        let wrong = || ReferenceError(text.chars().take(200).collect());
        let (host, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (repository, version) = match rest.split_once('@') {
            // A tag before a digest says nothing.
            Some((name, digest)) => (name.split(':').next().unwrap_or(name), digest),
            None => rest.split_once(':').unwrap_or((rest, "latest")),
        };
        let is_host = !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
            // A first word without a dot or port would be a name on Docker Hub.
            && (host.contains(['.', ':']) || host == "localhost");
        let is_part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
        };
        let is_tag = |tag: &str| {
            (1..=128).contains(&tag.len())
                && tag
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        let is_version = match text.contains('@') {
            true => version.starts_with("sha256:") && version.parse::<Digest>().is_ok(),
            false => is_tag(version),
        };
        if !(is_host && repository.split('/').all(is_part) && is_version) {
            return Err(wrong());
        }
        let scheme = if plain_http { "http" } else { "https" };
        Ok(Self {
            base: format!("{scheme}://{host}/v2"),
            repository: repository.to_owned(),
            version: version.to_owned(),
        })
    }

    /// Whether the registry is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        self.base.starts_with("http:")
    }

    /// Where the artifact's manifest is.
    pub fn manifest(&self) -> String {
        format!(
            "{}/{}/manifests/{}",
            self.base, self.repository, self.version
        )
    }

    /// The digest that the manifest must have, where the reference says.
    pub fn pinned(&self) -> Option<Digest> {
        self.version.parse().ok()
    }

    /// Where a blob is.
    pub fn blob(&self, digest: &Digest) -> String {
        format!(
            "{}/{}/blobs/sha256:{}",
            self.base,
            self.repository,
            digest.hex()
        )
    }
}

/// An artifact's manifest, as far as it matters.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    /// Present in an index of manifests.
    manifests: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
struct Layer {
    digest: String,
    annotations: Option<HashMap<String, String>>,
}

/// The annotation that ORAS gives each file its name with (OCI image-spec,
/// annotations.md).
const TITLE: &str = "org.opencontainers.image.title";

impl Manifest {
    /// Whether the image's own manifest is one of the layers; otherwise why not.
    pub fn check(&self, digest: &Digest) -> Result<(), String> {
        if self.manifests.is_some() && self.layers.is_empty() {
            return Err("it is an index of several artifacts; name one of them".into());
        }
        let wanted = format!("sha256:{}", digest.hex());
        if self.layers.iter().any(|layer| layer.digest == wanted) {
            return Ok(());
        }
        let count = self.layers.len();
        Err(format!(
            "none of its {count} layers is manifest.json with digest {wanted}; push the image's \
             folder again, or correct the Image's digest"
        ))
    }
}

impl Manifest {
    /// The layer that is the file of this name.
    pub fn file(&self, name: &str) -> Option<Digest> {
        let is_it = |layer: &&Layer| {
            let title = layer.annotations.as_ref().and_then(|all| all.get(TITLE));
            title.is_some_and(|own| own == name)
        };
        self.layers.iter().find(is_it)?.digest.parse().ok()
    }
}

/// Where a registry gives out tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// URL.
    pub realm: String,
    /// Query parameters.
    pub query: Vec<(String, String)>,
}

/// Reads `WWW-Authenticate: Bearer realm="…",service="…",scope="…"`.
pub(super) fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, mut rest) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut query) = (None, Vec::new());
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"')?;
        match name.trim_matches([' ', ',']) {
            "realm" => realm = Some(value.to_owned()),
            name @ ("service" | "scope") => query.push((name.to_owned(), value.to_owned())),
            _ => {}
        }
        rest = after;
    }
    Some(Challenge {
        realm: realm?,
        query,
    })
}

/// What a token server answers; either name is in use.
#[derive(Debug, Deserialize)]
pub(super) struct Token {
    pub token: Option<String>,
    pub access_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let hex = "a".repeat(64);
        let pinned = format!("localhost:5000/a/b:tag@sha256:{hex}");
        for (text, manifest) in [
            (
                "registry.example.org/farm/debian:13",
                Some("https://registry.example.org/v2/farm/debian/manifests/13".to_owned()),
            ),
            (
                "registry.example.org:5000/debian",
                Some("https://registry.example.org:5000/v2/debian/manifests/latest".to_owned()),
            ),
            (
                &*pinned,
                Some(format!(
                    "https://localhost:5000/v2/a/b/manifests/sha256:{hex}"
                )),
            ),
            ("debian:13", None),
            ("library/debian:13", None),
            ("registry.example.org/", None),
            ("registry.example.org/Farm", None),
            ("registry.example.org/a/../b", None),
            ("registry.example.org/a:b c", None),
            ("registry.example.org/a@sha256:12", None),
            ("user@registry.example.org/a", None),
            ("", None),
        ] {
            let parsed = Reference::parse(text, false);
            assert_eq!(parsed.ok().map(|own| own.manifest()), manifest, "{text:?}");
        }
    }

    #[test]
    fn challenges() {
        let header = "Bearer realm=\"https://auth.example.org/token\",service=\"registry\",\
                      scope=\"repository:farm/debian:pull,push\"";
        let challenge = challenge(header).unwrap();
        assert_eq!(challenge.realm, "https://auth.example.org/token");
        assert_eq!(
            challenge.query,
            [
                ("service".to_owned(), "registry".to_owned()),
                (
                    "scope".to_owned(),
                    "repository:farm/debian:pull,push".to_owned()
                )
            ]
        );
        for none in ["", "Basic realm=\"x\"", "Bearer", "Bearer realm=\"x"] {
            assert_eq!(super::challenge(none), None, "{none:?}");
        }
    }
}
