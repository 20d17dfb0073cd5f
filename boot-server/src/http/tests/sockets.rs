//! The listener over real sockets: whole files, clients that hang up, too many
//! connections, stopping.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(bench: &Bench, limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let face = Face::new(boot_router(bench.app.clone()), limits).with_blobs(bench.app.clone());
    let task = tokio::spawn(serve(listener, face, stop.clone()));
    Running {
        address,
        stop,
        task,
    }
}

async fn fetch(address: SocketAddr, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_url_is_the_one_the_client_reached_us_by() {
    let bench = Bench::new().await;
    let running = start(&bench, Limits::default()).await;
    let answer = String::from_utf8(fetch(running.address, "/boot.ipxe").await).unwrap();
    assert!(
        answer.contains(&format!(
            "chain --autofree http://{}/ipxe?",
            running.address
        )),
        "{answer}"
    );
}

#[tokio::test]
async fn a_large_blob_arrives_whole() {
    let bench = Bench::new().await;
    let folder = bench.dir.path().join("large");
    let root: Vec<u8> = (0..3_000_000_u32)
        .map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    write_image(&folder, "large", [b"k", b"i", &root]);
    bench.app.images.add(&folder, &mut |_, _, _| {}).unwrap();
    let running = start(&bench, Limits::default()).await;
    let path = format!("/blobs/sha256/{}", Digest::of(&root).hex());
    let answer = fetch(running.address, &path).await;
    assert!(answer.ends_with(&root));
    // One that hangs up in the middle leaves the server well.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut some = [0; 1000];
    stream.read_exact(&mut some).await.unwrap();
    drop(stream);
    assert!(fetch(running.address, "/healthz").await.ends_with(b"ok\n"));
}

#[tokio::test]
async fn slow_heads_and_too_many_connections_are_cut_off() {
    let bench = Bench::new().await;
    let limits = Limits {
        per_client: 2,
        head: Duration::from_millis(200),
        ..Limits::default()
    };
    let running = start(&bench, limits).await;
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(b"GET /healthz HT").await.unwrap();
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    // The third is closed at once, or reset where it had sent something.
    let mut third = TcpStream::connect(running.address).await.unwrap();
    let mut answer = Vec::new();
    let _ = third.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    for stream in [&mut slow, &mut idle] {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
        assert!(read.await.is_ok(), "a slow client is cut off");
    }
    assert!(fetch(running.address, "/healthz").await.ends_with(b"ok\n"));
}

#[tokio::test]
async fn stopping_does_not_wait_for_idle_clients() {
    let bench = Bench::new().await;
    let running = start(&bench, Limits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut some = [0; 16];
    stream.read_exact(&mut some).await.unwrap();
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), running.task)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

/// Sends requests on one connection that the last of them closes; what comes.
async fn talk(address: SocketAddr, requests: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    read.await.expect("the connection is closed").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let bench = Bench::new().await;
    let running = start(&bench, Limits::default()).await;
    let blob = format!("/blobs/sha256/{}", Digest::of(ROOT).hex());
    let requests = format!(
        "GET {blob} HTTP/1.1\r\nHost: x\r\nRange: bytes=2-4\r\n\r\n\
         HEAD {blob} HTTP/1.1\r\nHost: x\r\n\r\n\
         GET {blob} HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n\
         GET {blob} HTTP/1.1\r\nHost: x\r\nRange: bytes=99-\r\n\r\n\
         GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n\
         GET /blobs/sha256/00 HTTP/1.1\r\nHost: x\r\n\r\n\
         POST /v1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}\
         POST /v1/report HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    let answers = talk(running.address, &requests).await;
    let statuses: Vec<&str> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(
        statuses,
        [
            "206", "200", "304", "416", "404", "404", "400", "400", "200"
        ],
        "{answers}"
    );
    let first = answers.split("HTTP/1.1 ").nth(1).unwrap();
    assert!(first.ends_with("\r\n\r\n234"), "{first}");
    for line in [
        "content-range: bytes 2-4/10",
        "content-length: 3",
        "accept-ranges: bytes",
        "cache-control: public, max-age=31536000, immutable",
        "last-modified: ",
        "date: ",
    ] {
        assert!(first.contains(line), "{line} is not in {first}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let bench = Bench::new().await;
    let running = start(&bench, Limits::default()).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answer = talk(running.address, request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
    }
}

#[tokio::test]
async fn images_are_sent_to_a_few_at_a_time() {
    let bench = Bench::new().await;
    let folder = bench.dir.path().join("large");
    let root = vec![7; 64 << 20];
    write_image(&folder, "large", [b"k", b"i", &root]);
    bench.app.images.add(&folder, &mut |_, _, _| {}).unwrap();
    let running = start(&bench, Limits::default()).await;
    let path = format!("/blobs/sha256/{}", Digest::of(&root).hex());
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut first = TcpStream::connect(running.address).await.unwrap();
    first.write_all(request.as_bytes()).await.unwrap();
    let mut some = [0; 1000];
    first.read_exact(&mut some).await.unwrap();
    // The limit is one client; a second one has another address.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut second = socket.connect(running.address).await.unwrap();
    second.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let after = answer.split("retry-after: ").nth(1).unwrap();
    let seconds: u64 = after.split("\r\n").next().unwrap().parse().unwrap();
    assert!((1..=40).contains(&seconds), "{answer}");
    let page = bench.app.metrics.page();
    assert!(
        page.contains("moonfarm_http_active_image_clients 1"),
        "{page}"
    );
    assert!(
        page.contains("moonfarm_http_waiting_image_clients 1"),
        "{page}"
    );
    drop(first);
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_so() {
    let bench = Bench::new().await;
    let running = start(&bench, Limits::default()).await;
    let mut requests = "GET /v1/boot-config HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    requests.push_str("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answers = talk(running.address, &requests).await;
    assert!(answers.contains("HTTP/1.1 429"), "{answers}");
    assert!(answers.contains("retry-after: 1"), "{answers}");
    assert!(answers.ends_with("ok\n"), "files are not held back");
}

#[tokio::test]
async fn the_same_over_tls_with_a_certificate_that_changes() {
    let bench = Bench::new().await;
    let files = TlsFiles {
        cert: bench.dir.path().join("cert.pem"),
        key: bench.dir.path().join("key.pem"),
    };
    let renew = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        made.cert.pem()
    };
    let mut trusted = renew();
    let certificate = Certificate::open(files.clone()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let face = Face::new(boot_router(bench.app.clone()), Limits::default())
        .with_tls(certificate.acceptor().unwrap());
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, face, stop.clone()));
    for _ in 0..2 {
        let root = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([root])
            .no_proxy()
            .build()
            .unwrap();
        let url = format!("https://localhost:{port}/boot.ipxe");
        let script = client.get(url).send().await.unwrap().text().await.unwrap();
        assert!(
            script.contains("chain --autofree https://127.0.0.1:"),
            "{script}"
        );
        trusted = renew();
        assert!(certificate.refresh().unwrap());
    }
    stop.cancel();
    task.await.unwrap();
}
