//! The C library's memory: few arenas, so that a storm leaves little behind.
//!
//! glibc gives threads that allocate at once arenas of their own, up to eight for
//! each processor, and what a burst has left in one is of no use to the others: a
//! storm of 1,000 nodes took 83 MiB on two processors, and 57 MiB with two arenas.
//! How many there may be is read from the environment when a program starts, and
//! no safe call sets it later.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// glibc's variable (mallopt(3)).
const VARIABLE: &str = "MALLOC_ARENA_MAX";
/// Most allocations are served by each thread's own cache before any arena.
const ARENAS: &str = "2";

/// Starts this program once more, as the same process, unless its environment says
/// how many arenas there may be. Where that cannot be done it goes on as it is.
/// To be called before anything else is.
pub fn keep_few() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| program.clone().into());
    let error = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(VARIABLE, ARENAS)
        .exec();
    tracing::debug!(%error, "memory is shared out among as many arenas as the C library likes");
}
