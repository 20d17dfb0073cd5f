//! Matchbox's endpoints: byte for byte what Matchbox 0.11.0 answered, and who is
//! given what.

use axum::http::header;

use super::*;
use crate::import::{self, matchbox as importer};

const NODE1: &str = "52:54:00:a1:9c:ae";
const NODE1_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 17, 0, 11);
const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 17, 0, 12);

struct Farm {
    dir: tempfile::TempDir,
    app: App,
}

impl Farm {
    /// The example, with more manifests.
    fn new(machines: bool, more: &str) -> Self {
        let example =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/matchbox/matchbox");
        let folder = importer::read(&example).unwrap();
        let imported = importer::import(&folder, importer::Options { machines });
        let dir = tempfile::tempdir().unwrap();
        let manifests = dir.path().join("manifests");
        std::fs::create_dir_all(manifests.join("assets/flatcar")).unwrap();
        let text = import::render(&imported, "matchbox").unwrap();
        std::fs::write(manifests.join("matchbox.yaml"), text).unwrap();
        std::fs::write(manifests.join("more.yaml"), more).unwrap();
        let app = app(dir.path(), &manifests);
        Self { dir, app }
    }

    async fn get(&self, address: Ipv4Addr, path: &str) -> (u16, String, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = ask(boot_router(self.app.clone()), address, request).await;
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.map_or("", |value| value.to_str().unwrap());
        let content_type = content_type.to_owned();
        let (status, body) = text(response).await;
        (status.as_u16(), content_type, body)
    }

    async fn status(&self, address: Ipv4Addr, path: &str) -> u16 {
        self.get(address, path).await.0
    }
}

/// Two machines with reserved addresses beside the imported one's.
const MACHINES: &str = "
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: flatcar}
spec: {cidr: 10.17.0.0/24, ranges: [{from: 10.17.0.100, to: 10.17.0.150}]}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: first}
spec:
  macs: ['52:54:00:a1:9c:ae']
  address: 10.17.0.11
  uuid: 4c4c4544-0042-3510-8052-b4c04f4e4d31
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: second}
spec: {macs: ['52:54:00:b2:2f:86'], address: 10.17.0.12}
";

/// Metadata has no order of its own at Matchbox's.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[tokio::test]
async fn answers_are_those_of_matchbox() {
    let farm = Farm::new(false, "");
    let answers: Vec<(String, u16, String, String)> =
        serde_json::from_str(include_str!("matchbox.json")).unwrap();
    assert!(answers.len() > 100);
    for (at, (path, status, content_type, body)) in answers.into_iter().enumerate() {
        // Each from an address of its own, since clients may not ask too often.
        let address = Ipv4Addr::from(0x0a63_0000 + u32::try_from(at).unwrap());
        let (is, is_type, is_body) = farm.get(address, &path).await;
        assert_eq!(
            (is, is_type.as_str()),
            (status, content_type.as_str()),
            "{path}"
        );
        if path.starts_with("/metadata") {
            assert_eq!(sorted(&is_body), sorted(&body), "{path}");
        } else {
            assert_eq!(is_body, body, "{path}");
        }
    }
}

#[tokio::test]
async fn configs_of_a_known_machine_go_to_its_address_alone() {
    let farm = Farm::new(false, MACHINES);
    let own = format!("mac={NODE1}&os=installed");
    for what in ["ignition", "generic", "metadata"] {
        let path = format!("/{what}?{own}");
        assert_eq!(farm.status(NODE1_ADDRESS, &path).await, 200, "{what}");
        assert_eq!(farm.status(OTHER_ADDRESS, &path).await, 403, "{what}");
        assert_eq!(farm.status(STRANGER, &path).await, 403, "{what}");
        for claim in [
            "mac=5254.00A1.9CAE",
            "MAC=52-54-00-a1-9c-ae",
            "uuid=4C4C4544-0042-3510-8052-B4C04F4E4D31",
            "hostname=first",
        ] {
            let path = format!("/{what}?{claim}&rack=b");
            assert_eq!(farm.status(OTHER_ADDRESS, &path).await, 403, "{path}");
            assert_eq!(farm.status(STRANGER, &path).await, 403, "{path}");
        }
    }
    let (status, _, text) = farm.get(STRANGER, &format!("/ignition?{own}")).await;
    assert!(status == 403 && text.contains("machine first"), "{text}");
    // What names nobody goes to anybody, as with Matchbox.
    assert_eq!(farm.status(STRANGER, "/ignition?rack=b").await, 200);
    assert_eq!(farm.status(OTHER_ADDRESS, "/ignition").await, 200);
}

