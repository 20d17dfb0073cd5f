//! Tokens against an API server that behaves as the real one does for these
//! calls.

use std::time::Duration;

use boot_proto::ids::MacAddr;
use boot_proto::report::{BootReport, Phase, Progress};
use boot_proto::resources::{OldNode, Taint, TaintEffect};

use super::fake::FakeApi;
use super::*;
use crate::boots::BootLog;

const UUID: &str = "31393736-3935-584d-5137-343630314d58";

struct Bench {
    api: FakeApi,
    dir: tempfile::TempDir,
    database: Database,
    tokens: Arc<Tokens>,
}

impl Bench {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("state.redb")).unwrap();
        let tokens = Tokens::open(database.clone(), dir.path()).unwrap();
        Self {
            api: FakeApi::start().await,
            dir,
            database,
            tokens,
        }
    }

    fn request(&self, machine: &str) -> TokenRequest {
        TokenRequest {
            machine: machine.into(),
            hostname: machine.into(),
            uuid: Some(UUID.into()),
            cluster: self.api.cluster(self.dir.path()),
        }
    }

    fn secrets(&self) -> Vec<String> {
        self.api.world().secrets.keys().cloned().collect()
    }
}

#[tokio::test]
async fn a_token_is_what_kubeadm_wants_and_waits_for_its_signature() {
    let bench = Bench::new().await;
    bench.api.world().signs_after = Some(Duration::from_millis(400));
    let token = bench.tokens.mint(bench.request("m1-c1n1")).await.unwrap();
    let (id, secret) = token.token.split_once('.').unwrap();
    assert_eq!((id.len(), secret.len()), (6, 16));
    assert!(token.expires_in_secs > 590 && token.expires_in_secs <= 600);
    assert!(!format!("{token:?}").contains(secret));
    {
        let world = bench.api.world();
        assert!(
            world
                .signatures
                .contains_key(&format!("jws-kubeconfig-{id}"))
        );
        let object = &world.secrets[&format!("bootstrap-token-{id}")];
        assert_eq!(object["type"], "bootstrap.kubernetes.io/token");
        let data = &object["stringData"];
        assert_eq!(data["token-secret"], secret);
        assert_eq!(data["usage-bootstrap-authentication"], "true");
        assert_eq!(data["usage-bootstrap-signing"], "true");
        assert_eq!(
            data["auth-extra-groups"],
            "system:bootstrappers:kubeadm:default-node-token"
        );
        assert!(data["expiration"].as_str().unwrap().ends_with('Z'));
        assert!(data["description"].as_str().unwrap().contains("m1-c1n1"));
    }
    // Only the id is in the store.
    let file = std::fs::read(bench.dir.path().join("state.redb")).unwrap();
    let holds = |text: &str| {
        file.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(holds(id) && !holds(secret));

    bench.tokens.revoke("m1-c1n1").await.unwrap();
    assert!(bench.secrets().is_empty());
    assert!(bench.database.read_all::<TokenRecord>().unwrap().is_empty());
}

#[tokio::test]
async fn one_token_a_machine_and_not_too_often() {
    let bench = Bench::new().await;
    bench.tokens.mint(bench.request("a")).await.unwrap();
    let again = bench.tokens.mint(bench.request("a")).await.unwrap_err();
    assert!(matches!(again, TokenError::TooOften { retry_after, .. } if retry_after <= INTERVAL));
    bench.tokens.mint(bench.request("b")).await.unwrap();
    assert_eq!(bench.secrets().len(), 2);

    // Another server process, later: the token of before is revoked first.
    let before = bench.secrets();
    let tokens = Tokens::open(bench.database.clone(), bench.dir.path()).unwrap();
    tokens.mint(bench.request("a")).await.unwrap();
    let after = bench.secrets();
    assert_eq!(after.len(), 2);
    assert_ne!(before, after);
}

#[tokio::test]
async fn the_node_of_a_former_start_goes_first() {
    let bench = Bench::new().await;
    bench.api.put_node("m1-c1n1", true, UUID);
    bench.tokens.mint(bench.request("m1-c1n1")).await.unwrap();
    {
        let world = bench.api.world();
        assert_eq!(world.calls[0], "delete node m1-c1n1");
        assert!(world.calls[1].starts_with("create bootstrap-token-"));
    }
    bench
        .api
        .put_node("m1-c2n1", true, "41393736-3935-584d-5137-343630314d58");
    let error = bench
        .tokens
        .mint(bench.request("m1-c2n1"))
        .await
        .unwrap_err();
    assert!(matches!(error, TokenError::NameTaken { .. }), "{error}");
    bench
        .api
        .put_node("m1-c2n1", false, "41393736-3935-584d-5137-343630314d58");
    bench.tokens.mint(bench.request("m1-c2n1")).await.unwrap();
}

#[tokio::test]
async fn the_node_of_a_former_start_is_awaited_where_its_cluster_says_so() {
    let bench = Bench::new().await;
    let mut request = bench.request("m1-c1n1");
    request.cluster.spec.old_node = OldNode::Await;
    bench.api.put_node("m1-c1n1", true, UUID);
    let error = bench.tokens.mint(request.clone()).await.unwrap_err();
    assert!(error.to_string().contains("oldNode: await"), "{error}");
    assert!(bench.secrets().is_empty());
    bench.api.put_node("m1-c1n1", false, UUID);
    bench.tokens.mint(request).await.unwrap();
    let calls = bench.api.world().calls.clone();
    assert!(
        !calls.iter().any(|call| call.starts_with("delete node")),
        "{calls:?}"
    );
}

#[tokio::test]
async fn trouble_is_told_and_passes() {
    let bench = Bench::new().await;
    bench.api.world().is_away = true;
    let error = bench.tokens.mint(bench.request("a")).await.unwrap_err();
    assert!(matches!(error, TokenError::Api { .. }), "{error}");
    bench.api.world().is_away = false;
    bench.tokens.mint(bench.request("a")).await.unwrap();

    let mut request = bench.request("b");
    request.cluster.spec.kubeconfig_file = Some("missing.conf".into());
    let error = bench.tokens.mint(request).await.unwrap_err().to_string();
    assert!(error.contains("missing.conf"), "{error}");
    let mut request = bench.request("b");
    request.cluster.spec.kubeconfig_file = None;
    let error = bench.tokens.mint(request).await.unwrap_err();
    assert!(matches!(error, TokenError::NoCredentials { .. }));
}

#[tokio::test]
async fn expired_tokens_are_revoked_also_after_a_restart() {
    let bench = Bench::new().await;
    bench.tokens.mint(bench.request("a")).await.unwrap();
    let tokens = Tokens::open(bench.database.clone(), bench.dir.path()).unwrap();
    tokens.sweep(clock::wall()).await;
    assert_eq!(
        bench.secrets().len(),
        1,
        "a node may be joining with it right now"
    );
    let later = clock::wall().after(Duration::from_secs(601));
    bench.api.world().is_away = true;
    tokens.sweep(later).await;
    bench.api.world().is_away = false;
    assert_eq!(bench.secrets().len(), 1);
    tokens.sweep(later).await;
    assert!(bench.secrets().is_empty());
    assert!(bench.database.read_all::<TokenRecord>().unwrap().is_empty());
}

#[tokio::test]
async fn tokens_of_a_server_that_is_gone_are_revoked() {
    let bench = Bench::new().await;
    let another = |name: &str| {
        let database = Database::open(&bench.dir.path().join(name)).unwrap();
        Tokens::open(database, bench.dir.path()).unwrap()
    };
    bench.api.put_node("b", false, UUID);
    bench.api.world().now = "2026-01-01T12:00:01Z";
    let gone = another("gone.redb");
    for machine in ["a", "b", "c"] {
        gone.mint(bench.request(machine)).await.unwrap();
    }
    let made = bench.secrets();
    assert_eq!(made.len(), 3);
    // The machine asks another server.
    bench.tokens.mint(bench.request("a")).await.unwrap();
    assert_eq!(bench.secrets().len(), 3);
    assert_ne!(bench.secrets(), made);

    // Machine c has joined; the Node b is of a former start.
    let clusters = [bench.api.cluster(bench.dir.path())];
    bench.tokens.sweep_left(&clusters, clock::wall()).await;
    assert_eq!(bench.secrets().len(), 3);
    bench.api.put_node("c", true, UUID);
    bench.tokens.sweep_left(&clusters, clock::wall()).await;
    assert_eq!(bench.secrets().len(), 2);
    let later = clock::wall().after(Duration::from_secs(601));
    bench.tokens.sweep_left(&clusters, later).await;
    assert!(bench.secrets().is_empty());
}

#[tokio::test]
async fn a_kubeconfig_that_may_not_list_tokens_is_enough() {
    let bench = Bench::new().await;
    bench.api.world().hides_secrets = true;
    bench.tokens.mint(bench.request("a")).await.unwrap();
    let clusters = [bench.api.cluster(bench.dir.path())];
    bench.tokens.sweep_left(&clusters, clock::wall()).await;
    assert_eq!(bench.secrets().len(), 1);
}

#[tokio::test]
async fn a_joined_machine_is_seen_through_to_ready() {
    const MAC: MacAddr = MacAddr::new([0x94, 0x57, 0xa5, 0xd3, 0xec, 0xf2]);
    let bench = Bench::new().await;
    let boots = BootLog::open(bench.database.clone()).unwrap();
    let report = BootReport {
        version: 1,
        mac: MAC,
        phase: Phase::Join,
        progress: Progress::Done,
        percent: None,
        uptime_ms: 30_000,
        elapsed_ms: 9_000,
        message: String::new(),
        log: String::new(),
        facts: None,
        phases: Vec::new(),
    };
    boots.report(&report, "m1-c1n1", "10.0.0.9".parse().unwrap());
    bench.tokens.mint(bench.request("m1-c1n1")).await.unwrap();
    bench.api.put_node("m1-c1n1", false, UUID);
    let joined = Joined {
        boot: boots.latest(MAC).unwrap().id,
        mac: MAC,
        machine: "m1-c1n1".into(),
        hostname: "m1-c1n1".into(),
        cluster: bench.api.cluster(bench.dir.path()),
        labels: [("node-role.kubernetes.io/worker".into(), String::new())].into(),
        taints: vec![Taint {
            key: "farm".into(),
            value: "yes".into(),
            effect: TaintEffect::NoSchedule,
        }],
    };
    bench.tokens.follow(joined.clone(), Arc::clone(&boots));
    bench.tokens.follow(joined, Arc::clone(&boots));
    let wait_for = async |check: &dyn Fn() -> bool| {
        tokio::time::timeout(Duration::from_secs(10), async {
            while !check() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
    };
    wait_for(&|| {
        bench
            .api
            .world()
            .calls
            .contains(&"patch node m1-c1n1".to_owned())
    })
    .await;
    assert!(bench.secrets().is_empty(), "the token was revoked");
    assert_eq!(boots.latest(MAC).unwrap().outcome, "running");
    {
        let mut world = bench.api.world();
        let node = world.nodes.get_mut("m1-c1n1").unwrap();
        assert_eq!(
            node["metadata"]["labels"]["node-role.kubernetes.io/worker"],
            ""
        );
        assert_eq!(node["spec"]["taints"][0]["key"], "farm");
        node["status"]["conditions"][0]["status"] = "True".into();
    }
    wait_for(&|| boots.latest(MAC).unwrap().outcome == "ready").await;
    let patches = bench
        .api
        .world()
        .calls
        .iter()
        .filter(|call| call.starts_with("patch"))
        .count();
    assert_eq!(
        patches, 1,
        "told twice, followed once; patched only what was missing"
    );
}
