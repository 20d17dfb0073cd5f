//! An answer of a service, and what an error body says in words. Pure.

use serde_json::Value;

use crate::drivers::excerpt;

/// An answer: status, the headers that matter, and the body as JSON.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// ETag as it was sent.
    pub etag: Option<String>,
    /// Location as it was sent.
    pub location: Option<String>,
    /// X-Auth-Token.
    pub token: Option<String>,
    /// The body; null where there was none.
    pub body: Value,
    /// The beginning of a body that is no JSON.
    pub oddity: Option<String>,
}

impl Answer {
    /// Whether the service did what was asked.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// What the service says is wrong: message ids and messages of the extended
    /// information (DSP0266 §8.6), in whichever place a vendor puts them.
    #[must_use]
    pub fn complaint(&self) -> String {
        let words = complaint(&self.body);
        match (words.is_empty(), &self.oddity) {
            (false, _) => format!("{}: {words}", self.status),
            (true, Some(text)) => format!("{}: {}", self.status, excerpt(text)),
            (true, None) => self.status.to_string(),
        }
    }

    /// Whether the error says so in any letter case.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        complaint_words(&self.body)
            .iter()
            .any(|word| word.to_lowercase().contains(&text))
    }

    /// Whether the login is good and only the factory password is in the way.
    #[must_use]
    pub fn wants_new_password(&self) -> bool {
        self.says("PasswordChangeRequired")
    }

    /// Whether the service has no session left. An iDRAC answers 503 with
    /// RAC0218 then, to sessions and to basic authentication alike.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let is_status = matches!(self.status, 400 | 403 | 429 | 503);
        let says = [
            "RAC0218",
            "SessionLimitExceeded",
            "number of user sessions",
            "NoSessions",
        ];
        is_status && says.iter().any(|text| self.says(text))
    }
}

/// Message ids and messages of an error body, without repetition.
fn complaint_words(body: &Value) -> Vec<String> {
    const MOST: usize = 8;
    let mut words: Vec<String> = Vec::new();
    let error = body.get("error").unwrap_or(body);
    let lists = [
        error.get("@Message.ExtendedInfo"),
        body.get("@Message.ExtendedInfo"),
        body.get("Messages"),
    ];
    for entry in lists.into_iter().flatten() {
        // Some services send one object where a list belongs.
        let entries = entry
            .as_array()
            .map_or_else(|| vec![entry], |list| list.iter().collect());
        for entry in entries.into_iter().take(MOST) {
            for name in ["MessageId", "MessageID", "Message"] {
                words.extend(entry.get(name).and_then(Value::as_str).map(str::to_owned));
            }
        }
    }
    for name in ["code", "message", "MessageId", "Message"] {
        words.extend(error.get(name).and_then(Value::as_str).map(str::to_owned));
    }
    let mut seen = std::collections::BTreeSet::new();
    words.retain(|word| !word.trim().is_empty() && seen.insert(word.clone()));
    words.truncate(MOST);
    words
}

fn complaint(body: &Value) -> String {
    let words = complaint_words(body);
    // "See ExtendedInfo for more information" says nothing beside it.
    let is_empty_talk =
        |word: &String| word.contains("GeneralError") || word.contains("ExtendedInfo");
    let telling: Vec<&str> = words
        .iter()
        .filter(|word| !is_empty_talk(word))
        .map(String::as_str)
        .collect();
    let words: Vec<&str> = if telling.is_empty() {
        words.iter().map(String::as_str).collect()
    } else {
        telling
    };
    let mut text = words.join(": ");
    if text.chars().count() > 300 {
        text = text.chars().take(300).collect();
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: Value) -> Answer {
        Answer {
            status,
            etag: None,
            location: None,
            token: None,
            body,
            oddity: None,
        }
    }

    #[test]
    fn complaints_in_every_place() {
        for (body, expected) in [
            (json!(null), "400"),
            (
                json!({"error": {"message": "Invalid reset type"}}),
                "400: Invalid reset type",
            ),
            (
                json!({"error": {"code": "Base.1.0.GeneralError", "message": "See ExtendedInfo",
                    "@Message.ExtendedInfo": [{"MessageId": "iLO.2.14.InvalidOperationForSystemState"}]}}),
                "400: iLO.2.14.InvalidOperationForSystemState",
            ),
            (
                json!({"error": {"@Message.ExtendedInfo": {"Message": "one object"}}}),
                "400: one object",
            ),
            (
                json!({"Messages": [{"MessageID": "Base.0.10.NoValidSession"}], "Type": "x"}),
                "400: Base.0.10.NoValidSession",
            ),
        ] {
            assert_eq!(answer(400, body).complaint(), expected);
        }
    }

    #[test]
    fn a_full_service_is_known() {
        let body = json!({"error": {"@Message.ExtendedInfo": [{
            "Message": "The maximum number of user sessions is reached.",
            "MessageId": "IDRAC.2.1.RAC0218"}], "code": "Base.1.5.GeneralError"}});
        assert!(answer(503, body.clone()).is_full());
        assert!(!answer(200, body).is_full());
        assert!(!answer(503, json!({"error": {"message": "starting"}})).is_full());
    }
}
