//! `connect node vsp`: a node's serial console, for one client at a time.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boot_proto::ids::SlotId;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::node::Console;
use super::server::Shared;
use super::terminal::{Gone, Terminal};

const BEGINNING: &str = "\r\nVirtual Serial Port Active: COM2\r\n\r\n\
    Starting virtual serial port.\r\nPress 'ESC (' to return to the CLI Session.\r\n\r\n";

/// Only the meaning is known, not the firmware's words.
const BUSY: &str = "\r\nVirtual Serial Port is in use; use acquire to take it over.\r\n";
const TAKEN: &str = "\r\nVirtual Serial Port was acquired by another session.\r\n";

/// Which consoles are in use, and how to tell their users to leave.
#[derive(Default)]
pub(super) struct Users {
    by_slot: Mutex<BTreeMap<SlotId, Arc<Notify>>>,
}

impl Users {
    /// Takes a console, or returns `None` while somebody else has it. With
    /// `acquire` that one has to leave.
    fn take(&self, slot: SlotId, acquire: bool) -> Option<Arc<Notify>> {
        let mut users = self.by_slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = users.get(&slot) {
            if !acquire {
                return None;
            }
            other.notify_one();
        }
        let own = Arc::new(Notify::new());
        users.insert(slot, Arc::clone(&own));
        Some(own)
    }

    fn leave(&self, slot: SlotId, own: &Arc<Notify>) {
        let mut users = self.by_slot.lock().unwrap_or_else(PoisonError::into_inner);
        if users.get(&slot).is_some_and(|user| Arc::ptr_eq(user, own)) {
            users.remove(&slot);
        }
    }
}

/// Connects the client with the console until it types ESC ( or leaves.
pub(super) async fn connect(
    shared: &Arc<Shared>,
    terminal: &mut Terminal,
    slot: SlotId,
    acquire: bool,
) -> Result<(), Gone> {
    let Some(taken) = shared.console_users.take(slot, acquire) else {
        return terminal.print(BUSY.as_bytes()).await;
    };
    let console = shared
        .model
        .node(slot)
        .and_then(|node| node.power_switch().console());
    let result = match terminal.print(BEGINNING.as_bytes()).await {
        Ok(()) => show(terminal, console, &taken).await,
        Err(gone) => Err(gone),
    };
    shared.console_users.leave(slot, &taken);
    result
}

async fn show(
    terminal: &mut Terminal,
    console: Option<Console>,
    taken: &Notify,
) -> Result<(), Gone> {
    let mut source = match Source::open(console).await {
        Ok(source) => source,
        Err(error) => {
            tracing::warn!(%error, "opening a console");
            Source::Nothing
        }
    };
    let mut escape = Leaving::default();
    let mut buffer = vec![0; 4096];
    loop {
        tokio::select! {
            () = taken.notified() => return terminal.print(TAKEN.as_bytes()).await,
            read = source.read(&mut buffer) => match read {
                Ok(0) | Err(_) => source = Source::Nothing,
                Ok(count) => terminal.output.data_bytes(buffer.get(..count).unwrap_or_default().to_vec())
                    .await.map_err(|_| Gone)?,
            },
            message = terminal.input.wait() => match message {
                Some(russh::ChannelMsg::Data { data }) => {
                    let (typed, leaves) = escape.take(&data);
                    if source.write(&typed).await.is_err() {
                        source = Source::Nothing;
                    }
                    if leaves {
                        return terminal.print(b"\r\n").await;
                    }
                }
                Some(russh::ChannelMsg::Eof | russh::ChannelMsg::Close) | None => return Err(Gone),
                Some(_) => {}
            },
        }
    }
}

/// Where console bytes come from and go to.
enum Source {
    Nothing,
    Socket(UnixStream),
    Log(File),
}

impl Source {
    async fn open(console: Option<Console>) -> io::Result<Self> {
        Ok(match console {
            None => Self::Nothing,
            Some(Console::UnixSocket(path)) => Self::Socket(UnixStream::connect(path).await?),
            Some(Console::Log(path)) => Self::Log(File::open(path).await?),
        })
    }

    /// More bytes; waits for ever where there are none to come.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Socket(socket) => socket.read(buffer).await,
            Self::Log(file) => loop {
                match file.read(buffer).await? {
                    // The end of the file so far; the machine may write more.
                    0 => tokio::time::sleep(Duration::from_millis(100)).await,
                    count => return Ok(count),
                }
            },
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.write_all(bytes).await,
            Self::Nothing | Self::Log(_) => Ok(()),
        }
    }
}

/// Looks for ESC ( in what is typed, also across packets.
#[derive(Default)]
struct Leaving {
    has_escape: bool,
}

impl Leaving {
    /// What goes to the node, and whether the client leaves.
    fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut through = Vec::with_capacity(typed.len());
        for byte in typed {
            if std::mem::take(&mut self.has_escape) {
                if *byte == b'(' {
                    return (through, true);
                }
                through.push(0x1b);
            }
            if *byte == 0x1b {
                self.has_escape = true;
            } else {
                through.push(*byte);
            }
        }
        (through, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_and_parenthesis_leave_also_in_two_packets() {
        let mut leaving = Leaving::default();
        assert_eq!(leaving.take(b"ab\x1b[A"), (b"ab\x1b[A".to_vec(), false));
        assert_eq!(leaving.take(b"c\x1b"), (b"c".to_vec(), false));
        assert_eq!(leaving.take(b"("), (Vec::new(), true));
    }

    #[test]
    fn a_console_has_one_user_until_another_acquires_it() {
        let users = Users::default();
        let slot: SlotId = "c1n1".parse().unwrap();
        let first = users.take(slot, false).unwrap();
        assert!(users.take(slot, false).is_none());
        let second = users.take(slot, true).unwrap();
        users.leave(slot, &first);
        assert!(users.take(slot, false).is_none());
        users.leave(slot, &second);
        assert!(users.take(slot, false).is_some());
    }
}
