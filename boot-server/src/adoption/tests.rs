//! A machine moved from pool to pool, with an API server that behaves as the
//! real one does for these calls.

use std::fs;

use boot_proto::api::{ChassisInventory, ObservedMachine};
use boot_proto::ids::MacAddr;
use boot_proto::resources::DesiredPower;

use super::*;
use crate::inventory::Client;
use crate::store::Database;
use crate::tokens::fake::FakeApi;

const UUID: &str = "31393736-3935-584d-5137-343630314d58";
const STRAY: &str = "94-57-a5-00-00-01";
const FARM: &str = r#"
apiVersion: moonfarm.dev/v1alpha1
kind: Cluster
metadata: {name: farm}
spec: {endpoint: "10.0.0.1:6443", caCertHashes: ["sha256:0000000000000000000000000000000000000000000000000000000000000000"], kubeconfigFile: admin.conf}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Chassis
metadata: {name: m1}
spec: {address: m1, credentials: {secret: m1}}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec: {image: debian, cluster: farm, hostname: "worker-{mac}"}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: newcomers}
spec: {image: debian, cluster: farm, catchAll: true}
"#;
const ADOPTED: &str = r#"
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: db-1}
spec: {macs: ["94:57:a5:00:00:01"], pool: workers}
"#;

struct Bench {
    dir: tempfile::TempDir,
    api: FakeApi,
    farm: Arc<Farm>,
    adoption: Arc<Adoption>,
}

impl Bench {
    /// A stray machine that is node `94-57-a5-00-00-01` of the cluster.
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let manifests = dir.path().join("manifests");
        fs::create_dir(&manifests).unwrap();
        fs::write(manifests.join("farm.yaml"), FARM).unwrap();
        let api = FakeApi::start().await;
        api.cluster(&manifests);
        let database = Database::open(&dir.path().join("state.redb")).unwrap();
        let farm = Arc::new(Farm::open(database.clone(), &manifests).unwrap());
        let tokens = Tokens::open(database, &manifests).unwrap();
        let adoption = Adoption::of(&farm, &tokens);
        let bench = Self {
            dir,
            api,
            farm,
            adoption,
        };
        let client = Client {
            mac: MacAddr::new([0x94, 0x57, 0xa5, 0, 0, 1]),
            uuid: Some(UUID.into()),
        };
        let stray = bench.farm.met(&client, clock::wall()).unwrap();
        bench.adoption.joined(&stray);
        bench.round().await;
        bench.api.put_node(STRAY, true, UUID);
        bench
    }

    async fn round(&self) {
        self.adoption.take_in_deeds().await;
        self.adoption.later.lock().unwrap().clear();
        self.adoption.round().await;
    }

    fn declare(&self, text: &str) {
        let file = self.dir.path().join("manifests/adopted.yaml");
        fs::write(file, text).unwrap();
        self.farm.reload().unwrap();
    }

    fn chassis_shows(&self, power: ObservedPower) -> Option<DesiredPower> {
        let scan = ChassisInventory {
            reachable: true,
            complete: true,
            machines: vec![ObservedMachine {
                slot: "c1n1".into(),
                macs: vec![MacAddr::new([0x94, 0x57, 0xa5, 0, 0, 1])],
                power,
                ..ObservedMachine::default()
            }],
            ..ChassisInventory::default()
        };
        let orders = self.farm.observe("m1", scan, clock::wall()).unwrap();
        orders.orders.first().map(|order| order.power)
    }

    fn reason(&self, machine: &str) -> Option<String> {
        let record = self.farm.learned(machine)?;
        told(&record).map(str::to_owned)
    }

    fn membership(&self, machine: &str) -> Membership {
        self.farm.learned(machine).unwrap().status.membership
    }

    fn restarts(&self, machine: &str) {
        let assignment = self.farm.inventory().assignment_of(machine).unwrap();
        self.adoption.restarted(&assignment);
    }

    fn joins(&self, machine: &str) {
        let assignment = self.farm.inventory().assignment_of(machine).unwrap();
        self.adoption.joined(&assignment);
    }

    fn nodes(&self) -> Vec<String> {
        self.api.world().nodes.keys().cloned().collect()
    }
}

