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
    let task = tokio::spawn(serve(
        listener,
        boot_router(bench.app.clone()),
        limits,
        stop.clone(),
    ));
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
