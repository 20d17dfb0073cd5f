//! `chassis-agent run` beside a fake boot-server, for any device.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::api::{ChassisInventory, PowerOrder, PowerOrders, ReportedCondition};
use boot_proto::resources::{DesiredPower, ObservedPower};
use boot_proto::slot::Slot;
use chassis_agent::agent;
use chassis_agent::profiles::Profiles;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The token of boot-server's management face.
const TOKEN: &str = "0123456789abcdef";

/// What the fake boot-server has heard and what it answers.
#[derive(Default)]
pub struct Desk {
    /// Reports so far, with the chassis they are of.
    pub heard: Vec<(String, ChassisInventory)>,
    /// What is wanted.
    pub orders: Vec<PowerOrder>,
    /// Whether it answers nobody.
    pub is_away: bool,
    /// Milliseconds since a machine asked for a network boot; `None` leaves the
    /// agent without that knowledge.
    pub asked: Option<Asked>,
}

/// Tells how long ago a machine asked for a network boot.
pub type Asked = Arc<dyn Fn(&Slot) -> Option<u64> + Send + Sync>;

/// A boot-server that takes inventories and gives orders.
#[derive(Clone)]
pub struct FakeBootServer {
    pub desk: watch::Sender<Desk>,
    pub url: String,
}

impl FakeBootServer {
    pub async fn start() -> Self {
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
                orders: self.wanted(),
            };
            ("200 OK", serde_json::to_string(&orders).unwrap())
        };
        let length = answer.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
        );
        stream.write_all(answer.as_bytes()).await.ok()
    }

    fn wanted(&self) -> Vec<PowerOrder> {
        let (mut orders, asked) = {
            let desk = self.desk.borrow();
            (desk.orders.clone(), desk.asked.clone())
        };
        if let Some(asked) = asked {
            for order in &mut orders {
                order.is_watched = true;
                order.asked_ms_ago = asked(&order.slot);
            }
        }
        orders
    }

    /// Waits until something was heard from now on that fits.
    pub async fn hears(
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

    /// Wants this of the machines of chassis `m1`.
    pub fn orders(&self, wishes: &[(&str, DesiredPower)]) {
        let orders = wishes
            .iter()
            .map(|(at, power)| PowerOrder {
                machine: format!("m1-{at}"),
                slot: at.parse().unwrap(),
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
pub struct Agent {
    pub folder: tempfile::TempDir,
    stop: watch::Sender<bool>,
    pub task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Agent {
    /// With profiles made by `profiles` out of an empty folder.
    pub fn start(
        server: &FakeBootServer,
        manifests: &[(&str, &str)],
        password: &str,
        profiles: impl FnOnce(&std::path::Path) -> Profiles,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        std::fs::create_dir(path("manifests")).unwrap();
        std::fs::create_dir(path("profiles")).unwrap();
        std::fs::write(path("token"), TOKEN).unwrap();
        std::fs::write(path("manifests/password"), password).unwrap();
        for (name, text) in manifests {
            std::fs::write(path("manifests").join(name), text).unwrap();
        }
        let mut options = agent::Options::new(
            path("manifests"),
            server.url.clone(),
            path("token"),
            path("state"),
            profiles(&path("profiles")),
        );
        options.network_boot_wait = Duration::from_secs(2);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let result = agent::run(options, stopped).await;
            println!("the agent ended: {result:?}");
            result
        });
        Self { folder, stop, task }
    }

    pub async fn stop(self) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        ended.expect("the agent did not stop").unwrap().unwrap();
    }
}

/// Power that a report tells of a machine.
pub fn power_of(inventory: &ChassisInventory, at: &str) -> Option<ObservedPower> {
    inventory
        .machines
        .iter()
        .find(|machine| machine.slot == at)
        .map(|machine| machine.power)
}

/// A condition that a report tells, of a machine or of the device itself.
pub fn condition_of<'a>(
    inventory: &'a ChassisInventory,
    slot: Option<&str>,
    about: &str,
) -> Option<&'a ReportedCondition> {
    let mut all = inventory.conditions.iter();
    all.find(|one| one.slot.as_deref() == slot && one.r#type == about)
}
