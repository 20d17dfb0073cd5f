//! One thread that starts all child processes and lives as long as we do.
//!
//! Children ask the kernel for a signal when their parent dies, so that a lab
//! killed with `-9` leaves no machine running. "Parent" there means the thread
//! that started them (prctl(2), `PR_SET_PDEATHSIG`): a child started from a
//! test's or a thread pool's thread would die with that thread.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

type Answer = io::Result<Child>;
type Order = (Command, Sender<Answer>);

/// Starts `command` from the thread that never ends.
pub(super) fn spawn(command: Command) -> Answer {
    static ORDERS: OnceLock<io::Result<Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(start_thread).as_ref().map_err(copy)?;
    let (answer, answered) = channel();
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    orders
        .clone()
        .send((command, answer))
        .map_err(|_| gone(()))?;
    answered.recv().map_err(|_| gone(()))?
}

fn start_thread() -> io::Result<Sender<Order>> {
    let (orders, incoming) = channel::<Order>();
    std::thread::Builder::new()
        .name("spawner".into())
        .spawn(move || {
            for (mut command, answer) in incoming {
                // Nobody waits for the answer any more: the child must not stay.
                if let Err(unsent) = answer.send(command.spawn())
                    && let Ok(mut child) = unsent.0
                {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        })?;
    Ok(orders)
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_outlives_the_thread_that_ordered_it_and_keeps_its_death_wish() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "sleep", "60"]);
        let ordered = std::thread::spawn(move || spawn(command))
            .join()
            .expect("joined");
        let Ok(mut child) = ordered else {
            return; // no setpriv here: nothing to see
        };
        std::thread::yield_now();
        assert!(
            child.try_wait().expect("asked").is_none(),
            "it died with the ordering thread"
        );
        child.kill().expect("killed");
        child.wait().expect("waited");
    }
}
