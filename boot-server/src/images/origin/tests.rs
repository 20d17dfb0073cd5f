//! Images out of a web server and a registry that follows the distribution
//! specification, over the loopback.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use boot_proto::resources::{HttpOrigin, OciOrigin};

use super::*;
use crate::images::ImageStore;
use crate::images::tests::write_image;

/// A server with files, which breaks connections off as often as it is told to.
struct Files {
    files: HashMap<String, Vec<u8>>,
    breaks: AtomicU32,
    ranges: Mutex<Vec<String>>,
}

impl Files {
    fn answer(&self, name: &str, headers: &HeaderMap) -> Response {
        let Some(content) = self.files.get(name) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let range = headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok());
        let from = range.map_or(0, |range| {
            self.ranges.lock().unwrap().push(range.to_owned());
            let digits = range.trim_start_matches("bytes=").trim_end_matches('-');
            digits.parse::<usize>().unwrap()
        });
        let rest = content[from..].to_vec();
        let status = match range {
            Some(_) => StatusCode::PARTIAL_CONTENT,
            None => StatusCode::OK,
        };
        let is_broken = rest.len() > 1000
            && self
                .breaks
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        let body = if is_broken {
            let half = rest[..rest.len() / 2].to_vec();
            let pieces = [Ok(half), Err(std::io::Error::other("broken off"))];
            Body::from_stream(futures_util::stream::iter(pieces))
        } else {
            Body::from(rest)
        };
        (status, body).into_response()
    }
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let face = crate::http::Face::new(router, crate::http::Limits::default());
    tokio::spawn(crate::http::serve(
        listener,
        face,
        tokio_util::sync::CancellationToken::new(),
    ));
    address.to_string()
}

async fn web_server(files: Arc<Files>) -> String {
    let answer = |State(files): State<Arc<Files>>, Path(name): Path<String>, headers: HeaderMap| async move {
        files.answer(&name, &headers)
    };
    serve(
        Router::new()
            .route("/farm/{file}", get(answer))
            .with_state(files),
    )
    .await
}

/// Registry: nothing without a token; blobs are elsewhere, as with a cloud's.
async fn registry(files: Arc<Files>, artifact: String) -> String {
    let token = |Query(query): Query<HashMap<String, String>>| async move {
        assert_eq!(query["scope"], "repository:farm/debian:pull");
        assert_eq!(query["service"], "registry");
        "{\"token\": \"for-everybody\"}"
    };
    let manifest = {
        let files = Arc::clone(&files);
        move |Path(version): Path<String>, headers: HeaderMap| async move {
            let host = headers[header::HOST].to_str().unwrap().to_owned();
            if headers
                .get(header::AUTHORIZATION)
                .is_none_or(|own| own != "Bearer for-everybody")
            {
                let challenge = format!(
                    "Bearer realm=\"http://{host}/token\",service=\"registry\",\
                     scope=\"repository:farm/debian:pull\""
                );
                return (
                    StatusCode::UNAUTHORIZED,
                    [(header::WWW_AUTHENTICATE, challenge)],
                )
                    .into_response();
            }
            let accept = headers[header::ACCEPT].to_str().unwrap();
            assert!(accept.contains("application/vnd.oci.image.manifest.v1+json"));
            let _ = &files;
            if version == "13" {
                artifact.clone().into_response()
            } else {
                StatusCode::NOT_FOUND.into_response()
            }
        }
    };
    let blob = |Path(digest): Path<String>, headers: HeaderMap| async move {
        if headers.get(header::AUTHORIZATION).is_none() {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        Redirect::temporary(&format!("/store/{digest}")).into_response()
    };
    let stored = |State(files): State<Arc<Files>>,
                  Path(digest): Path<String>,
                  headers: HeaderMap| async move { files.answer(&digest, &headers) };
    let router = Router::new()
        .route("/token", get(token))
        .route("/v2/farm/debian/manifests/{version}", get(manifest))
        .route("/v2/farm/debian/blobs/{digest}", get(blob))
        .route("/store/{digest}", get(stored))
        .with_state(files);
    serve(router).await
}

struct Bench {
    dir: tempfile::TempDir,
    store: ImageStore,
    digest: Digest,
    root: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let root: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 249) as u8).collect();
        let digest = write_image(&dir.path().join("image"), "debian", [b"k", b"i", &root]);
        let store = ImageStore::open(&dir.path().join("images")).unwrap();
        Self {
            dir,
            store,
            digest,
            root,
        }
    }

    /// The image's files by name, and by digest as a registry has them.
    fn files(&self, breaks: u32) -> Arc<Files> {
        let mut files = HashMap::new();
        for entry in std::fs::read_dir(self.dir.path().join("image")).unwrap() {
            let entry = entry.unwrap();
            let content = std::fs::read(entry.path()).unwrap();
            let digest = format!("sha256:{}", Digest::of(&content).hex());
            files.insert(entry.file_name().into_string().unwrap(), content.clone());
            files.insert(digest, content);
        }
        Arc::new(Files {
            files,
            breaks: AtomicU32::new(breaks),
            ranges: Mutex::default(),
        })
    }

    async fn fetch(&self, origin: &ImageOrigin) -> Result<(), OriginError> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let place = Place::of(origin)?;
        let mut download = download::Download::new(&client, &self.store, &place);
        download.credentials = credentials::Credentials::of(origin)?;
        download.pause = std::time::Duration::from_millis(1);
        download.image(&self.digest, &mut |_, _, _| {}).await
    }

    fn is_whole(&self) -> bool {
        let images = self.store.list().unwrap();
        images.len() == 1 && self.store.verify(&images[0]).is_sound()
    }
}

