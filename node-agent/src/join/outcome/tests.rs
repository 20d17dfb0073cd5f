use super::*;

const HINT: &str = "To see the stack trace of this error execute with --v=5 or higher\n";

fn check(text: &str) -> Outcome {
    classify(
        false,
        &format!("[preflight] Running pre-flight checks\n{text}\n{HINT}"),
    )
}

#[test]
fn what_has_a_name_of_its_own() {
    let taken = "error: error execution phase kubelet-start: a Node with name \"n1\" and status \
                 \"Ready\" already exists in the cluster. You must delete the existing Node or \
                 change the name of this new joining Node";
    assert_eq!(check(taken), Outcome::NameTaken);
    for text in [
        "error: error execution phase preflight: couldn't validate the identity of the API Server: \
         could not find a JWS signature in the cluster-info ConfigMap for token ID \"abcdef\"",
        "error: error execution phase preflight: couldn't validate the identity of the API Server: \
         token id \"abcdef\" is invalid for this cluster or it has expired. Use \"kubeadm token \
         create\" on the control-plane node to create a new valid token",
        "error execution phase kubelet-start: Unauthorized",
    ] {
        assert_eq!(check(text), Outcome::TokenRefused, "{text}");
    }
    let certificate = "error: error execution phase preflight: couldn't validate the identity of the \
                       API Server: Get \"https://10.0.0.1:6443/api\": tls: failed to verify \
                       certificate: x509: certificate has expired or is not yet valid: current time \
                       2026-01-02T03:04:05Z is before 2026-01-02T03:10:00Z";
    assert!(matches!(check(certificate), Outcome::ClockDoubted(_)));
    assert_eq!(classify(true, taken), Outcome::Joined);
    assert_eq!(
        classify(false, HINT),
        Outcome::Failed("it said nothing".to_owned())
    );
}

#[test]
fn an_api_server_that_is_away_or_starting() {
    for said in [
        "dial tcp 10.0.0.1:6443: connect: connection refused",
        "dial tcp 10.0.0.1:6443: connect: network is unreachable",
        "dial tcp: lookup api.example on 10.0.0.2:53: no such host",
        "dial tcp 10.0.0.1:6443: connect: connection timed out",
        "net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
        "http2: client connection lost",
        "EOF",
        "the server is currently unable to handle the request",
        "etcdserver: request timed out",
        "an error on the server (\"apiserver not ready\") has prevented the request",
    ] {
        let reason = "error execution phase preflight: couldn't validate the identity of the API \
                      Server: failed to request the cluster-info ConfigMap: Get \
                      \"https://10.0.0.1:6443/api/v1/namespaces/kube-public/configmaps/\
                      cluster-info?timeout=10s\"";
        let expected = format!("{reason}: {said}");
        let outcome = check(&format!("error: {expected}"));
        assert_eq!(outcome, Outcome::ApiAway(expected), "{said}");
    }
}

/// As kubeadm 1.35 and 1.36 say it where nothing was prepared. Neither the warning
/// about a name server nor the word "fatal" in its advice is the reason.
#[test]
fn checks_that_fail_are_named() {
    let text = "\t[WARNING Hostname]: hostname \"n1\": lookup n1 on 10.0.0.2:53: dial udp \
                10.0.0.2:53: connect: network is unreachable\n\
                [preflight] Some fatal errors occurred:\n\
                \t[ERROR KubeletVersion]: couldn't get kubelet version\n\
                \t[ERROR FileContent--proc-sys-net-ipv4-ip_forward]: \
                /proc/sys/net/ipv4/ip_forward contents are not set to 1\n\
                [preflight] If you know what you are doing, you can make a check non-fatal with \
                `--ignore-preflight-errors=...`\n\
                error: error execution phase preflight: preflight checks failed";
    let expected = "[ERROR KubeletVersion]: couldn't get kubelet version; [ERROR \
                    FileContent--proc-sys-net-ipv4-ip_forward]: /proc/sys/net/ipv4/ip_forward \
                    contents are not set to 1";
    assert_eq!(check(text), Outcome::Failed(expected.to_owned()));
    let connects = "\t[ERROR CRI]: could not connect to the container runtime: dial unix \
                    /run/containerd/containerd.sock: connect: connection refused\n\
                    error: error execution phase preflight: preflight checks failed";
    assert!(matches!(check(connects), Outcome::Failed(_)));
}

/// A kubelet that does not run refuses connections; that is not the API server.
#[test]
fn a_kubelet_that_does_not_start_is_not_an_api_server_that_is_away() {
    let refused = "The HTTP call equal to 'curl -sSL http://127.0.0.1:10248/healthz' returned \
                   error: Get \"http://127.0.0.1:10248/healthz\": dial tcp 127.0.0.1:10248: \
                   connect: connection refused";
    for text in [
        format!("error: error execution phase kubelet-wait: {refused}\n"),
        format!(
            "error: error execution phase kubelet-wait: failed while waiting for the kubelet to \
             start: {refused}\n"
        ),
        "error: error execution phase kubelet-start: failed while waiting for TLS bootstrap: \
         context deadline exceeded"
            .to_owned(),
    ] {
        assert!(
            matches!(check(&text), Outcome::KubeletFailed(_)),
            "{text}: {:?}",
            check(&text)
        );
    }
}

#[test]
fn an_error_without_a_sign_is_told_as_it_is() {
    let text =
        "[discovery] connection refused at first\nerror: cannot use \"x.yaml\": unknown field";
    let expected = "cannot use \"x.yaml\": unknown field".to_owned();
    assert_eq!(check(text), Outcome::Failed(expected));
    let killed = Outcome::Failed("[kubelet-start] Starting the kubelet".to_owned());
    assert_eq!(check("[kubelet-start] Starting the kubelet"), killed);
}

#[test]
fn what_the_kubelet_says() {
    for (journal, expected) in [
        (
            "Flag --cgroup-driver has been deprecated\n\
             E0102 15:04:05.123456    1234 run.go:72] \"command failed\" err=\"failed to parse \
             kubelet flag: unknown flag: --max-podz\"\n\
             kubelet.service: Main process exited, code=exited, status=1/FAILURE\n",
            Some(
                "\"command failed\" err=\"failed to parse kubelet flag: unknown flag: --max-podz\"",
            ),
        ),
        (
            "I0102 15:04:05.123456    1234 server.go:1] fine\n\
             E0102 15:04:06.123456    1234 csr.go:9] \"no certificate\" err=\"Unauthorized\"\n\
             I0102 15:04:07.123456    1234 server.go:1] fine\n",
            Some("\"no certificate\" err=\"Unauthorized\""),
        ),
        ("Error: failed to run\n", Some("Error: failed to run")),
        ("Started kubelet.service\nEverything is fine\n", None),
        ("", None),
    ] {
        assert_eq!(kubelets_reason(journal).as_deref(), expected, "{journal}");
    }
}
