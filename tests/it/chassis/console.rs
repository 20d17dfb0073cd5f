//! The serial console of the virtual chassis, as a person uses it.

use std::sync::Arc;
use std::time::Duration;

use chassis_agent::cli::console::{Left, connect as connect_console, talk};
use chassis_agent::drivers::Slot;
use moonfarm_tests::chassis::{Console, InertNode, Options};
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelMsg};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A client that takes any host key.
pub(super) struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;
    async fn check_server_key(
        &mut self,
        _key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Connects and logs in.
pub(super) async fn connect(chassis: &VirtualChassis) -> client::Handle<Trusting> {
    let config = Arc::new(client::Config::default());
    let mut connection = client::connect(config, chassis.address(), Trusting)
        .await
        .unwrap();
    assert!(
        connection
            .authenticate_password("Administrator", PASSWORD)
            .await
            .unwrap()
            .success()
    );
    connection
}

/// A person at a terminal.
struct Person {
    _connection: client::Handle<Trusting>,
    channel: Channel<client::Msg>,
    seen: String,
}

impl Person {
    async fn log_in(chassis: &VirtualChassis) -> Self {
        let connection = connect(chassis).await;
        let channel = connection.channel_open_session().await.unwrap();
        channel
            .request_pty(false, "vt100", 80, 25, 0, 0, &[])
            .await
            .unwrap();
        channel.request_shell(false).await.unwrap();
        let mut person = Self {
            _connection: connection,
            channel,
            seen: String::new(),
        };
        person.waits_for("hpiLO-> ").await;
        person
    }

    async fn types(&mut self, text: &str) {
        self.channel.data(text.as_bytes()).await.unwrap();
    }

    /// Reads until `text` was printed, and forgets everything up to its end.
    async fn waits_for(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let next = tokio::time::timeout(Duration::from_secs(10), self.channel.wait());
            match next.await {
                Ok(Some(ChannelMsg::Data { data })) => {
                    self.seen.push_str(&String::from_utf8_lossy(&data));
                }
                Ok(Some(_)) => {}
                other => panic!("{text:?} did not come ({other:?}) after {:?}", self.seen),
            }
        }
    }
}

/// A chassis whose c2n1 has a console that answers in capitals.
fn with_console(folder: &Path) -> VirtualChassis {
    let path = folder.join("console");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 256];
                stream.write_all(b"login: ").await.unwrap();
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    let typed = buffer[..count].to_ascii_uppercase();
                    if stream.write_all(&typed).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let node = InertNode::new(true).with_console(Console::UnixSocket(path));
    let log = folder.join("console.log");
    std::fs::write(&log, "Starting kernel\r\n").unwrap();
    let silent = InertNode::new(true).with_console(Console::Log(log));
    let cartridge = |node| Cartridge::new("m510").node(Node::new(Arc::new(node)));
    let model = ChassisModel::new()
        .with(2, cartridge(node))
        .with(4, cartridge(silent));
    start(Options {
        model,
        ..Options::default()
    })
}

#[tokio::test]
async fn a_person_uses_the_serial_console_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let chassis = with_console(folder.path());
    let mut person = Person::log_in(&chassis).await;
    person.types("show firmware\r").await;
    person
        .waits_for("show firmware\r\r\nInvalid command\r\n")
        .await;
    person.types("connect node vsp c2n1\r").await;
    person.waits_for("Virtual Serial Port Active: COM2").await;
    person.waits_for("login: ").await;
    person.types("root").await;
    person.waits_for("ROOT").await;
    person.types("\x1b(").await;
    person.waits_for("hpiLO-> ").await;
    person.types("connect node vsp c4n1\r").await;
    person.waits_for("Starting kernel").await;
    let mut log = std::fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join("console.log"))
        .unwrap();
    std::io::Write::write_all(&mut log, b"Freeing unused memory\r\n").unwrap();
    person.waits_for("Freeing unused memory").await;
    person.types("\x1b(").await;
    person.waits_for("hpiLO-> ").await;
}

