//! The TFTP server over the loopback, any free port.

use std::sync::Mutex;
use std::time::Duration;

use boot_proto::tftp::{ErrorCode, Mode, Request, ack};
use tokio::net::UdpSocket;

use super::*;
use crate::events::BootEvent;
use crate::metrics::Metrics;

#[derive(Default)]
struct Sink(Mutex<Vec<BootEvent>>);

impl EventSink for Sink {
    fn record(&self, event: BootEvent) {
        self.0.lock().unwrap().push(event);
    }
}

/// From the one port, from ports of the transfers' own, and these served by
/// threads of their own: whether the first, and how many threads.
const WAYS: [(bool, usize); 3] = [(true, 8), (false, 0), (false, 8)];

struct Server {
    server: TftpServer,
    sink: Arc<Sink>,
    dir: tempfile::TempDir,
}

fn server(options: TftpOptions) -> Server {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("loader"), [7; 1000]).unwrap();
    let sink = Arc::new(Sink::default());
    let options = TftpOptions {
        address: Ipv4Addr::LOCALHOST,
        port: 0,
        ..options
    };
    let files = TftpFiles {
        dir: dir.path().to_owned(),
        source: None,
    };
    let metrics = Metrics::new().tftp.clone();
    let server = spawn(files, sink.clone(), metrics, options).unwrap();
    Server { server, sink, dir }
}

async fn client() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2000];
    let received =
        tokio::time::timeout(Duration::from_secs(10), socket.recv_from(&mut buffer)).await;
    let (bytes, from) = received.expect("an answer within ten seconds").unwrap();
    (buffer[..bytes].to_vec(), from)
}

fn read(file: &str, mode: Mode) -> Vec<u8> {
    Request {
        file: file.into(),
        mode,
        options: Vec::new(),
    }
    .encode_read()
}

