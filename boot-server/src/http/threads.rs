//! A face on threads of its own, one a processor: sending from a cold disk may
//! wait, and DHCP shall not wait with it.

use std::io;
use std::net::TcpListener;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use super::listener::{Face, serve};

/// More do not help: the network card is the bound then.
const MOST_THREADS: usize = 8;

/// Serves `face` on `listener` in the background until `stop` is cancelled.
///
/// # Errors
/// When a thread cannot be had.
pub fn spawn(
    listener: &TcpListener,
    face: &Face,
    stop: &CancellationToken,
) -> io::Result<Vec<JoinHandle<()>>> {
    listener.set_nonblocking(true)?;
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (0..count.min(MOST_THREADS))
        .map(|_| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let listener = listener.try_clone()?;
            let (face, stop) = (face.clone(), stop.clone());
            std::thread::Builder::new()
                .name("boot-http".into())
                .spawn(move || {
                    let served = runtime.block_on(async {
                        let listener = tokio::net::TcpListener::from_std(listener)?;
                        serve(listener, face, stop).await;
                        Ok::<_, io::Error>(())
                    });
                    if let Err(error) = served {
                        tracing::error!(%error, "HTTP is not served on one thread");
                    }
                })
        })
        .collect()
}
