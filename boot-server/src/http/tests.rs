//! The faces as clients meet them: routers over a real farm in a folder.

mod boot_face;
mod management_face;
mod matchbox;
mod sockets;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use boot_proto::ids::Digest;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::images::tests::write_image;
use crate::store::Database;
use crate::tokens::fake::FakeApi;

/// A farm of two machines with reserved addresses, one that is found, and an image.
pub(super) struct Bench {
    pub app: App,
    pub dir: tempfile::TempDir,
    pub api: FakeApi,
    pub image: Digest,
}

pub(super) const ONE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
pub(super) const TWO: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 12);
pub(super) const POOLLESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 13);
pub(super) const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
pub(super) const KERNEL: &[u8] = b"a kernel";
pub(super) const ROOT: &[u8] = b"0123456789";

const MANIFESTS: &str = "
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: farm}
spec: {cidr: 10.77.0.0/24, gateway: 10.77.0.1, ranges: [{from: 10.77.0.100, to: 10.77.0.150}]}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: one}
spec: {macs: ['94:57:a5:d3:ec:01'], address: 10.77.0.11}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: two}
spec: {macs: ['94:57:a5:d3:ec:02'], address: 10.77.0.12}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: three}
spec: {macs: ['94:57:a5:d3:ec:03'], address: 10.77.0.13}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Cluster
metadata: {name: main}
spec:
  endpoint: 10.77.0.1:6443
  caCertHashes: ['sha256:0000000000000000000000000000000000000000000000000000000000000000']
  kubeconfigFile: admin.conf
---
apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata: {name: base}
spec: {kernelArguments: [quiet], labels: {rack: r1}}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec: {machines: {names: [one]}, image: debian, cluster: main, profiles: [base]}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: plain}
spec: {machines: {names: [two]}, image: debian}
";

impl Bench {
    pub async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let manifests = dir.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        let api = FakeApi::start().await;
        api.cluster(&manifests);
        std::fs::write(manifests.join("farm.yaml"), MANIFESTS).unwrap();
        let folder = dir.path().join("image");
        let image = write_image(&folder, "debian", [KERNEL, b"an initramfs", ROOT]);
        let app = app(dir.path(), &manifests);
        app.images.add(&folder, &mut |_, _, _| {}).unwrap();
        Self {
            app,
            dir,
            api,
            image,
        }
    }

    /// Asks the boot face from `address`.
    pub async fn ask(&self, address: Ipv4Addr, request: Request<Body>) -> Response<Body> {
        ask(boot_router(self.app.clone()), address, request).await
    }

    pub async fn get(&self, address: Ipv4Addr, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        text(self.ask(address, request).await).await
    }

    pub async fn post(&self, address: Ipv4Addr, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::post(path)
            .body(Body::from(body.to_owned()))
            .unwrap();
        text(self.ask(address, request).await).await
    }
}

fn app(dir: &Path, manifests: &Path) -> App {
    let database = Database::open(&dir.join("state.redb")).unwrap();
    let log = crate::dhcp::leases::LeaseLog::open(&dir.join("leases")).unwrap();
    let metrics = crate::metrics::Metrics::new();
    let farm = Arc::new(Farm::open(database.clone(), manifests).unwrap());
    let tokens = Tokens::open(database.clone(), manifests).unwrap();
    App {
        leases: Arc::new(Leases::open(Arc::new(log)).unwrap()),
        images: Arc::new(ImageStore::open(&dir.join("images")).unwrap()),
        boots: BootLog::open(database).unwrap(),
        adoption: crate::adoption::Adoption::of(&farm, &tokens),
        tokens,
        farm,
        loaders: dir.join("loaders"),
        assets: None,
        host_keys: Arc::new(crate::host_keys::HostKeys::open(&dir.join("host-keys")).unwrap()),
        tls_port: None,
        transfers: Transfers::new(1, metrics.http.clone()),
        rate: Rate::new(metrics.http.clone()),
        metrics,
    }
}

pub(super) async fn ask(
    router: Router,
    address: Ipv4Addr,
    mut request: Request<Body>,
) -> Response<Body> {
    let local: SocketAddr = "10.77.0.1:8080".parse().unwrap();
    request.extensions_mut().insert(Peer {
        remote: (address, 40_000).into(),
        local,
        is_tls: false,
    });
    router.oneshot(request).await.unwrap()
}

pub(super) async fn text(response: Response<Body>) -> (StatusCode, String) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}
