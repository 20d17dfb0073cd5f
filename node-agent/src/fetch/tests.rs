use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;

use super::turns::{IDLE_ROUNDS, LONGEST_QUEUE};
use std::io::Write as _;
use std::thread;

use super::*;
use crate::clock::FakeClock;

/// What a connection of the test server does with the request's first octet.
#[derive(Clone, Copy)]
enum Answer {
    /// Sends all that was asked for.
    Whole,
    /// Breaks off after so many octets.
    Cut(usize),
    /// Knows no ranges and sends all from the beginning.
    NoRanges,
    /// 503 with `Retry-After`.
    Busy(u64),
    /// 404.
    Missing,
}

/// Answers one connection after another as told; returns the URL.
fn serve(content: Vec<u8>, answers: Vec<Answer>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut from = 0;
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap().to_ascii_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let (status, body): (String, &[u8]) = match answer {
                Answer::Busy(secs) => (format!("503 Busy\r\nretry-after: {secs}"), b""),
                Answer::Missing => ("404 Not Found".to_owned(), b"no such blob"),
                Answer::NoRanges => ("200 OK".to_owned(), &content),
                _ if from > 0 => ("206 Partial".to_owned(), &content[from..]),
                _ => ("200 OK".to_owned(), &content),
            };
            let sent = if let Answer::Cut(at) = answer {
                &body[..at]
            } else {
                body
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(sent));
        }
    });
    url
}

