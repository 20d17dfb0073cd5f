//! The TFTP server over the loopback, any free port.

use std::time::Duration;

use boot_proto::tftp::ack;

use super::*;

#[derive(Default)]
struct Sink(Mutex<Vec<BootEvent>>);

impl EventSink for Sink {
    fn record(&self, event: BootEvent) {
        self.0.lock().unwrap().push(event);
    }
}

struct Server {
    server: TftpServer,
    sink: Arc<Sink>,
    _dir: tempfile::TempDir,
}

fn server(max_transfers: usize) -> Server {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("loader"), [7; 1000]).unwrap();
    let sink = Arc::new(Sink::default());
    let options = TftpOptions {
        address: Ipv4Addr::LOCALHOST,
        port: 0,
        max_transfers,
    };
    let files = TftpFiles {
        dir: dir.path().to_owned(),
    };
    let server = super::super::spawn(files, sink.clone(), options).unwrap();
    Server {
        server,
        sink,
        _dir: dir,
    }
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
    let server = server(8);
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
    let server = server(8);
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

#[tokio::test]
async fn transfers_are_bounded() {
    let server = server(1);
    let first = client().await;
    first
        .send_to(&read("loader", Mode::Octet), server.server.address())
        .await
        .unwrap();
    let (data, _) = receive(&first).await;
    assert_eq!(data[1], 3);
    let second = client().await;
    second
        .send_to(&read("loader", Mode::Octet), server.server.address())
        .await
        .unwrap();
    let (answer, _) = receive(&second).await;
    assert_eq!(answer[..4], [0, 5, 0, 0]);
}