#[tokio::test]
async fn a_console_is_for_one_person_until_another_acquires_it() {
    let folder = tempfile::tempdir().unwrap();
    let chassis = with_console(folder.path());
    let (mut one, mut two) = (
        Person::log_in(&chassis).await,
        Person::log_in(&chassis).await,
    );
    one.types("connect node vsp c2n1\r").await;
    one.waits_for("login: ").await;
    two.types("connect node vsp c2n1\r").await;
    two.waits_for("in use").await;
    two.waits_for("hpiLO-> ").await;
    two.types("connect node vsp acquire c2n1\r").await;
    two.waits_for("login: ").await;
    one.waits_for("hpiLO-> ").await;
}

/// What was printed, for a test to wait on.
#[derive(Clone)]
struct Screen(tokio::sync::watch::Sender<String>);

impl std::io::Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.0.send_modify(|screen| screen.push_str(&text));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Screen {
    async fn shows(&self, text: &str) {
        let mut screen = self.0.subscribe();
        let shown = screen.wait_for(|screen| screen.contains(text));
        let shown = tokio::time::timeout(Duration::from_secs(10), shown).await;
        assert!(shown.is_ok(), "{text:?} is not in {:?}", *self.0.borrow());
    }
}

/// A console in use by the command's own loop.
struct Using {
    screen: Screen,
    keyboard: tokio::sync::mpsc::Sender<Vec<u8>>,
    task: tokio::task::JoinHandle<Left>,
}

async fn using(chassis: &VirtualChassis, at: &str, acquire: bool) -> anyhow::Result<Using> {
    let mut driver = driver(chassis).await;
    let at: Slot = at.parse()?;
    let mut console = connect_console(driver.as_mut(), &at, acquire).await?;
    let screen = Screen(tokio::sync::watch::Sender::new(String::new()));
    let (keyboard, input) = tokio::sync::mpsc::channel(1);
    let mut out = screen.clone();
    let task = tokio::spawn(async move {
        let left = talk(console.as_mut(), input, &mut out).await.unwrap();
        if left != Left::ByDevice {
            console.leave(left == Left::ByKeys).await.unwrap();
        }
        let _ = driver.close().await;
        left
    });
    Ok(Using {
        screen,
        keyboard,
        task,
    })
}

#[tokio::test]
async fn the_command_connects_types_and_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let chassis = with_console(folder.path());
    for _ in 0..2 {
        let console = using(&chassis, "c2n1", false).await.unwrap();
        console.screen.shows("login: ").await;
        console.keyboard.send(b"root".to_vec()).await.unwrap();
        console.screen.shows("ROOT").await;
        console.keyboard.send(b"\x1b".to_vec()).await.unwrap();
        console.keyboard.send(b"(".to_vec()).await.unwrap();
        assert_eq!(console.task.await.unwrap(), Left::ByKeys);
        let screen = console.screen.0.borrow().clone();
        assert!(!screen.contains("hpiLO->"), "{screen:?}");
    }
}

#[tokio::test]
async fn a_console_in_use_names_the_option_and_is_acquired() {
    let folder = tempfile::tempdir().unwrap();
    let chassis = with_console(folder.path());
    let first = using(&chassis, "c2n1", false).await.unwrap();
    first.screen.shows("login: ").await;
    let error = using(&chassis, "c2n1", false).await.err().unwrap();
    let text = format!("{error:#}");
    assert!(
        text.contains("--acquire") && text.contains("in use"),
        "{text}"
    );
    let second = using(&chassis, "c2n1", true).await.unwrap();
    second.screen.shows("login: ").await;
    assert_eq!(first.task.await.unwrap(), Left::ByDevice);
    // The end of the input leaves nothing, the end of the reader does.
    drop(second.keyboard);
    assert!(!second.task.is_finished());
    second.task.abort();
    let error = using(&chassis, "c9n1", false).await.err().unwrap();
    let text = format!("{error:#}");
    assert!(
        text.contains("refused") && !text.contains("--acquire"),
        "{text}"
    );
}
