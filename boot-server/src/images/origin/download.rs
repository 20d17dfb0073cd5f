//! Fetching one image from its place into the store.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use boot_proto::ids::Digest;
use boot_proto::image::ImageFile;
use reqwest::header::{ACCEPT, RANGE, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::credentials::Credentials;
use super::{OriginError, Place, oci};
use crate::images::{ImageStore, MANIFEST_LIMIT, files_of, parse_manifest, signature};

/// Connections without one new byte before a file is given up.
const IDLE_ATTEMPTS: u32 = 5;
/// Longest token.
const TOKEN_LIMIT: usize = 64 * 1024;

/// Told how far it is: file, bytes so far, bytes in all.
pub(super) type Progress<'a> = &'a mut (dyn FnMut(&str, u64, u64) + Send);

/// Fetches from one place.
pub(super) struct Download<'a> {
    pub client: &'a Client,
    pub store: &'a ImageStore,
    pub place: &'a Place,
    /// First pause between two attempts.
    pub pause: Duration,
    /// The operator's login there.
    pub credentials: Option<Credentials>,
    token: Option<String>,
    /// Whether the registry takes the login itself, without a token for it.
    wants_login: bool,
}

impl<'a> Download<'a> {
    pub fn new(client: &'a Client, store: &'a ImageStore, place: &'a Place) -> Self {
        Self {
            client,
            store,
            place,
            pause: Duration::from_secs(1),
            credentials: None,
            token: None,
            wants_login: false,
        }
    }

