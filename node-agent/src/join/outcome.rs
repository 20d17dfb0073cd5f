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
    /// A certificate is not valid at what this machine's clock says.
    ClockDoubted(String),
    /// The API server does not answer, or not with what was asked.
    ApiAway(String),
    /// The kubelet did not become healthy, or was not given its certificate.
    KubeletFailed(String),
    /// Something else; kubeadm's last words.
    Failed(String),
}

/// Texts in kubeadm's error, in lower case, and what each means. The first that
/// is found counts.
const SIGNS: &[(&str, Kind)] = &[
    // The checks of this machine; what they quote is no word on the API server.
    ("preflight checks failed", Kind::Other),
    // A kubelet that does not run refuses connections, too: this comes before what
    // is said of the API server.
    ("phase kubelet-wait", Kind::Kubelet),
    ("waiting for the kubelet to start", Kind::Kubelet),
    ("waiting for tls bootstrap", Kind::Kubelet),
    ("already exists in the cluster", Kind::NameTaken),
    // Go's crypto/x509, for both.
    ("expired or is not yet valid", Kind::Clock),
    // client-go, when a token is unknown or over.
    ("unauthorized", Kind::TokenRefused),
    // kubeadm, when cluster-info is not signed with the token: not yet, or no more.
    ("could not find a jws signature", Kind::TokenRefused),
    ("no jws signature", Kind::TokenRefused),
    ("token id", Kind::TokenRefused),
    ("connection refused", Kind::ApiAway),
    ("no route to host", Kind::ApiAway),
    ("host is down", Kind::ApiAway),
    ("network is unreachable", Kind::ApiAway),
    // An endpoint's name that is not, or not yet, resolved.
    ("no such host", Kind::ApiAway),
    ("server misbehaving", Kind::ApiAway),
    ("i/o timeout", Kind::ApiAway),
    ("connection timed out", Kind::ApiAway),
    ("context deadline exceeded", Kind::ApiAway),
    ("client.timeout", Kind::ApiAway),
    ("connection reset", Kind::ApiAway),
    ("tls handshake timeout", Kind::ApiAway),
    ("client connection lost", Kind::ApiAway),
    // A load balancer that has no API server behind it hangs up at once.
    (": eof", Kind::ApiAway),
    ("unexpected eof", Kind::ApiAway),
    ("service unavailable", Kind::ApiAway),
    ("bad gateway", Kind::ApiAway),
    ("gateway timeout", Kind::ApiAway),
    // An API server that starts, has lost its etcd, or has too much to do.
    ("currently unable to handle the request", Kind::ApiAway),
    ("unable to return a response in the time", Kind::ApiAway),
    ("too many requests", Kind::ApiAway),
    ("apiserver not ready", Kind::ApiAway),
    ("etcdserver:", Kind::ApiAway),
];

#[derive(Clone, Copy)]
enum Kind {
    NameTaken,
    TokenRefused,
    ApiAway,
    Kubelet,
    Clock,
    Other,
}

/// What kubeadm advises behind its errors, which is no error.
const ADVICE: [&str; 2] = ["To see the stack trace", "[preflight] If you know"];
/// How each check that failed begins.
const FAILED_CHECK: &str = "[ERROR ";
/// Characters of a reason: several checks can fail, each with a long sentence.
const REASON_CHARS: usize = 400;

/// Reads kubeadm's output.
#[must_use]
pub fn classify(succeeded: bool, output: &str) -> Outcome {
    if succeeded {
        return Outcome::Joined;
    }
    let lines: Vec<&str> = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !ADVICE.iter().any(|advice| line.starts_with(advice)))
        .collect();
    // The reason stands in the error; what came before it are warnings, which can
    // quote a name server that does not answer.
    let begin = lines.iter().rposition(|line| is_error(line));
    let error = lines.get(begin.unwrap_or(0)..).unwrap_or_default();
    let reason = reason(&lines, error);
    let text = error.join("\n").to_ascii_lowercase();
    let sign = SIGNS.iter().find(|(sign, _)| text.contains(sign));
    match sign.map(|(_, kind)| *kind) {
        Some(Kind::NameTaken) => Outcome::NameTaken,
        Some(Kind::TokenRefused) => Outcome::TokenRefused,
        Some(Kind::ApiAway) => Outcome::ApiAway(reason),
        Some(Kind::Clock) => Outcome::ClockDoubted(reason),
        Some(Kind::Kubelet) => Outcome::KubeletFailed(reason),
        Some(Kind::Other) | None => Outcome::Failed(reason),
    }
}

fn is_error(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.starts_with("error:") || line.starts_with("error execution")
}

/// The checks that failed, or the error, or the last that was said.
fn reason(lines: &[&str], error: &[&str]) -> String {
    let checks = lines.iter().copied();
    let mut words: Vec<&str> = checks
        .filter(|line| line.starts_with(FAILED_CHECK))
        .collect();
    // kubeadm logs to the same stream, so that more than the error may follow.
    let said = match error.first() {
        Some(first) if is_error(first) => Some(first),
        _ => lines.last(),
    };
    if words.is_empty() {
        words.extend(said);
    }
    let text = words.join("; ");
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    if text.is_empty() {
        return "it said nothing".to_owned();
    }
    text.chars().take(REASON_CHARS).collect()
}

/// What the kubelet said last that is a reason: an error of its log (`E0102 …`,
/// `F0102 …`) or of its command line, each of which ends in what is wrong. None where
/// it did not say.
#[must_use]
pub fn kubelets_reason(journal: &str) -> Option<String> {
    let is_severe = |line: &str| {
        let rest = line.strip_prefix(['E', 'F']);
        rest.is_some_and(|rest| rest.len() > 4 && rest.bytes().take(4).all(|b| b.is_ascii_digit()))
    };
    let lines = || journal.lines().map(str::trim);
    let told = |line: &&str| line.starts_with("Error:") || line.contains("command failed");
    let line = lines()
        .rev()
        .find(told)
        .or_else(|| lines().rev().find(|line| is_severe(line)))?;
    // klog's head, `E0102 15:04:05.000000    1234 file.go:77] `, tells people nothing.
    let text = match line.split_once("] ") {
        Some((_, text)) if is_severe(line) => text,
        _ => line,
    };
    Some(text.chars().take(REASON_CHARS).collect())
}

#[cfg(test)]
mod tests;