#[tokio::test]
async fn a_boot_from_the_first_script_to_ignition() {
    let farm = Farm::new(false, MACHINES);
    let assets = farm.dir.path().join("manifests/assets/flatcar");
    std::fs::write(assets.join("flatcar_production_pxe.vmlinuz"), "kernel").unwrap();
    let image = "flatcar_production_pxe_image.cpio.gz";
    std::fs::write(assets.join(image), "0123456789").unwrap();

    let (_, _, first) = farm.get(NODE1_ADDRESS, "/boot.ipxe").await;
    assert!(
        first.contains("chain ipxe?uuid=${uuid}&mac=${mac:hexhyp}"),
        "{first}"
    );
    let script =
        "/ipxe?uuid=&mac=52-54-00-a1-9c-ae&domain=&hostname=first&serial=&arch=x86_64&os=installed";
    let (status, _, text) = farm.get(NODE1_ADDRESS, script).await;
    assert_eq!(status, 200);
    let kernel = "kernel /assets/flatcar/flatcar_production_pxe.vmlinuz flatcar.config.url=";
    assert!(text.contains(kernel), "{text}");
    let (_, _, kernel) = farm
        .get(
            NODE1_ADDRESS,
            "/assets/flatcar/flatcar_production_pxe.vmlinuz",
        )
        .await;
    assert_eq!(kernel, "kernel");
    let request = Request::get(format!("/assets/flatcar/{image}"))
        .header(header::RANGE, "bytes=2-4")
        .body(Body::empty())
        .unwrap();
    let part = ask(boot_router(farm.app.clone()), NODE1_ADDRESS, request).await;
    assert_eq!(
        super::text(part).await,
        (StatusCode::PARTIAL_CONTENT, "234".into())
    );
    farm.get(NODE1_ADDRESS, &format!("/assets/flatcar/{image}"))
        .await;
    let boot = farm.app.boots.list().pop().unwrap();
    assert_eq!(
        (
            boot.machine.as_deref(),
            boot.phase.as_str(),
            boot.outcome.as_str()
        ),
        (Some("first"), "initramfs", "running")
    );
    let path = "/ignition?mac=52-54-00-a1-9c-ae&os=installed";
    let (status, content_type, config) = farm.get(NODE1_ADDRESS, path).await;
    assert_eq!((status, content_type.as_str()), (200, "application/json"));
    assert!(
        config.contains("ETCD_INITIAL_CLUSTER%3Dnode1%3Dhttp"),
        "{config}"
    );
    let boot = farm.app.boots.list().pop().unwrap();
    assert_eq!(boot.outcome, "handed-over");
    let last = &boot.steps.last().unwrap().message;
    assert!(last.contains("ignition node.yaml.tmpl given"), "{last}");
    // A retry is answered, and the next start is the next boot.
    assert_eq!(farm.status(NODE1_ADDRESS, path).await, 200);
    farm.get(NODE1_ADDRESS, script).await;
    assert_eq!(farm.app.boots.list().len(), 2);
}

#[tokio::test]
async fn pools_and_groups_side_by_side() {
    let pools = "
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec: {machines: {names: [second]}, image: debian}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: rest}
spec: {catchAll: true, image: debian}
";
    let farm = Farm::new(false, &format!("{MACHINES}{pools}"));
    for (address, query, is_matchbox) in [
        // Its pool names it.
        (OTHER_ADDRESS, "mac=52:54:00:b2:2f:86&rack=b", false),
        // A group with selectors comes before the pool for all.
        (NODE1_ADDRESS, "mac=52:54:00:a1:9c:ae", true),
        // And that pool before the group for all.
        (NODE1_ADDRESS, "rack=c", false),
    ] {
        let (status, _, text) = farm.get(address, &format!("/ipxe?{query}")).await;
        assert_eq!(status, 200, "{query}");
        assert_eq!(
            text.contains("/assets/flatcar/"),
            is_matchbox,
            "{query}: {text}"
        );
    }
    let (_, _, first) = farm.get(STRANGER, "/boot.ipxe").await;
    assert!(first.contains("&hostname=${hostname:uristring}"), "{first}");
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_to_wait() {
    let farm = Farm::new(false, "");
    let mut last = 0;
    for _ in 0..80 {
        last = farm.status(STRANGER, "/metadata?rack=b").await;
    }
    assert_eq!(last, 429);
}