#[tokio::test]
async fn a_machine_in_a_chassis_is_drained_cycled_and_gone_under_its_old_name() {
    let bench = Bench::new().await;
    assert_eq!(bench.chassis_shows(ObservedPower::On), None);
    bench.api.put_pod("web", STRAY);
    bench.api.put_pod("db", STRAY);
    bench.api.put_pod("elsewhere", "other");
    bench.api.world().kept.push("db".into());
    bench.declare(ADOPTED);

    bench.round().await;
    assert_eq!(bench.reason("db-1").as_deref(), Some("Draining"));
    bench.round().await;
    let told = bench.farm.learned("db-1").unwrap().status.conditions;
    let message = &moving(&told).unwrap().message;
    assert!(
        message.contains("pod default/db may not leave"),
        "{message}"
    );
    assert!(!message.contains("web"), "{message}");
    assert_eq!(
        bench.api.world().nodes[STRAY]["spec"]["unschedulable"],
        true
    );
    // It runs as long as a budget keeps a pod on it.
    assert_eq!(bench.chassis_shows(ObservedPower::On), None);

    bench.api.world().kept.clear();
    bench.round().await;
    bench.round().await;
    assert_eq!(bench.reason("db-1").as_deref(), Some("PoweringOff"));
    assert_eq!(
        bench.chassis_shows(ObservedPower::On),
        Some(DesiredPower::Off)
    );
    assert_eq!(bench.nodes(), [STRAY]);

    assert_eq!(
        bench.chassis_shows(ObservedPower::Off),
        Some(DesiredPower::Off)
    );
    bench.round().await;
    bench.round().await;
    assert_eq!(
        bench.chassis_shows(ObservedPower::Off),
        Some(DesiredPower::On)
    );
    assert!(bench.nodes().is_empty());
    assert_eq!(bench.api.world().pods.len(), 1);

    bench.restarts("db-1");
    bench.round().await;
    assert_eq!(bench.chassis_shows(ObservedPower::On), None);
    bench.joins("db-1");
    bench.round().await;
    assert_eq!(bench.reason("db-1"), None);
    let membership = bench.membership("db-1");
    assert!(membership.left.is_empty());
    let joined = membership.joined.unwrap();
    assert_eq!(
        (&*joined.node, &*joined.pool),
        ("worker-94-57-a5-00-00-01", "workers")
    );
    // Nothing more is done to it.
    let calls = bench.api.world().calls.len();
    bench.round().await;
    assert_eq!(bench.api.world().calls.len(), calls);
}

#[tokio::test]
async fn a_machine_without_a_chassis_waits_for_a_person() {
    let bench = Bench::new().await;
    bench.declare(ADOPTED);
    bench.round().await;
    let told = bench.farm.learned("db-1").unwrap().status.conditions;
    let told = moving(&told).unwrap();
    assert_eq!(told.reason, "RestartByHand");
    assert!(
        told.message.contains("ssh 94-57-a5-00-00-01 reboot"),
        "{told:?}"
    );
    assert_eq!(bench.nodes(), [STRAY]);

    bench.restarts("db-1");
    bench.round().await;
    assert!(bench.nodes().is_empty());
    bench.joins("db-1");
    bench.round().await;
    bench.round().await;
    assert_eq!(bench.reason("db-1"), None);
}

/// The same name in another cluster: the Node goes in the one, and what the other
/// has stays.
#[tokio::test]
async fn a_pool_of_another_cluster_has_the_machine_join_there() {
    const ELSEWHERE: &str = r#"
apiVersion: moonfarm.dev/v1alpha1
kind: Cluster
metadata: {name: other}
spec: {endpoint: "10.0.0.2:6443", caCertHashes: ["sha256:0000000000000000000000000000000000000000000000000000000000000000"], kubeconfigFile: other/admin.conf}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: elsewhere}
spec: {image: debian, cluster: other}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: 94-57-a5-00-00-01}
spec: {macs: ["94:57:a5:00:00:01"], pool: elsewhere}
"#;
    let bench = Bench::new().await;
    let other = FakeApi::start().await;
    let folder = bench.dir.path().join("manifests/other");
    fs::create_dir(&folder).unwrap();
    other.cluster(&folder);
    other.put_node(STRAY, false, UUID);
    bench.declare(ELSEWHERE);
    bench.round().await;
    assert_eq!(bench.reason(STRAY).as_deref(), Some("RestartByHand"));
    assert_eq!(
        bench.api.world().nodes[STRAY]["spec"]["unschedulable"],
        true
    );
    bench.restarts(STRAY);
    bench.round().await;
    assert!(bench.nodes().is_empty());
    assert_eq!(other.world().calls, Vec::<String>::new());

    let assignment = bench.farm.inventory().assignment_of(STRAY).unwrap();
    assert_eq!(assignment.cluster.unwrap().name(), "other");
    bench.joins(STRAY);
    bench.round().await;
    assert_eq!(bench.reason(STRAY), None);
    let joined = bench.membership(STRAY).joined.unwrap();
    assert_eq!((&*joined.cluster, &*joined.node), ("other", STRAY));
    assert!(other.world().nodes.contains_key(STRAY));
}