fn content() -> Vec<u8> {
    (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn image(url: String, content: &[u8]) -> ImageSource {
    ImageSource {
        name: "test".to_owned(),
        digest: Digest::of(b"manifest"),
        kernel_release: "6.1".to_owned(),
        url,
        size: content.len() as u64,
        root_digest: Digest::of(content),
        checks: Default::default(),
        mirrors: Vec::new(),
        signed: None,
    }
}

struct Outcome {
    result: Result<(), FetchError>,
    file: Option<Vec<u8>>,
    slept: Duration,
    last: Option<Received>,
}

fn fetch(image: &ImageSource) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.squashfs");
    let clock = FakeClock::default();
    let client = Client::new(Duration::from_secs(5), Duration::from_secs(5), None);
    let downloader = Downloader {
        client,
        clock: &clock,
        log: &Log::new(),
    };
    let mut last = None;
    let result = downloader.fetch(image, &path, &mut |received| last = Some(received));
    Outcome {
        result,
        file: fs::read(path).ok(),
        slept: clock.now().0,
        last,
    }
}

#[test]
fn whatever_happens_on_the_way_the_file_is_right() {
    let content = content();
    for (name, answers) in [
        ("at once", vec![Answer::Whole]),
        (
            "cut twice",
            vec![Answer::Cut(1_000_000), Answer::Cut(70_000), Answer::Whole],
        ),
        ("no ranges", vec![Answer::Cut(1_000_001), Answer::NoRanges]),
        ("busy first", vec![Answer::Busy(7), Answer::Whole]),
    ] {
        let mut image = image(
            serve(content.clone(), [answers.clone(), answers].concat()),
            &content,
        );
        let outcome = fetch(&image);
        outcome
            .result
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(outcome.file.as_ref() == Some(&content), "{name}");
        assert_eq!(outcome.last.map(Received::percent), Some(100), "{name}");
        // The same by the tree of hashes.
        image.checks.blake3 = Some(blake3(&content));
        image.root_digest = Digest::of(b"not looked at");
        let by_tree = fetch(&image);
        by_tree
            .result
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        if name == "busy first" {
            assert_eq!(outcome.slept, Duration::from_secs(7));
        }
    }
}

fn blake3(content: &[u8]) -> Checksum {
    Checksum::new(blake3::hash(content).into())
}

#[test]
fn the_tree_of_hashes_is_blake3_whatever_the_size() {
    let content: Vec<u8> = content().into_iter().cycle().take(9 << 20).collect();
    let sizes = [
        0,
        1,
        1024,
        1025,
        sink::PIECE - 1,
        sink::PIECE,
        sink::PIECE + 1,
    ];
    let pieces = [2, 3, 4, 5, 7, 8].map(|pieces| pieces * sink::PIECE);
    for size in sizes.into_iter().chain(pieces).chain([8 * sink::PIECE + 5]) {
        let part = &content[..size];
        let expected = Check::Blake3(blake3(part));
        let file = tempfile::tempfile().unwrap();
        let mut sink = Sink::start(Some(file), expected).unwrap();
        for block in part.chunks(300_007) {
            let mut left = block;
            while !left.is_empty() {
                let room = sink.room(left.len());
                let (now, later) = left.split_at(room.len());
                room.copy_from_slice(now);
                left = later;
                sink.take(0, now.len()).unwrap();
            }
        }
        assert_eq!(sink.finish().unwrap(), expected, "{size}");
    }
}

#[test]
fn a_wrong_octet_is_seen_in_the_tree() {
    let content = content();
    let mut flipped = content.clone();
    flipped[2_500_000] ^= 1;
    let mut image = image(serve(flipped.clone(), vec![Answer::Whole]), &content);
    image.checks.blake3 = Some(blake3(&content));
    let outcome = fetch(&image);
    let message = outcome.result.unwrap_err().to_string();
    let (found, expected) = (blake3(&flipped), blake3(&content));
    assert_eq!(
        message,
        format!("image digest is blake3:{found} but should be blake3:{expected}")
    );
    assert!(outcome.file.is_none());
}

#[test]
fn a_wrong_octet_is_refused_and_nothing_is_left() {
    let content = content();
    let mut flipped = content.clone();
    flipped[2_000_000] ^= 1;
    let outcome = fetch(&image(
        serve(flipped.clone(), vec![Answer::Whole]),
        &content,
    ));
    let message = outcome.result.unwrap_err().to_string();
    let (found, expected) = (Digest::of(&flipped), Digest::of(&content));
    assert_eq!(
        message,
        format!("image digest is {found} but should be {expected}")
    );
    assert!(outcome.file.is_none());
}

#[test]
fn a_server_that_never_has_it_is_given_up() {
    let content = content();
    let answers = vec![Answer::Missing; IDLE_ROUNDS as usize];
    let outcome = fetch(&image(serve(content.clone(), answers), &content));
    let text = chain(&outcome.result.unwrap_err());
    assert!(
        text.contains("0 of 3000000 bytes") && text.contains("404: no such blob"),
        "{text}"
    );
    assert!(outcome.slept > Duration::from_secs(60));
}

#[test]
fn a_node_that_is_put_off_waits_its_turn_but_not_for_ever() {
    let content = content();
    // More often than a silent server would be asked.
    let mut answers = vec![Answer::Busy(60); 3 * IDLE_ROUNDS as usize];
    answers.push(Answer::Whole);
    let outcome = fetch(&image(serve(content.clone(), answers), &content));
    outcome.result.unwrap();
    assert_eq!(outcome.file, Some(content.clone()));
    assert_eq!(outcome.slept, Duration::from_secs(24 * 60));

    let turns = LONGEST_QUEUE.as_secs() as usize / 60 + IDLE_ROUNDS as usize;
    let answers = vec![Answer::Busy(60); turns];
    let outcome = fetch(&image(serve(content.clone(), answers), &content));
    assert!(outcome.result.is_err());
}

#[test]
fn a_file_of_another_size_is_not_taken() {
    let content = content();
    let answers = vec![Answer::Whole; IDLE_ROUNDS as usize];
    let mut wrong = image(serve(content.clone(), answers), &content);
    wrong.size += 1;
    let text = chain(&fetch(&wrong).result.unwrap_err());
    assert!(
        text.contains("has 3000000 bytes and should have 3000001"),
        "{text}"
    );
}

#[test]
fn the_next_server_goes_on_where_one_stopped() {
    let content = content();
    let mut flipped = content.clone();
    flipped[5] ^= 1;
    let gone = "http://127.0.0.1:1/image".to_owned();
    for (name, first, second) in [
        ("gone", gone, vec![Answer::Whole]),
        (
            "breaks off",
            serve(content.clone(), vec![Answer::Cut(1_000_000)]),
            vec![Answer::Whole],
        ),
        (
            "busy",
            serve(content.clone(), vec![Answer::Busy(60)]),
            vec![Answer::Whole],
        ),
        (
            "missing",
            serve(content.clone(), vec![Answer::Missing]),
            vec![Answer::Whole],
        ),
        (
            "something else",
            serve(flipped, vec![Answer::Whole]),
            vec![Answer::Whole],
        ),
    ] {
        let mut image = image(first, &content);
        image.mirrors = vec![serve(content.clone(), second)];
        let outcome = fetch(&image);
        outcome
            .result
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(outcome.file.as_ref() == Some(&content), "{name}");
        assert_eq!(outcome.slept, Duration::ZERO, "{name}");
    }
}

#[test]
fn a_server_that_drips_is_left_for_the_next() {
    let content = content();
    let dripping = serve(content.clone(), vec![Answer::Whole]);
    let mut image = image(dripping, &content);
    image.mirrors = vec![serve(content.clone(), vec![Answer::Whole])];
    let folder = tempfile::tempdir().unwrap();
    let (clock, log) = (FakeClock::default(), Log::new());
    let client = Client::new(Duration::from_secs(5), Duration::from_secs(5), None);
    let downloader = Downloader {
        client,
        clock: &clock,
        log: &log,
    };
    let mut pieces = 0;
    let result = downloader.fetch(&image, &folder.path().join("image"), &mut |_| {
        pieces += 1;
        // The first piece takes longer than a whole image should.
        if pieces == 1 {
            clock.sleep(Duration::from_secs(61));
        }
    });
    result.unwrap();
    let told = log.tail();
    assert!(told.contains("bytes came in 61 s"), "{told}");
    assert!(told.contains("asking the next server"), "{told}");
}