    /// Fetches what the store does not have of the image.
    pub async fn image(
        &mut self,
        digest: &Digest,
        progress: Progress<'_>,
    ) -> Result<(), OriginError> {
        let url = self.place.manifest(digest);
        let signature = match self.place {
            Place::Registry(reference) => self.check_artifact(reference, digest).await?,
            Place::Folder(_) => Some(format!("{url}.minisig")),
        };
        let bytes = self.small(&url, None, MANIFEST_LIMIT).await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            let reason = format!("its digest is {found}, and the Image says {digest}");
            return Err(OriginError::Wrong { url, reason });
        }
        let manifest = parse_manifest(Path::new(&url), &bytes)?;
        for (_, file) in files_of(&manifest) {
            self.file(file, progress).await?;
        }
        let signature = match signature {
            Some(url) => self.signature(&url).await?,
            None => None,
        };
        self.store
            .keep_manifest(digest, &bytes, signature.as_deref())?;
        Ok(())
    }

    /// The signature of the manifest, where there is one.
    async fn signature(&mut self, url: &str) -> Result<Option<String>, OriginError> {
        match self.small(url, None, signature::LIMIT).await {
            Ok(bytes) => Ok(signature::parse(&bytes)),
            Err(OriginError::Status { status, .. }) if (400..500).contains(&status) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says early and plainly that a reference is not the Image's; tells where the
    /// signature is, if the artifact has one.
    async fn check_artifact(
        &mut self,
        reference: &oci::Reference,
        digest: &Digest,
    ) -> Result<Option<String>, OriginError> {
        let url = reference.manifest();
        let bytes = self.small(&url, Some(oci::ACCEPT), MANIFEST_LIMIT).await?;
        let wrong = |reason| OriginError::Wrong {
            url: url.clone(),
            reason,
        };
        if reference
            .pinned()
            .is_some_and(|pinned| pinned != Digest::of(&bytes))
        {
            return Err(wrong("its digest is not the one of the reference".into()));
        }
        let manifest: oci::Manifest =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        manifest.check(digest).map_err(wrong)?;
        let signature = manifest.file(signature::FILE);
        Ok(signature.map(|digest| reference.blob(&digest)))
    }

    /// Fetches what is small enough to be kept in memory.
    async fn small(
        &mut self,
        url: &str,
        accept: Option<&str>,
        limit: u64,
    ) -> Result<Vec<u8>, OriginError> {
        let mut response = self.ask(url, accept, 0).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(http(url))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                let reason = format!("it has more than {limit} bytes");
                return Err(OriginError::Wrong {
                    url: url.to_owned(),
                    reason,
                });
            }
        }
        Ok(bytes)
    }

    /// Asks for a file from `at` on, with a token where one is wanted.
    async fn ask(
        &mut self,
        url: &str,
        accept: Option<&str>,
        at: u64,
    ) -> Result<Response, OriginError> {
        for is_second in [false, true] {
            let mut request = self.client.get(url);
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            if at > 0 {
                request = request.header(RANGE, format!("bytes={at}-"));
            }
            let response = self.signed(request).send().await.map_err(http(url))?;
            let status = response.status();
            if status.is_success() || (status == StatusCode::RANGE_NOT_SATISFIABLE && at > 0) {
                return Ok(response);
            }
            let may_ask_again = status == StatusCode::UNAUTHORIZED && !is_second;
            if !(may_ask_again && self.answer_challenge(&response).await?) {
                return Err(refused(url, status));
            }
        }
        Err(refused(url, StatusCode::UNAUTHORIZED))
    }

    /// The request with what the place wants to see. A client that is sent on to
    /// another host leaves it out there.
    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        let is_registry = matches!(self.place, Place::Registry(_));
        match (&self.token, &self.credentials) {
            (Some(token), _) if is_registry => request.bearer_auth(token),
            (_, Some(login @ Credentials::Token(_))) => login.sign(request),
            (_, Some(login)) if !is_registry || self.wants_login => login.sign(request),
            _ => request,
        }
    }

    /// Gets ready what a place wants that has refused a request; whether it is
    /// worth asking again.
    async fn answer_challenge(&mut self, response: &Response) -> Result<bool, OriginError> {
        let mut schemes = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let takes_login = schemes.any(|value| {
            let scheme = value.as_bytes().get(..5).unwrap_or_default();
            scheme.eq_ignore_ascii_case(b"basic")
        });
        let has_login = matches!(self.credentials, Some(Credentials::Basic { .. }));
        if takes_login && has_login && !self.wants_login {
            self.wants_login = true;
            return Ok(matches!(self.place, Place::Registry(_)));
        }
        self.fetch_token(response).await
    }

    /// Gets a registry's token, everybody's or that of the login; whether there
    /// is one.
    async fn fetch_token(&mut self, response: &Response) -> Result<bool, OriginError> {
        let mut headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenge = headers.find_map(|value| value.to_str().ok().and_then(oci::challenge));
        let (Some(challenge), Place::Registry(_)) = (challenge, self.place) else {
            return Ok(false);
        };
        let Ok(asked) = reqwest::Url::parse_with_params(&challenge.realm, &challenge.query) else {
            return Ok(false);
        };
        let url = &challenge.realm;
        // A registry that is asked by TLS does not get the login sent in the clear.
        let is_kept = asked.scheme() == "https" || self.place.is_plain();
        let mut request = self.client.get(asked);
        if let Some(login) = self.credentials.as_ref().filter(|_| is_kept) {
            request = login.sign(request);
        }
        let mut answer = request.send().await.map_err(http(url))?;
        if !answer.status().is_success() {
            return Err(refused(url, answer.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(http(url))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > TOKEN_LIMIT {
                return Ok(false);
            }
        }
        let token: Option<oci::Token> = serde_json::from_slice(&bytes).ok();
        self.token = token.and_then(|token| token.token.or(token.access_token));
        Ok(self.token.is_some())
    }

    /// Fetches one file, unless the store has it.
    async fn file(&mut self, file: &ImageFile, progress: Progress<'_>) -> Result<(), OriginError> {
        if self.store.has_blob(file) {
            return Ok(());
        }
        let url = self.place.file(&file.file, &file.digest)?;
        let path = self.store.part_path(&file.digest);
        let mut part = Part::open(&path, file.size).map_err(OriginError::Store)?;
        let mut idle = 0;
        while part.received < file.size {
            let before = part.received;
            progress(&file.file, before, file.size);
            let failed = match self.attempt(&url, file, &mut part, progress).await {
                Ok(()) => None,
                // Another try changes nothing about these.
                Err(error @ (OriginError::Store(_) | OriginError::Wrong { .. })) => {
                    return Err(error);
                }
                Err(error) => Some(error),
            };
            idle = if part.received > before { 0 } else { idle + 1 };
            if idle >= IDLE_ATTEMPTS {
                let (received, size) = (part.received, file.size);
                return Err(failed.unwrap_or(OriginError::Incomplete {
                    url,
                    received,
                    size,
                }));
            }
            if let Some(error) = &failed {
                tracing::warn!(
                    error = crate::images::chain(error),
                    received = part.received,
                    size = file.size,
                    "an image's file goes on in a moment"
                );
                tokio::time::sleep(self.pause * (1 << idle)).await;
            }
        }
        progress(&file.file, file.size, file.size);
        let found = part.finish().map_err(OriginError::Store)?;
        if found != file.digest {
            // What is there is worth nothing; the next try begins anew.
            let _ = std::fs::remove_file(&path);
            let reason = format!("its digest is {found}, not {}", file.digest);
            return Err(OriginError::Wrong { url, reason });
        }
        self.store.keep_part(&path, &file.digest)?;
        Ok(())
    }

    async fn attempt(
        &mut self,
        url: &str,
        file: &ImageFile,
        part: &mut Part,
        progress: Progress<'_>,
    ) -> Result<(), OriginError> {
        let mut response = self.ask(url, None, part.received).await?;
        // 200 after a Range request is a server without ranges.
        let mut skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => 0,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(wrong_size(url, part.received, file.size));
            }
            _ => part.received,
        };
        while let Some(chunk) = response.chunk().await.map_err(http(url))? {
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= known as u64;
            let news = chunk.get(known..).unwrap_or_default();
            let after = part.received.saturating_add(news.len() as u64);
            if after > file.size {
                return Err(wrong_size(url, after, file.size));
            }
            part.write(news).map_err(OriginError::Store)?;
            progress(&file.file, part.received, file.size);
        }
        Ok(())
    }
}