fn http(url: String) -> ImageOrigin {
    ImageOrigin {
        http: Some(HttpOrigin {
            url,
            credentials_file: None,
        }),
        oci: None,
    }
}

fn oci(reference: String) -> ImageOrigin {
    ImageOrigin {
        http: None,
        oci: Some(OciOrigin {
            reference,
            plain_http: true,
            credentials_file: None,
        }),
    }
}

#[tokio::test]
async fn a_web_server_that_breaks_off_is_asked_for_the_rest() {
    let bench = Bench::new();
    let files = bench.files(3);
    let server = web_server(Arc::clone(&files)).await;
    bench
        .fetch(&http(format!("http://{server}/farm/")))
        .await
        .unwrap();
    assert!(bench.is_whole());
    let ranges = files.ranges.lock().unwrap().clone();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    // It is there now, and nothing is asked for again but the manifest.
    bench
        .fetch(&http(format!("http://{server}/farm/manifest.json")))
        .await
        .unwrap();
    assert_eq!(files.ranges.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn what_arrived_before_a_restart_is_kept() {
    let bench = Bench::new();
    let part = bench.store.part_path(&Digest::of(&bench.root));
    std::fs::write(part, &bench.root[..1_000_000]).unwrap();
    let files = bench.files(0);
    let server = web_server(Arc::clone(&files)).await;
    bench
        .fetch(&http(format!("http://{server}/farm")))
        .await
        .unwrap();
    assert!(bench.is_whole());
    assert_eq!(*files.ranges.lock().unwrap(), ["bytes=1000000-"]);
}

#[tokio::test]
async fn a_signature_comes_along_from_either_place() {
    let signature = "untrusted comment: a\nRUQ=\ntrusted comment: b\nAA==\n";
    for from_registry in [false, true] {
        let bench = Bench::new();
        let file = bench.dir.path().join("image/manifest.json.minisig");
        std::fs::write(file, signature).unwrap();
        let origin = if from_registry {
            let title = "org.opencontainers.image.title";
            let artifact = format!(
                r#"{{"layers":[{{"digest":"sha256:{}"}},{{"digest":"sha256:{}","annotations":{{"{title}":"manifest.json.minisig"}}}}]}}"#,
                bench.digest.hex(),
                Digest::of(signature.as_bytes()).hex()
            );
            let server = registry(bench.files(0), artifact).await;
            oci(format!("{server}/farm/debian:13"))
        } else {
            http(format!("http://{}/farm/", web_server(bench.files(0)).await))
        };
        bench.fetch(&origin).await.unwrap();
        let signed = bench.store.signed(&bench.digest).unwrap();
        let signed = signed.unwrap_or_else(|| panic!("registry: {from_registry}"));
        assert_eq!(signed.signature, signature);
    }
}

#[tokio::test]
async fn a_registry_with_tokens_and_redirects() {
    let bench = Bench::new();
    let layer = format!(
        "{{\"layers\":[{{\"digest\":\"sha256:{}\"}}]}}",
        bench.digest.hex()
    );
    let server = registry(bench.files(1), layer).await;
    let error = bench
        .fetch(&oci(format!("{server}/farm/debian:12")))
        .await
        .unwrap_err();
    assert!(
        matches!(error, OriginError::Status { status: 404, .. }),
        "{error}"
    );
    let digest = "a".repeat(64);
    let other = bench
        .fetch(&oci(format!("{server}/farm/debian@sha256:{digest}")))
        .await;
    assert!(other.is_err());
    bench
        .fetch(&oci(format!("{server}/farm/debian:13")))
        .await
        .unwrap();
    assert!(bench.is_whole());
}

#[tokio::test]
async fn an_artifact_without_the_image_is_refused() {
    let bench = Bench::new();
    let server = registry(bench.files(0), "{\"layers\":[]}".into()).await;
    let error = bench
        .fetch(&oci(format!("{server}/farm/debian:13")))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("none of its 0 layers"),
        "{error}"
    );
    let index = "{\"manifests\":[{}]}".to_owned();
    let server = registry(bench.files(0), index).await;
    let error = bench
        .fetch(&oci(format!("{server}/farm/debian:13")))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("index"), "{error}");
}

