//! `chassis-agent run` against a virtual chassis and a fake boot-server.

use std::path::PathBuf;
use std::time::Duration;

use boot_proto::api::{ChassisInventory, PowerOrder, PowerOrders};
use boot_proto::resources::{DesiredPower, ObservedPower};
use chassis_agent::agent;
use moonfarm_tests::chassis::{BootOnce, Fault, InertNode, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

const TOKEN: &str = "0123456789abcdef";

/// What the fake boot-server has heard and what it answers.
#[derive(Default)]
struct Desk {
    heard: Vec<(String, ChassisInventory)>,
    orders: Vec<PowerOrder>,
    is_away: bool,
}

/// A boot-server that takes inventories and gives orders.
#[derive(Clone)]
struct FakeBootServer {
    desk: watch::Sender<Desk>,
    url: String,
}

impl FakeBootServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self {
            desk: watch::Sender::new(Desk::default()),
            url,
        };
        let own = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                tokio::spawn(async move { own.serve(stream).await });
            }
        });
        server
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut request = Vec::new();
        let (head, body) = loop {
            let mut buffer = [0; 4096];
            let count = stream
                .read(&mut buffer)
                .await
                .ok()
                .filter(|count| *count > 0)?;
            request.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let head = head.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))?;
            if body.len() >= length.trim().parse().ok()? {
                break (head, body.to_owned());
            }
        };
        let path = head.split(' ').nth(1)?.to_owned();
        let name = path
            .strip_prefix("/api/v1/chassis/")?
            .strip_suffix("/inventory")?
            .to_owned();
        let (status, answer) = if !head.contains(&format!("authorization: bearer {TOKEN}")) {
            (
                "401 Unauthorized",
                r#"{"error":"no such token"}"#.to_owned(),
            )
        } else if self.desk.borrow().is_away {
            ("503 Service Unavailable", "starting".to_owned())
        } else {
            let inventory = serde_json::from_str(&body).unwrap();
            self.desk
                .send_modify(|desk| desk.heard.push((name, inventory)));
            let orders = PowerOrders {
                orders: self.desk.borrow().orders.clone(),
            };
            ("200 OK", serde_json::to_string(&orders).unwrap())
        };
        let length = answer.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
        );
        stream.write_all(answer.as_bytes()).await.ok()
    }

    /// Waits until something was heard from now on that fits.
    async fn hears(
        &self,
        what: &str,
        fits: impl Fn(&str, &ChassisInventory) -> bool,
    ) -> ChassisInventory {
        let from = self.desk.borrow().heard.len();
        let find = |desk: &Desk| {
            desk.heard
                .iter()
                .skip(from)
                .find(|(name, heard)| fits(name, heard))
                .cloned()
        };
        let mut desk = self.desk.subscribe();
        let heard = tokio::time::timeout(
            Duration::from_secs(30),
            desk.wait_for(|desk| find(desk).is_some()),
        );
        let found = heard.await.map(|desk| find(&desk.unwrap()).unwrap().1);
        found.unwrap_or_else(|_| {
            panic!(
                "{what} was not heard: {:#?}",
                self.desk.borrow().heard.last()
            )
        })
    }

    fn orders(&self, wishes: &[(&str, DesiredPower)]) {
        let orders = wishes
            .iter()
            .map(|(at, power)| PowerOrder {
                machine: format!("m1-{at}"),
                slot: slot(at).into(),
                power: *power,
                network_boot: true,
                is_watched: false,
                asked_ms_ago: None,
            })
            .collect();
        self.desk.send_modify(|desk| desk.orders = orders);
    }
}

/// An agent that runs until it is told to stop.
struct Agent {
    folder: tempfile::TempDir,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Agent {
    fn start(server: &FakeBootServer, manifests: &[(&str, &str)], password: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        std::fs::create_dir(path("manifests")).unwrap();
        std::fs::create_dir(path("profiles")).unwrap();
        std::fs::write(path("token"), TOKEN).unwrap();
        std::fs::write(path("manifests/password"), password).unwrap();
        for (name, text) in manifests {
            std::fs::write(path("manifests").join(name), text).unwrap();
        }
        let options = agent::Options::new(
            path("manifests"),
            server.url.clone(),
            path("token"),
            path("state"),
            impatient(&path("profiles")),
        );
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let result = agent::run(options, stopped).await;
            println!("the agent ended: {result:?}");
            result
        });
        Self { folder, stop, task }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        ended.expect("the agent did not stop").unwrap().unwrap();
    }
}

