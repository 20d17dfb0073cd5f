//! The serial console of a machine on the terminal, or in a pipe.

use std::io::{IsTerminal as _, Read as _, Write};
use std::thread;

use anyhow::{Context as _, anyhow};
use nix::sys::termios::{self, SetArg, Termios};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::drivers::{ChassisDriver, Console, DriverError, Slot};

/// Why a console was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The keys for it were typed.
    ByKeys,
    /// A signal asked for it.
    BySignal,
    /// Nobody reads what is printed any more.
    ByReader,
    /// The device ended the connection: somebody else acquired the console, or
    /// the machine's port is gone.
    ByDevice,
}

/// Connects standard input and output with a console until it is left.
///
/// # Errors
/// When the device has no such console, somebody else uses it, or the
/// connection breaks.
pub(super) async fn use_terminal(
    driver: &mut dyn ChassisDriver,
    slot: &Slot,
    acquire: bool,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let mut console = connect(driver, slot, acquire).await?;
    eprintln!(
        "connected with the console of {slot}; {} leaves it",
        console.leave_keys().1
    );
    // Signals first: from here on Ctrl-C must not leave the console taken.
    let mut signals = Signals::new()?;
    let raw = RawTerminal::set()?;
    let left = tokio::select! {
        left = talk(console.as_mut(), standard_input(), out) => left?,
        () = signals.any() => Left::BySignal,
    };
    if left != Left::ByDevice {
        console.leave(left == Left::ByKeys).await?;
    }
    drop(raw);
    if left == Left::ByDevice {
        return Err(anyhow!(
            "the console of {slot} was closed by the device; somebody else may have acquired it"
        ));
    }
    Ok(())
}

/// Connects with a console.
///
/// # Errors
/// As the driver does; a console that is in use is said how to get.
pub async fn connect(
    driver: &mut dyn ChassisDriver,
    slot: &Slot,
    acquire: bool,
) -> anyhow::Result<Box<dyn Console>> {
    let profile = driver.profile().to_owned();
    let consoles = driver.consoles().ok_or_else(|| DriverError::Impossible {
        what: "console".into(),
        profile,
        possible: "no console".into(),
    })?;
    match consoles.console(slot, acquire).await {
        Err(error @ DriverError::Busy { .. }) if !acquire => Err(error).with_context(|| {
            format!("the console of {slot} seems to be in use; --acquire takes it over")
        }),
        outcome => Ok(outcome?),
    }
}

/// Carries bytes both ways until the console is left. The end of the input
/// leaves nothing: what the machine prints goes on.
///
/// # Errors
/// When the connection breaks.
pub async fn talk(
    console: &mut dyn Console,
    mut input: mpsc::Receiver<Vec<u8>>,
    out: &mut (dyn Write + Send),
) -> Result<Left, DriverError> {
    let mut keys = Keys::new(console.leave_keys().0);
    let mut has_input = true;
    loop {
        tokio::select! {
            read = console.read() => {
                let Some(printed) = read? else {
                    return Ok(Left::ByDevice);
                };
                if out.write_all(&printed).and_then(|()| out.flush()).is_err() {
                    return Ok(Left::ByReader);
                }
            }
            typed = input.recv(), if has_input => {
                let Some(typed) = typed else {
                    has_input = false;
                    continue;
                };
                let (through, leaves) = keys.take(&typed);
                console.write(through).await?;
                if leaves {
                    return Ok(Left::ByKeys);
                }
            }
        }
    }
}

/// Looks for the keys that leave in what is typed, also across reads. They go
/// to the device like all others: it is the device that leaves.
struct Keys {
    leave: Vec<u8>,
    last: Vec<u8>,
}

impl Keys {
    fn new(leave: &[u8]) -> Self {
        Self {
            leave: leave.to_owned(),
            last: Vec::new(),
        }
    }

    /// What goes to the device, and whether it leaves then.
    fn take<'a>(&mut self, typed: &'a [u8]) -> (&'a [u8], bool) {
        for (index, byte) in typed.iter().enumerate() {
            self.last.push(*byte);
            if self.last.len() > self.leave.len() {
                self.last.remove(0);
            }
            if self.last == self.leave {
                return (typed.get(..=index).unwrap_or(typed), true);
            }
        }
        (typed, false)
    }
}

/// Standard input, read on a thread of its own: a read cannot be called off.
fn standard_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut input = std::io::stdin().lock();
        while let Ok(count @ 1..) = input.read(&mut buffer) {
            let typed = buffer.get(..count).unwrap_or_default().to_vec();
            if sender.blocking_send(typed).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The terminal without echo and line editing, as it was again when dropped.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn set() -> anyhow::Result<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(Self(None));
        }
        let before = termios::tcgetattr(&input).context("reading the terminal's settings")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&input, SetArg::TCSANOW, &raw).context("setting the terminal up")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // An error means that the terminal is gone.
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
            eprintln!();
        }
    }
}

/// The signals that end a program.
struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("waiting for signals");
        Ok(Self([
            on(SignalKind::terminate())?,
            on(SignalKind::interrupt())?,
            on(SignalKind::hangup())?,
        ]))
    }

    async fn any(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_leave_are_found_across_reads_and_sent_on() {
        let mut keys = Keys::new(b"\x1b(");
        assert_eq!(keys.take(b"a\x1b[A("), (&b"a\x1b[A("[..], false));
        assert_eq!(keys.take(b"\x1b"), (&b"\x1b"[..], false));
        assert_eq!(keys.take(b"(rest"), (&b"("[..], true));
    }
}
