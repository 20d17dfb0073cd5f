//! What a run of kubeadm came to, by its exit status and its words.

/// How a run of `kubeadm join` ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The node has joined.
    Joined,
    /// A Ready Node of this name exists: the machine's own, from before its
    /// restart, which counts as Ready until its heartbeats are missed.
    NameTaken,
    /// The token is not, or no longer, good.
    TokenRefused,
    /// The API server does not answer.
    ApiAway(String),
    /// Something else; kubeadm's last words.
    Failed(String),
}

/// Texts in kubeadm's output, in lower case, and what each means. The first that
/// is found counts.
const SIGNS: &[(&str, Kind)] = &[
    ("already exists in the cluster", Kind::NameTaken),
    // client-go, when a token is unknown or over.
    ("unauthorized", Kind::TokenRefused),
    // kubeadm, when cluster-info is not signed with the token: not yet, or no more.
    ("could not find a jws signature", Kind::TokenRefused),
    ("no jws signature", Kind::TokenRefused),
    ("token id", Kind::TokenRefused),
    ("connection refused", Kind::ApiAway),
    ("no route to host", Kind::ApiAway),
    ("network is unreachable", Kind::ApiAway),
    ("i/o timeout", Kind::ApiAway),
    ("context deadline exceeded", Kind::ApiAway),
    ("client.timeout", Kind::ApiAway),
    ("connection reset", Kind::ApiAway),
    ("tls handshake timeout", Kind::ApiAway),
    ("unexpected eof", Kind::ApiAway),
    ("service unavailable", Kind::ApiAway),
];

#[derive(Clone, Copy)]
enum Kind {
    NameTaken,
    TokenRefused,
    ApiAway,
}

/// Reads kubeadm's output.
#[must_use]
pub fn classify(succeeded: bool, output: &str) -> Outcome {
    if succeeded {
        return Outcome::Joined;
    }
    let text = output.to_ascii_lowercase();
    // The reason stands in the error; what came before it may be an older
    // attempt's warning.
    let error = text
        .rfind("error")
        .and_then(|at| text.get(at..))
        .unwrap_or(&text);
    let find = |text: &str| {
        SIGNS
            .iter()
            .find(|(sign, _)| text.contains(sign))
            .map(|(_, kind)| *kind)
    };
    match find(error).or_else(|| find(&text)) {
        Some(Kind::NameTaken) => Outcome::NameTaken,
        Some(Kind::TokenRefused) => Outcome::TokenRefused,
        Some(Kind::ApiAway) => Outcome::ApiAway(last_words(output)),
        None => Outcome::Failed(last_words(output)),
    }
}

/// The line with the error, without kubeadm's advice on how to see a stack trace.
fn last_words(output: &str) -> String {
    let lines = || {
        output
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let error = lines().rev().find(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with("error") || line.starts_with("[error") || line.contains("fatal")
    });
    error
        .or_else(|| lines().next_back())
        .unwrap_or("kubeadm said nothing")
        .chars()
        .take(400)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeadms_words() {
        let hint = "To see the stack trace of this error execute with --v=5 or higher\n";
        let taken = "error execution phase kubelet-start: a Node with name \"n1\" and status \
                     \"Ready\" already exists in the cluster. You must delete the existing Node or \
                     change the name of this new joining Node\n";
        assert_eq!(
            classify(false, &format!("[preflight] ok\n{taken}{hint}")),
            Outcome::NameTaken
        );
        for text in [
            "error execution phase preflight: couldn't validate the identity of the API Server: \
             could not find a JWS signature in the cluster-info ConfigMap for token ID \"abcdef\"",
            "error execution phase kubelet-start: Unauthorized",
        ] {
            assert_eq!(classify(false, text), Outcome::TokenRefused, "{text}");
        }
        for text in [
            "error execution phase preflight: couldn't validate the identity of the API Server: \
             Get \"https://10.0.0.1:6443/api\": dial tcp 10.0.0.1:6443: connect: connection refused",
            "error: ... net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
        ] {
            assert!(
                matches!(classify(false, text), Outcome::ApiAway(_)),
                "{text}"
            );
        }
        let other = "[preflight] Running\nerror execution phase preflight: swap is on\n";
        let expected = "error execution phase preflight: swap is on".to_owned();
        assert_eq!(
            classify(false, &format!("{other}{hint}")),
            Outcome::Failed(expected)
        );
        assert_eq!(classify(true, taken), Outcome::Joined);
        assert_eq!(
            classify(false, ""),
            Outcome::Failed("kubeadm said nothing".to_owned())
        );
    }
}
