//! Any bytes on a connection of the boot face: the head as it is read there,
//! then the routes over a real farm, from an address that the first octet names.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use axum::body::{Body, to_bytes};
use axum::http::Response;
use boot_proto::ids::Digest;
use boot_proto::image::{ImageFile, ImageManifest, VERSION};
use boot_server::adoption::Adoption;
use boot_server::boots::BootLog;
use boot_server::dhcp::leases::{LeaseLog, Leases};
use boot_server::farm::Farm;
use boot_server::http::{App, Peer, Rate, Transfers, boot_router, plain_request};
use boot_server::images::ImageStore;
use boot_server::metrics::Metrics;
use boot_server::store::Database;
use boot_server::tokens::Tokens;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

/// Files of the image, and the loader that the folder has.
const ROOT: &[u8] = b"0123456789";
const LOADER: &[u8] = b"a loader";

struct Lab {
    app: App,
    runtime: Runtime,
    _folder: TempDir,
}

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let app = runtime.block_on(async { app(folder.path()) });
    Lab {
        app,
        runtime,
        _folder: folder,
    }
});

fuzz_target!(|data: &[u8]| {
    let Some((who, bytes)) = data.split_first() else {
        return;
    };
    let Some((request, head, body)) = plain_request(bytes) else {
        return;
    };
    assert!(head <= bytes.len(), "a head longer than what came");
    let end = head.saturating_add(body).min(bytes.len());
    let body = bytes[head..end].to_vec();
    let is_head = request.method() == "HEAD";
    let mut request = request.map(|()| Body::from(body));
    // Two declared machines, one that may have a lease, and one from elsewhere.
    let address = [
        [10, 0, 0, 51],
        [10, 0, 0, 50],
        [10, 1, 0, 55],
        [192, 0, 2, 9],
    ];
    let address = IpAddr::from(Ipv4Addr::from(address[usize::from(who % 4)]));
    request.extensions_mut().insert(Peer {
        remote: SocketAddr::new(address, 40_000),
        local: ([10, 0, 0, 1], 8080).into(),
        is_tls: who & 128 != 0,
    });
    let lab = &*LAB;
    let mut app = lab.app.clone();
    app.rate = Rate::new(app.metrics.http.clone());
    lab.runtime.block_on(async {
        let answer = boot_router(app).oneshot(request).await;
        check(answer.expect("routes do not fail"), is_head).await;
    });
});

/// Never our own fault, and as long as it says.
async fn check(answer: Response<Body>, is_head: bool) {
    let status = answer.status();
    assert!(status != 500, "an internal error");
    let told = answer.headers().get("content-length").cloned();
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    if let (Some(told), false, true) = (told, is_head, status != 304) {
        assert_eq!(
            told.to_str().ok(),
            Some(&*body.len().to_string()),
            "{status}"
        );
    }
    assert!(status != 206 || body.len() <= ROOT.len().max(LOADER.len()));
}

fn app(folder: &Path) -> App {
    let manifests = folder.join("manifests");
    let loaders = folder.join("loaders");
    for made in [&manifests, &loaders] {
        std::fs::create_dir(made).expect("a folder");
    }
    std::fs::write(manifests.join("farm.yaml"), include_str!("../farm.yaml")).expect("a farm");
    std::fs::write(loaders.join("ipxe.efi"), LOADER).expect("a loader");
    let database = Database::open(&folder.join("state.redb")).expect("a database");
    let log = LeaseLog::open(&folder.join("leases")).expect("leases");
    let metrics = Metrics::new();
    let images = ImageStore::open(&folder.join("images")).expect("images");
    add_image(&images, &folder.join("image"));
    let host_keys = boot_server::host_keys::HostKeys::open(&folder.join("host-keys"));
    let farm = Arc::new(Farm::open(database.clone(), &manifests).expect("a farm"));
    let tokens = Tokens::open(database.clone(), &manifests).expect("tokens");
    App {
        adoption: Adoption::of(&farm, &tokens),
        farm,
        leases: Arc::new(Leases::open(Arc::new(log)).expect("leases")),
        images: Arc::new(images),
        boots: BootLog::open(database).expect("a boot log"),
        tokens,
        loaders,
        assets: None,
        host_keys: Arc::new(host_keys.expect("host keys")),
        tls_port: None,
        transfers: Transfers::new(1, metrics.http.clone()),
        rate: Rate::new(metrics.http.clone()),
        metrics,
    }
}

fn add_image(images: &ImageStore, folder: &Path) {
    std::fs::create_dir(folder).expect("a folder");
    let file = |name: &str, content: &[u8]| {
        std::fs::write(folder.join(name), content).expect("a file");
        ImageFile {
            file: name.into(),
            size: content.len() as u64,
            digest: Digest::of(content),
        }
    };
    let manifest = ImageManifest {
        version: VERSION,
        name: "debian".into(),
        architecture: "x86_64".into(),
        kernel_release: "6.12".into(),
        kernel: file("kernel", b"a kernel"),
        initramfs: file("initramfs", b"an initramfs"),
        root: file("root", ROOT),
        root_checks: Default::default(),
        kernel_arguments: Vec::new(),
        recipe: serde_json::Value::Null,
    };
    let text = serde_json::to_vec(&manifest).expect("a manifest");
    std::fs::write(folder.join("manifest.json"), text).expect("a manifest");
    images.add(folder, &mut |_, _, _| {}).expect("an image");
}