fn manifest(name: &str, chassis: &VirtualChassis) -> String {
    format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Chassis\nmetadata:\n  name: {name}\nspec:\n  \
         address: {}\n  profile: auto\n  credentials:\n    username: Administrator\n    \
         passwordFile: password\n  scanInterval: 1h\n  powerInterval: 5s\n",
        chassis.address()
    )
}

fn power_of(inventory: &ChassisInventory, at: &str) -> Option<ObservedPower> {
    inventory
        .machines
        .iter()
        .find(|machine| machine.slot == at)
        .map(|machine| machine.power)
}

#[tokio::test]
async fn machines_are_registered_and_switched_as_wanted() {
    let node = Arc::new(InertNode::new(false));
    let model = model().with(
        20,
        Cartridge::new("m510").node(Node::new(Arc::clone(&node) as Arc<_>).macs([mac(20, 1, 1)])),
    );
    let chassis = start(Options {
        model,
        ..Options::default()
    });
    let server = FakeBootServer::start().await;
    server.orders(&[("c20n1", DesiredPower::On), ("c33n1", DesiredPower::On)]);
    let agent = Agent::start(&server, &[("m1.yaml", &manifest("m1", &chassis))], PASSWORD);
    let first = server
        .hears("the first scan", |name, heard| {
            name == "m1" && heard.reachable
        })
        .await;
    assert!(first.complete);
    assert_eq!(first.machines.len(), 9);
    assert_eq!(first.machines[0].macs.len(), 2);
    let on =
        |_: &str, heard: &ChassisInventory| power_of(heard, "c20n1") == Some(ObservedPower::On);
    let later = server.hears("c20n1 on", on).await;
    assert!(!later.complete, "the inventory is read rarely, power often");
    assert_eq!(node.boots(), [Some(BootOnce::Pxe)]);
    server.orders(&[("c20n1", DesiredPower::Off)]);
    let off =
        |_: &str, heard: &ChassisInventory| power_of(heard, "c20n1") == Some(ObservedPower::Off);
    server.hears("c20n1 off", off).await;
    assert!(
        chassis
            .commands()
            .contains(&"set node power off c20n1".to_owned())
    );
    agent.stop().await;
    assert_eq!(chassis.connections(), 1);
    let orders = chassis
        .commands()
        .iter()
        .filter(|command| command.starts_with("set"))
        .count();
    assert_eq!(orders, 3, "{:?}", chassis.commands());
}

