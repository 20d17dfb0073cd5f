//! Events on what matters, so that `kubectl describe` and `kubectl events` tell.

use boot_proto::resources::API_VERSION;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::api::ApiServer;
use super::declare::Key;

/// Longest note of an Event (API: 1024 bytes).
const LONGEST: usize = 900;

/// Where Events go; clones share it. The recorder counts repetitions in one
/// Event instead of making many.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    namespace: String,
}

impl Events {
    /// Events of this server.
    #[must_use]
    pub fn new(api: &ApiServer) -> Self {
        let reporter = Reporter {
            controller: "moonfarm-boot-server".into(),
            instance: Some(api.server.to_string()),
        };
        Self {
            recorder: Recorder::new(api.client.clone(), reporter),
            namespace: api.namespace.to_string(),
        }
    }

    /// Something went as it should.
    pub async fn tell(&self, key: &Key, uid: &str, reason: &str, action: &str, note: &str) {
        self.publish(EventType::Normal, key, uid, (reason, action, note))
            .await;
    }

    /// Something is wrong.
    pub async fn warn(&self, key: &Key, uid: &str, reason: &str, action: &str, note: &str) {
        self.publish(EventType::Warning, key, uid, (reason, action, note))
            .await;
    }

    async fn publish(&self, of: EventType, key: &Key, uid: &str, words: (&str, &str, &str)) {
        let (reason, action, note) = words;
        let mut end = note.len().min(LONGEST);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        let event = Event {
            type_: of,
            reason: reason.to_owned(),
            note: Some(note[..end].to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        let reference = ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(key.0.name().to_owned()),
            name: Some(key.1.clone()),
            namespace: Some(self.namespace.clone()),
            uid: (!uid.is_empty()).then(|| uid.to_owned()),
            ..ObjectReference::default()
        };
        // An Event is for people who look; the log has it as well.
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            tracing::debug!(error = %crate::images::chain(&error), reason, "an Event is lost");
        }
    }
}
