//! Following changes of the manifest folder.

use std::sync::Arc;
use std::time::Duration;

use super::{Farm, FarmError};
use crate::manifests::Fingerprint;

/// Looks at the manifest folder every `interval`, for ever, and reloads it when
/// it changed. Polling rather than inotify: it sees the swapped links of a
/// mounted ConfigMap and changes on network file systems, and a folder of
/// manifests is a handful of files.
pub async fn watch(farm: Arc<Farm>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let farm = Arc::clone(&farm);
        // Reads files and writes the store.
        let _ = tokio::task::spawn_blocking(move || farm.reload_if_changed()).await;
    }
}

impl Farm {
    /// Reloads the manifests where the folder is not as it was when it was last
    /// read. Logs the outcome, a failure once. Says whether anything changed.
    pub fn reload_if_changed(&self) -> bool {
        let seen = Fingerprint::of(&self.folder).ok();
        if seen.is_some() && seen == self.lock().fingerprint {
            return false;
        }
        match self.reload() {
            Ok(true) => {
                let summary = self.inventory().declared().summary();
                tracing::info!(folder = %self.folder.display(), summary, "manifests reloaded");
                true
            }
            Ok(false) => false,
            Err(error) => {
                self.complain(&error);
                false
            }
        }
    }

    fn complain(&self, error: &FarmError) {
        let text = chain(error);
        let mut state = self.lock();
        if state.complaint.as_ref() == Some(&text) {
            return;
        }
        tracing::error!(folder = %self.folder.display(), error = text, "manifests not taken over; what was declared before stays in force");
        state.complaint = Some(text);
    }
}

fn chain(error: &FarmError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