#[tokio::test]
async fn a_wrong_byte_or_a_longer_file_is_refused_and_nothing_is_kept() {
    for is_longer in [false, true] {
        let bench = Bench::new();
        let mut files = bench.files(0);
        let own = Arc::get_mut(&mut files).unwrap();
        let root = own
            .files
            .values_mut()
            .filter(|content| content.len() > 1_000_000);
        for content in root {
            if is_longer {
                content.push(0);
            } else {
                content[77] ^= 1;
            }
        }
        let server = web_server(files).await;
        let error = bench
            .fetch(&http(format!("http://{server}/farm")))
            .await
            .unwrap_err();
        assert!(matches!(error, OriginError::Wrong { .. }), "{error}");
        assert!(bench.store.list().unwrap().is_empty());
    }
    let bench = Bench::new();
    let mut files = bench.files(0);
    let own = Arc::get_mut(&mut files).unwrap();
    own.files.insert("manifest.json".into(), b"{}".to_vec());
    let server = web_server(files).await;
    let error = bench
        .fetch(&http(format!("http://{server}/farm")))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("and the Image says"), "{error}");
}

/// `robot:s3cret`, as RFC 7617 writes it.
const LOGIN: &str = "Basic cm9ib3Q6czNjcmV0";

fn says(headers: &HeaderMap, authorization: &str) -> bool {
    let own = headers.get(header::AUTHORIZATION);
    own.is_some_and(|own| own == authorization)
}

fn login(bench: &Bench, text: &str) -> Option<String> {
    let path = bench.dir.path().join("login");
    std::fs::write(&path, text).unwrap();
    Some(path.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_web_server_that_wants_a_login() {
    let bench = Bench::new();
    let answer = |State(files): State<Arc<Files>>, Path(name): Path<String>, headers: HeaderMap| async move {
        if says(&headers, LOGIN) || says(&headers, "Bearer a.token") {
            files.answer(&name, &headers)
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        }
    };
    let router = Router::new().route("/farm/{file}", get(answer));
    let server = serve(router.with_state(bench.files(1))).await;
    let mut origin = http(format!("http://{server}/farm"));
    for (text, is_right) in [
        (None, false),
        (Some("robot:wrong-s3cret"), false),
        (Some("robot:s3cret"), true),
        (Some("a.token"), true),
    ] {
        let file = text.and_then(|text| login(&bench, text));
        origin.http.as_mut().unwrap().credentials_file = file;
        let fetched = bench.fetch(&origin).await;
        assert_eq!(fetched.is_ok(), is_right, "{text:?}");
        if let Err(error) = fetched {
            let said = crate::images::chain(&error);
            assert!(said.contains("credentialsFile"), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
    assert!(bench.is_whole());
    origin.http.as_mut().unwrap().credentials_file = Some("/nonexistent/login".into());
    let error = bench.fetch(&origin).await.unwrap_err();
    assert!(matches!(error, OriginError::Credentials { .. }), "{error}");
}

/// A registry that gives tokens to whoever logs in, or takes the login itself.
#[tokio::test]
async fn a_registry_that_wants_a_login() {
    for by_token in [true, false] {
        let bench = Bench::new();
        let layer = format!(
            "{{\"layers\":[{{\"digest\":\"sha256:{}\"}}]}}",
            bench.digest.hex()
        );
        let files = bench.files(0);
        let wanted = if by_token { "Bearer robots-own" } else { LOGIN };
        let answer = move |Path((kind, name)): Path<(String, String)>, headers: HeaderMap| async move {
            let host = headers[header::HOST].to_str().unwrap().to_owned();
            if !says(&headers, wanted) {
                let challenge = if by_token {
                    format!("Bearer realm=\"http://{host}/token\",service=\"s\"")
                } else {
                    "Basic realm=\"farm\"".to_owned()
                };
                let headers = [(header::WWW_AUTHENTICATE, challenge)];
                return (StatusCode::UNAUTHORIZED, headers).into_response();
            }
            match kind.as_str() {
                "manifests" => layer.into_response(),
                _ => files.answer(&name, &headers),
            }
        };
        let token = |headers: HeaderMap| async move {
            if says(&headers, LOGIN) {
                "{\"access_token\": \"robots-own\"}".into_response()
            } else {
                StatusCode::FORBIDDEN.into_response()
            }
        };
        let router = Router::new()
            .route("/v2/farm/debian/{kind}/{name}", get(answer))
            .route("/token", get(token));
        let server = serve(router).await;
        let mut origin = oci(format!("{server}/farm/debian:13"));
        assert!(bench.fetch(&origin).await.is_err(), "{by_token}");
        let file = login(&bench, "robot:s3cret\n");
        origin.oci.as_mut().unwrap().credentials_file = file;
        bench.fetch(&origin).await.unwrap();
        assert!(bench.is_whole());
    }
}

#[test]
fn sources_that_are_none() {
    for origin in [
        ImageOrigin::default(),
        http("ftp://a/b".into()),
        http("nonsense".into()),
        ImageOrigin {
            http: http("http://a".into()).http,
            oci: oci("a.b/c".into()).oci,
        },
    ] {
        assert!(
            matches!(Place::of(&origin), Err(OriginError::Source)),
            "{origin:?}"
        );
    }
}
