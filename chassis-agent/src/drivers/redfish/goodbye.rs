//! Deletes the session of a driver that was dropped half way, by an error or an
//! interrupt: a BMC has few sessions and keeps forgotten ones for minutes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

static PENDING: AtomicUsize = AtomicUsize::new(0);
static SAID: Notify = Notify::const_new();

/// Sends `request` in the background. Without a runtime there is nobody to send
/// it, and the device forgets the session by itself.
pub(super) fn send(address: String, request: reqwest::RequestBuilder) {
    const LONGEST: Duration = Duration::from_secs(5);
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    PENDING.fetch_add(1, Ordering::SeqCst);
    runtime.spawn(async move {
        let sent = timeout(LONGEST, request.send()).await;
        tracing::debug!(
            address,
            is_deleted = matches!(sent, Ok(Ok(_))),
            "said goodbye late"
        );
        PENDING.fetch_sub(1, Ordering::SeqCst);
        SAID.notify_waiters();
    });
}

/// Waits until the goodbyes on their way have been said, for a while.
pub async fn all_said() {
    const LONGEST: Duration = Duration::from_secs(6);
    let said = async {
        loop {
            let changed = SAID.notified();
            if PENDING.load(Ordering::SeqCst) == 0 {
                break;
            }
            changed.await;
        }
    };
    let _ = timeout(LONGEST, said).await;
}