#[tokio::test]
async fn a_file_from_a_port_of_its_own() {
    let server = server(TftpOptions::default());
    let socket = client().await;
    let request = read("/loader", Mode::Octet);
    socket
        .send_to(&request, server.server.address())
        .await
        .unwrap();
    // Asked twice, it still comes once.
    socket
        .send_to(&request, server.server.address())
        .await
        .unwrap();
    let (first, from) = receive(&socket).await;
    assert_ne!(from, server.server.address());
    assert_eq!((first.len(), &first[..4]), (516, &[0, 3, 0, 1][..]));
    socket.send_to(&ack(1), from).await.unwrap();
    let (second, from_again) = receive(&socket).await;
    assert_eq!((second.len(), from_again), (492, from));
    socket.send_to(&ack(2), from).await.unwrap();
    let event = BootEvent::File {
        address: Ipv4Addr::LOCALHOST,
        path: "/loader".into(),
        bytes: 1000,
        error: None,
    };
    for _ in 0..1000 {
        if *server.sink.0.lock().unwrap() == [event.clone()] {
            return server.server.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", server.sink.0.lock().unwrap());
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_its_reason() {
    let server = server(TftpOptions::default());
    for (request, code) in [
        (read("nothing", Mode::Octet), 1),
        (read("../loader", Mode::Octet), 2),
        (read("loader", Mode::NetAscii), 4),
        (b"\x00\x02loader\0octet\0".to_vec(), 2),
        (b"\x00\x01loader".to_vec(), 4),
        (ack(9), 5),
    ] {
        let socket = client().await;
        socket
            .send_to(&request, server.server.address())
            .await
            .unwrap();
        let (answer, _) = receive(&socket).await;
        assert_eq!(answer[..4], [0, 5, 0, code], "{request:?}");
    }
}

/// Asks for the loader; whether an answer comes, and which.
async fn ask(server: &Server, socket: &UdpSocket) -> Option<Vec<u8>> {
    let request = read("loader", Mode::Octet);
    socket
        .send_to(&request, server.server.address())
        .await
        .unwrap();
    let mut buffer = [0; 2000];
    let received = socket.recv(&mut buffer);
    let received = tokio::time::timeout(Duration::from_millis(300), received).await;
    received.ok().map(|bytes| buffer[..bytes.unwrap()].to_vec())
}

#[tokio::test]
async fn transfers_are_bounded() {
    let both = TftpOptions {
        max_transfers: 2,
        max_per_client: 1,
        ..TftpOptions::default()
    };
    for (options, expected) in [
        // Silence, so that firmware asks again.
        (
            TftpOptions {
                max_transfers: 1,
                ..TftpOptions::default()
            },
            None,
        ),
        (both, Some([0, 5, 0, 0])),
    ] {
        let server = server(options);
        let first = client().await;
        assert_eq!(ask(&server, &first).await.unwrap()[1], 3);
        let answer = ask(&server, &client().await).await;
        let begin = answer.map(|answer| [answer[0], answer[1], answer[2], answer[3]]);
        assert_eq!(begin, expected);
    }
}

#[tokio::test]
async fn a_second_server_finds_the_port_taken() {
    let first = server(TftpOptions::default());
    let options = TftpOptions {
        address: Ipv4Addr::LOCALHOST,
        port: first.server.address().port(),
        ..TftpOptions::default()
    };
    let files = TftpFiles {
        dir: first.dir.path().to_owned(),
        source: None,
    };
    let metrics = Metrics::new().tftp.clone();
    let error = spawn(files, first.sink.clone(), metrics, options).unwrap_err();
    assert!(error.to_string().contains("another TFTP server"), "{error}");
}

/// Fetches a file as RFC 7440 has it; from how many ports it came.
async fn fetch(server: &Server, name: &str, window: u64, block: usize) -> (Vec<u8>, usize) {
    let socket = client().await;
    let request = Request {
        file: name.into(),
        mode: Mode::Octet,
        options: vec![
            ("blksize".into(), block.to_string()),
            ("windowsize".into(), window.to_string()),
        ],
    };
    let request = request.encode_read();
    socket
        .send_to(&request, server.server.address())
        .await
        .unwrap();
    let mut ports = std::collections::HashSet::new();
    let (mut content, mut blocks, mut buffer) = (Vec::new(), 0_u64, [0; 2000]);
    loop {
        let received = socket.recv_from(&mut buffer);
        let received = tokio::time::timeout(Duration::from_secs(10), received).await;
        let (bytes, from) = received.expect("an answer within ten seconds").unwrap();
        ports.insert(from.port());
        if buffer[1] == 6 {
            socket.send_to(&ack(0), from).await.unwrap();
            continue;
        }
        blocks += 1;
        assert_eq!(buffer[..4], [0, 3, (blocks >> 8) as u8, blocks as u8]);
        content.extend_from_slice(&buffer[4..bytes]);
        let is_last = bytes < block + 4;
        if is_last || blocks.is_multiple_of(window) {
            socket.send_to(&ack(blocks as u16), from).await.unwrap();
        }
        if is_last {
            return (content, ports.len());
        }
    }
}

#[tokio::test]
async fn windows_arrive_whole_from_one_port_or_from_the_one_port() {
    for (single_port, own_threads) in WAYS {
        let server = server(TftpOptions {
            single_port,
            own_threads: Some(own_threads),
            ..TftpOptions::default()
        });
        // Past what is kept in memory, and past block 65535.
        let large: Vec<u8> = (0..6_000_000_u32).map(|at| (at % 251) as u8).collect();
        std::fs::write(server.dir.path().join("large"), &large).unwrap();
        for (window, block) in [(1, 1400), (16, 1468), (64, 512), (64, 64)] {
            let (content, ports) = fetch(&server, "large", window, block).await;
            assert!(content == large, "{window} {block}");
            assert_eq!(ports, 1);
        }
        let socket = client().await;
        let request = read("loader", Mode::Octet);
        let address = server.server.address();
        socket.send_to(&request, address).await.unwrap();
        let (_, from) = receive(&socket).await;
        assert_eq!(from == address, single_port);
    }
}

#[tokio::test]
async fn a_late_copy_of_the_request_does_not_disturb_the_transfer() {
    for (single_port, own_threads) in WAYS {
        let server = server(TftpOptions {
            single_port,
            own_threads: Some(own_threads),
            ..TftpOptions::default()
        });
        let socket = client().await;
        let request = read("loader", Mode::Octet);
        let address = server.server.address();
        socket.send_to(&request, address).await.unwrap();
        let (_, from) = receive(&socket).await;
        socket.send_to(&ack(1), from).await.unwrap();
        let (second, _) = receive(&socket).await;
        socket.send_to(&request, address).await.unwrap();
        // The transfer is where it was: its second block comes again, in its
        // time and from where the first came.
        let (again, same) = receive(&socket).await;
        assert_eq!((again, same), (second, from));
    }
}

/// Asks, and takes the first block.
async fn first_block(server: &Server, socket: &UdpSocket, file: &str) -> SocketAddr {
    let request = read(file, Mode::Octet);
    let address = server.server.address();
    socket.send_to(&request, address).await.unwrap();
    let (block, from) = receive(socket).await;
    assert_eq!(block[..4], [0, 3, 0, 1]);
    from
}

#[tokio::test]
async fn a_client_that_gives_up_may_ask_again_at_once_from_the_same_port() {
    for (single_port, own_threads) in WAYS {
        let server = server(TftpOptions {
            single_port,
            own_threads: Some(own_threads),
            max_per_client: 2,
            ..TftpOptions::default()
        });
        let socket = client().await;
        for _ in 0..50 {
            let from = first_block(&server, &socket, "loader").await;
            let enough = boot_proto::tftp::error(ErrorCode::Undefined, "enough");
            socket.send_to(&enough, from).await.unwrap();
        }
        // Another file instead of the one under way.
        std::fs::write(server.dir.path().join("other"), [8; 100]).unwrap();
        first_block(&server, &socket, "loader").await;
        let from = first_block(&server, &socket, "other").await;
        socket.send_to(&ack(1), from).await.unwrap();
        // Stopping waits for no client.
        first_block(&server, &socket, "loader").await;
        server.server.stop().await;
    }
}

#[tokio::test]
async fn more_transfers_than_threads_of_their_own_are_served_too() {
    let server = Arc::new(server(TftpOptions {
        own_threads: Some(3),
        ..TftpOptions::default()
    }));
    let mut clients = Vec::new();
    for _ in 0..10 {
        let socket = client().await;
        let from = first_block(&server, &socket, "loader").await;
        clients.push((socket, from));
    }
    for (socket, from) in &clients {
        socket.send_to(&ack(1), from).await.unwrap();
        let (second, _) = receive(socket).await;
        assert_eq!(second.len(), 492);
        socket.send_to(&ack(2), from).await.unwrap();
    }
    // Threads that are free again take the next.
    for _ in 0..10 {
        let (content, _) = fetch(&server, "loader", 1, 512).await;
        assert_eq!(content.len(), 1000);
    }
}
