//! Ctrl-C and its like: the demo is asked to stop and cleans up itself.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};

/// Whether the demo was asked to stop.
#[derive(Debug)]
pub struct Stop {
    asked: Mutex<State>,
}

#[derive(Debug)]
struct State {
    signals: Receiver<()>,
    is_asked: bool,
}

impl Stop {
    /// Takes SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    /// When the signals cannot be taken.
    pub fn on_signals() -> io::Result<Self> {
        let (sender, signals) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut interrupt, mut terminate, mut hang_up) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            )
        };
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    loop {
                        tokio::select! {
                            _ = interrupt.recv() => {}
                            _ = terminate.recv() => {}
                            _ = hang_up.recv() => {}
                        }
                        if sender.send(()).is_err() {
                            return;
                        }
                    }
                });
            })?;
        Ok(Self {
            asked: Mutex::new(State {
                signals,
                is_asked: false,
            }),
        })
    }

    /// Whether a signal has come.
    pub fn is_asked(&self) -> bool {
        let mut state = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if state.signals.try_recv().is_ok() {
            state.is_asked = true;
        }
        state.is_asked
    }

    /// Waits for a signal.
    pub fn wait(&self) {
        let mut state = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_asked {
            let _ = state.signals.recv();
            state.is_asked = true;
        }
    }
}