#[tokio::test]
async fn without_boot_server_the_chassis_is_watched_and_nothing_ordered() {
    let chassis = chassis();
    let server = FakeBootServer::start().await;
    server.orders(&[("c11n1", DesiredPower::On)]);
    server.desk.send_modify(|desk| desk.is_away = true);
    let agent = Agent::start(&server, &[("m1.yaml", &manifest("m1", &chassis))], PASSWORD);
    let looks = || {
        chassis
            .commands()
            .iter()
            .filter(|command| *command == "show node list")
            .count()
    };
    let watched = async {
        while looks() < 2 {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), watched)
        .await
        .unwrap();
    assert!(
        !chassis
            .commands()
            .iter()
            .any(|command| command.starts_with("set"))
    );
    server.desk.send_modify(|desk| desk.is_away = false);
    let first = server.hears("the scan", |_, heard| heard.reachable).await;
    assert!(
        first.complete,
        "the scan is told when boot-server listens again"
    );
    let scans = chassis
        .commands()
        .iter()
        .filter(|c| c.starts_with("show node macaddr"))
        .count();
    assert_eq!(scans, 1, "boot-server being away costs the chassis nothing");
    let on =
        |_: &str, heard: &ChassisInventory| power_of(heard, "c11n1") == Some(ObservedPower::On);
    server.hears("c11n1 on", on).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_chassis_that_cannot_be_read_is_told_and_harms_no_other() {
    let (bad, good) = (chassis(), chassis());
    bad.faults().set([Fault::RefuseLogin]);
    let server = FakeBootServer::start().await;
    server.orders(&[("c11n1", DesiredPower::On)]);
    let (one, two) = (manifest("bad", &bad), manifest("good", &good));
    let both = format!("{one}---\n{two}");
    let agent = Agent::start(&server, &[("both.yaml", &both)], PASSWORD);
    let told = server
        .hears("the refusal", |name, heard| {
            name == "bad" && !heard.reachable
        })
        .await;
    assert!(
        told.message.contains("refused the login"),
        "{}",
        told.message
    );
    assert!(told.machines.is_empty() && !told.message.contains(PASSWORD));
    let on = |name: &str, heard: &ChassisInventory| {
        name == "good" && power_of(heard, "c11n1") == Some(ObservedPower::On)
    };
    server.hears("the other one", on).await;
    assert!(bad.commands().is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn a_device_that_does_not_obey_is_complained_about() {
    let chassis = chassis();
    chassis.faults().set([Fault::IgnorePower]);
    let server = FakeBootServer::start().await;
    server.orders(&[("c11n1", DesiredPower::On)]);
    let agent = Agent::start(&server, &[("m1.yaml", &manifest("m1", &chassis))], PASSWORD);
    let told = server
        .hears("the complaint", |_, heard| !heard.message.is_empty())
        .await;
    assert!(
        told.reachable && told.message.contains("c11n1 did not obey power on"),
        "{}",
        told.message
    );
    agent.stop().await;
}

#[tokio::test]
async fn an_unclear_answer_keeps_no_machine_off_and_a_refusal_does() {
    for (answer, is_on) in [
        ("\r\nNetwork next time.\r\n", true),
        ("\r\nError\r\n", false),
    ] {
        let chassis = chassis();
        let fault = Fault::Answer("set node bootonce".into(), answer.into());
        chassis.faults().set([fault]);
        let server = FakeBootServer::start().await;
        server.orders(&[("c11n1", DesiredPower::On)]);
        let agent = Agent::start(&server, &[("m1.yaml", &manifest("m1", &chassis))], PASSWORD);
        let told = server
            .hears("the complaint", |_, heard| !heard.message.is_empty())
            .await;
        assert!(
            told.message.contains("c11n1: boot-once pxe") && told.message.contains(answer.trim()),
            "{}",
            told.message
        );
        let shown = if is_on {
            ObservedPower::On
        } else {
            ObservedPower::Off
        };
        assert_eq!(power_of(&told, "c11n1"), Some(shown), "{answer:?}");
        let begins = |prefix: &str| {
            let commands = chassis.commands();
            commands.iter().filter(|c| c.starts_with(prefix)).count()
        };
        assert_eq!(
            begins("set node bootonce pxe c11n1"),
            if is_on { 3 } else { 1 }
        );
        assert_eq!(begins("set node power on c11n1"), usize::from(is_on));
        agent.stop().await;
    }
}

#[tokio::test]
async fn changed_manifests_are_followed_and_wrong_ones_are_not() {
    let (one, two) = (chassis(), chassis());
    let server = FakeBootServer::start().await;
    let agent = Agent::start(&server, &[("m1.yaml", &manifest("m1", &one))], PASSWORD);
    server
        .hears("m1", |name, heard| name == "m1" && heard.reachable)
        .await;
    let file = agent.folder.path().join("manifests/m1.yaml");
    std::fs::write(&file, "kind: Nonsense\n").unwrap();
    server
        .hears("m1 still", |name, heard| name == "m1" && heard.reachable)
        .await;
    std::fs::write(&file, manifest("m2", &two)).unwrap();
    server
        .hears("m2", |name, heard| name == "m2" && heard.complete)
        .await;
    agent.stop().await;
    assert_eq!(server.desk.borrow().heard.last().unwrap().0, "m2");
}

#[tokio::test]
async fn an_agent_that_cannot_begin_says_why() {
    let server = FakeBootServer::start().await;
    let agent = Agent::start(&server, &[("m1.yaml", "kind: Nonsense\n")], PASSWORD);
    let error = agent.task.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("m1.yaml:1"), "{error}");
}
