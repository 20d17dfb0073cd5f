//! What operators and chassis-agent get.

use boot_proto::api::{ApiError, BootView, ImageView, MachineView};

use super::*;
use crate::explain::Explanation;

struct Face {
    bench: Bench,
    token: BearerToken,
}

impl Face {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let token = BearerToken::read_or_make(&bench.dir.path().join("token")).unwrap();
        Self { bench, token }
    }

    async fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", token)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let router = management_router(self.bench.app.clone(), self.token.clone());
        text(ask(router, Ipv4Addr::LOCALHOST, request).await).await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let (status, text) = self.ask("GET", path, &self.token.header(), "").await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }
}

#[tokio::test]
async fn without_the_token_there_is_only_health() {
    let face = Face::new().await;
    for path in [
        "/api/v1/machines",
        "/api/v1/boots",
        "/api/v1/explain/one",
        "/nothing",
    ] {
        for token in ["", "Bearer x", "Basic abc"] {
            let (status, text) = face.ask("GET", path, token, "").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            assert!(serde_json::from_str::<ApiError>(&text).is_ok(), "{text}");
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(face.ask("GET", path, "", "").await.0, StatusCode::OK);
    }
    let (status, _) = face.ask("GET", "/nothing", &face.token.header(), "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_known() {
    let face = Face::new().await;
    face.bench.get(ONE, "/ipxe?mac=94-57-a5-d3-ec-01").await;
    face.bench.get(TWO, "/ipxe?mac=94-57-a5-d3-ec-02").await;
    let machines: Vec<MachineView> = face.get("/api/v1/machines").await;
    assert_eq!(
        machines.iter().filter(|machine| machine.declared).count(),
        3
    );
    let images: Vec<ImageView> = face.get("/api/v1/images").await;
    assert_eq!(images[0].digest, face.bench.image);
    assert_eq!(images[0].pools, ["plain", "workers"]);
    let boots: Vec<BootView> = face.get("/api/v1/boots").await;
    assert_eq!(boots.len(), 2);
    let boots: Vec<BootView> = face.get("/api/v1/boots?machine=two").await;
    assert_eq!(boots.len(), 1);
    let leases: Vec<serde_json::Value> = face.get("/api/v1/leases").await;
    assert!(leases.is_empty());
}

#[tokio::test]
async fn explanations() {
    let face = Face::new().await;
    face.bench.get(ONE, "/ipxe?mac=94-57-a5-d3-ec-01").await;
    for who in [
        "one",
        "94:57:a5:d3:ec:01",
        "94-57-A5-D3-EC-01",
        "10.77.0.11",
    ] {
        let one: Explanation = face.get(&format!("/api/v1/explain/{who}")).await;
        assert_eq!(one.machine.as_deref(), Some("one"), "{who}");
        assert_eq!(one.pool_rule.as_deref(), Some("the pool names the Machine"));
        assert_eq!(one.profiles, ["base"]);
        assert_eq!(one.image_digest, Some(face.bench.image));
        assert_eq!(
            one.kernel_arguments,
            ["console=tty0", "console=ttyS0,115200n8", "quiet"]
        );
        assert_eq!(one.boot.unwrap().phase, "script");
        assert_eq!(one.problems, Vec::<String>::new());
    }
    let three: Explanation = face.get("/api/v1/explain/three").await;
    assert!(
        three.problems[0].contains("belongs to no NodePool"),
        "{:?}",
        three.problems
    );
    assert!(
        three.problems[1].contains("nothing was heard of it"),
        "{:?}",
        three.problems
    );
    let stranger: Explanation = face.get("/api/v1/explain/94:57:a5:d3:ec:99").await;
    assert_eq!(stranger.machine, None);
    assert!(stranger.problems[0].contains("no Machine has MAC"));
    let free: Explanation = face.get("/api/v1/explain/10.77.0.120").await;
    assert_eq!(free.machine, None);
    assert!(
        free.problems[0].contains("it is in a range"),
        "{:?}",
        free.problems
    );
    for who in ["nobody", "10.9.9.9"] {
        let path = format!("/api/v1/explain/{who}");
        assert_eq!(
            face.ask("GET", &path, &face.token.header(), "").await.0,
            StatusCode::NOT_FOUND
        );
    }
}

#[tokio::test]
async fn an_inventory_of_a_chassis_nobody_declared_is_refused() {
    let face = Face::new().await;
    let path = "/api/v1/chassis/m1/inventory";
    let body = r#"{"reachable": true, "complete": true, "machines": []}"#;
    let (status, text) = face.ask("PUT", path, &face.token.header(), body).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("m1"), "{text}");
    let (status, _) = face
        .ask("PUT", path, &face.token.header(), "nonsense")
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_metrics_page_is_behind_the_token() {
    let face = Face::new().await;
    assert_eq!(
        face.ask("GET", "/metrics", "", "").await.0,
        StatusCode::UNAUTHORIZED
    );
    face.bench.app.metrics.dhcp.received("discover");
    let (status, page) = face.ask("GET", "/metrics", &face.token.header(), "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("moonfarm_dhcp_messages_total{message=\"discover\"} 1\n"),
        "{page}"
    );
    assert!(
        page.contains("moonfarm_dhcp_free_addresses{subnet="),
        "{page}"
    );
}