#[tokio::test]
async fn a_change_that_is_taken_back_lets_pods_onto_the_node_again() {
    let bench = Bench::new().await;
    bench.api.put_pod("db", STRAY);
    bench.api.world().kept.push("db".into());
    let same_name = ADOPTED.replace("db-1", STRAY);
    bench.declare(&same_name);
    bench.round().await;
    assert_eq!(
        bench.api.world().nodes[STRAY]["spec"]["unschedulable"],
        true
    );
    bench.declare("");
    bench.round().await;
    let node = bench.api.world().nodes[STRAY].clone();
    assert!(node["spec"]["unschedulable"].is_null(), "{node}");
    assert_eq!(bench.reason(STRAY), None);
    assert_eq!(bench.membership(STRAY).joined.unwrap().pool, "newcomers");
}

#[tokio::test]
async fn what_changes_for_a_whole_pool_waits_for_the_next_boot() {
    let bench = Bench::new().await;
    let renamed = FARM.replace("catchAll: true", "catchAll: true, hostname: 'n-{mac}'");
    fs::write(bench.dir.path().join("manifests/farm.yaml"), renamed).unwrap();
    bench.farm.reload().unwrap();
    bench.round().await;
    assert_eq!(bench.reason(STRAY), None);
    // The next boot brings it, and its old Node goes.
    bench.restarts(STRAY);
    bench.round().await;
    assert!(bench.nodes().is_empty());
    assert_eq!(bench.membership(STRAY), Membership::default());
}

#[tokio::test]
async fn another_machines_node_of_that_name_stays() {
    let bench = Bench::new().await;
    bench
        .api
        .put_node(STRAY, true, "41393736-3935-584d-5137-343630314d58");
    bench.declare(ADOPTED);
    bench.round().await;
    assert_eq!(bench.reason("db-1").as_deref(), Some("RestartByHand"));
    bench.restarts("db-1");
    bench.round().await;
    assert_eq!(bench.nodes(), [STRAY]);
    assert!(bench.membership("db-1").left.is_empty());
}

#[tokio::test]
async fn a_cluster_that_is_away_holds_the_move_up_and_is_told() {
    let bench = Bench::new().await;
    bench.api.world().is_away = true;
    bench.declare(ADOPTED);
    bench.round().await;
    let told = bench.farm.learned("db-1").unwrap().status.conditions;
    let told = moving(&told).unwrap();
    assert_eq!(told.reason, "ClusterRefuses");
    assert!(told.message.contains("cluster farm"), "{told:?}");
    // Restarted all the same: what is left is removed when the cluster is back.
    bench.restarts("db-1");
    bench.round().await;
    assert_eq!(bench.reason("db-1").as_deref(), Some("Removing"));
    bench.api.world().is_away = false;
    bench.round().await;
    assert!(bench.nodes().is_empty());
}

mod plan_alone {
    use super::super::plan::{Situation, Step, Target, next, restarted};
    use super::*;

    fn joined() -> JoinedNode {
        JoinedNode {
            cluster: "farm".into(),
            node: "a".into(),
            pool: "old".into(),
            machine: "a".into(),
        }
    }

    fn target() -> Target {
        Target {
            pool: Some("new".into()),
            cluster: Some("farm".into()),
            node: "b".into(),
            is_explicit: true,
        }
    }

    #[test]
    fn many_moves_wait_for_each_other() {
        let (membership, target) = (
            Membership {
                joined: Some(joined()),
                ..Membership::default()
            },
            target(),
        );
        let mut situation = Situation {
            membership: &membership,
            target: &target,
            is_told: false,
            is_moving: false,
            has_room: false,
            is_managed: true,
            power: ObservedPower::On,
            desired: None,
        };
        assert!(matches!(next(&situation), Step::Tell(words) if words.reason == plan::QUEUED));
        situation.has_room = true;
        assert_eq!(next(&situation), Step::Drain(joined()));
        // What is off runs no pods.
        situation.power = ObservedPower::Off;
        assert!(matches!(next(&situation), Step::Become(after, _) if after.left == [joined()]));
        situation.desired = Some(DesiredPower::Off);
        assert!(
            matches!(next(&situation), Step::Become(after, _) if after.ordered_power.is_none())
        );
    }

    #[test]
    fn a_restart_under_the_same_name_leaves_nothing_to_remove() {
        let membership = Membership {
            joined: Some(joined()),
            ..Membership::default()
        };
        let same = Target {
            node: "a".into(),
            ..target()
        };
        assert_eq!(restarted(&membership, &same), Membership::default());
        let unchanged = Target {
            pool: Some("old".into()),
            ..same
        };
        assert_eq!(restarted(&membership, &unchanged), membership);
        let other = restarted(&membership, &target());
        assert_eq!(other.left, [joined()]);
    }
}