fn wrong_size(url: &str, found: u64, size: u64) -> OriginError {
    OriginError::Wrong {
        url: url.to_owned(),
        reason: format!("the image's manifest says {size} bytes, and there are {found} or more"),
    }
}

fn http(url: &str) -> impl FnOnce(reqwest::Error) -> OriginError {
    let url = url.to_owned();
    move |source| OriginError::Http {
        url,
        source: source.without_url(),
    }
}

fn refused(url: &str, status: StatusCode) -> OriginError {
    OriginError::Status {
        url: url.to_owned(),
        status: status.as_u16(),
        advice: match status {
            StatusCode::NOT_FOUND => "is it there under this name?",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "it wants a login: name its file in the source (credentialsFile), or correct what is in it"
            }
            _ => "it is tried again later",
        },
    }
}

/// The beginning of a file that is on its way. It stays for the next try.
struct Part {
    file: File,
    hash: Sha256,
    received: u64,
}

impl Part {
    fn open(path: &Path, size: u64) -> std::io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .append(true)
            .open(path)?;
        if file.metadata()?.len() > size {
            file.set_len(0)?;
        }
        let (mut hash, mut received) = (Sha256::new(), 0_u64);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hash.update(buffer.get(..count).unwrap_or_default());
            received = received.saturating_add(count as u64);
        }
        Ok(Self {
            file,
            hash,
            received,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.received = self.received.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn finish(self) -> std::io::Result<Digest> {
        self.file.sync_all()?;
        Ok(Digest::new(self.hash.finalize().into()))
    }
}
