//! A transfer against a client in the same process, on virtual time, over a
//! network that loses, doubles and delays.

use std::collections::VecDeque;

use boot_proto::tftp::{Mode, ack, data};
use proptest::prelude::*;

use super::*;

fn request(options: &[(&str, &str)]) -> Request {
    let options = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Request {
        file: "f".into(),
        mode: Mode::Octet,
        options: options.collect(),
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// A transfer over Ethernet.
fn transfer(size: usize, options: &[(&str, &str)]) -> Transfer {
    Transfer::new(size as u64, &request(options), 1500)
}

/// The datagrams that an output stands for; none for a deadline or the end.
fn datagrams(transfer: &Transfer, output: &Output, file: &[u8]) -> Vec<Vec<u8>> {
    match output {
        Output::SendOptions => vec![transfer.options().unwrap().to_vec()],
        Output::SendBlocks { first, count } => (*first..first + count)
            .map(|number| {
                let (start, length) = transfer.block(number);
                let start = start as usize;
                data(wire_number(number), &file[start..start + length])
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn at(millis: u64) -> Monotonic {
    Monotonic(Duration::from_millis(millis))
}

/// What the network does to the n-th datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    Lost,
    Doubled,
}

/// A client as RFC 7440 has it: it acknowledges each window, and the last block
/// in order when one is missing.
struct Client {
    received: Vec<u8>,
    blocks: u64,
    block_bytes: usize,
    window: u64,
    in_window: u64,
    last_ack: Option<Vec<u8>>,
    is_done: bool,
}

impl Client {
    fn take(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        match datagram {
            [0, 6, ..] => self.last_ack = (self.blocks == 0).then(|| ack(0)),
            [0, 3, high, low, data @ ..] => {
                let number = u16::from_be_bytes([*high, *low]);
                if number != wire_number(self.blocks + 1) {
                    self.in_window = 0;
                    return self.last_ack.clone();
                }
                self.blocks += 1;
                self.in_window += 1;
                self.received.extend_from_slice(data);
                self.is_done = data.len() < self.block_bytes;
                self.last_ack = Some(ack(number));
                if self.in_window < self.window && !self.is_done {
                    return None;
                }
                self.in_window = 0;
            }
            other => panic!("{other:?}"),
        }
        self.last_ack.clone()
    }
}

/// Runs a transfer to its end; how often DATA was sent, and the outcome.
fn run(
    file: &[u8],
    options: &[(&str, &str)],
    block_bytes: usize,
    window: u64,
    fates: &[Fate],
) -> (usize, Vec<u8>, Outcome) {
    let mut transfer = transfer(file.len(), options);
    let mut client = Client {
        received: Vec::new(),
        blocks: 0,
        block_bytes,
        window,
        in_window: 0,
        last_ack: None,
        is_done: false,
    };
    let mut fates = fates
        .iter()
        .copied()
        .chain(std::iter::repeat(Fate::Arrives));
    let mut now = at(0);
    let mut sent = 0;
    loop {
        let mut to_client = VecDeque::new();
        let deadline = loop {
            match transfer.poll(now) {
                Output::WaitUntil(deadline) => break deadline,
                Output::Done(outcome) => return (sent, client.received, outcome),
                output => {
                    for datagram in datagrams(&transfer, &output, file) {
                        sent += usize::from(datagram[1] == 3);
                        match fates.next().unwrap() {
                            Fate::Arrives => to_client.push_back(datagram),
                            Fate::Doubled => to_client.extend([datagram.clone(), datagram]),
                            Fate::Lost => {}
                        }
                    }
                }
            }
        };
        let mut answers = Vec::new();
        while let Some(datagram) = to_client.pop_front() {
            answers.extend(client.take(&datagram));
        }
        if answers.is_empty() {
            now = deadline;
        }
        for answer in answers {
            match fates.next().unwrap() {
                Fate::Arrives => transfer.handle(&answer),
                Fate::Doubled => {
                    transfer.handle(&answer);
                    transfer.handle(&answer);
                }
                Fate::Lost => {}
            }
        }
    }
}

#[test]
fn files_arrive_whole() {
    for (length, options, block_bytes, window) in [
        (0, &[][..], 512, 1),
        (511, &[], 512, 1),
        (512, &[], 512, 1),
        (100_000, &[("blksize", "1468"), ("tsize", "0")], 1468, 1),
        (
            100_000,
            &[("blksize", "1024"), ("windowsize", "16")],
            1024,
            16,
        ),
        (1 << 20, &[("blksize", "8"), ("windowsize", "64")], 8, 64),
    ] {
        let file = content(length);
        let (sent, received, outcome) = run(&file, options, block_bytes, window, &[]);
        assert!(received == file, "{length} {options:?}");
        assert_eq!(
            outcome,
            Outcome {
                bytes: length as u64,
                error: None
            }
        );
        assert_eq!(
            sent,
            length / block_bytes + 1,
            "no block is sent twice: {length} {options:?}"
        );
    }
}

#[test]
fn block_numbers_roll_over() {
    let file = content(8 * 140_000 + 3);
    let (_, received, outcome) = run(&file, &[("blksize", "8")], 8, 1, &[]);
    assert!(received == file);
    assert_eq!(outcome.error, None);
}

#[test]
fn a_doubled_packet_does_not_double_the_next() {
    let file = content(50 * 512);
    let (sent, received, _) = run(&file, &[], 512, 1, &[Fate::Doubled; 100]);
    assert!(received == file);
    assert_eq!(sent, 51);
}

#[test]
fn options_are_answered_as_the_rfcs_allow() {
    for (asked, answered) in [
        (
            &[("blksize", "1432"), ("tsize", "0")][..],
            &b"blksize\x001432\0tsize\x001000\0"[..],
        ),
        (&[("blksize", "65464")], b"blksize\x001468\0"),
        (
            &[("windowsize", "1000"), ("timeout", "3")],
            b"windowsize\x0064\0timeout\x003\0",
        ),
        (
            &[("multicast", ""), ("blksize", "1024")],
            b"blksize\x001024\0",
        ),
    ] {
        let mut transfer = transfer(1000, asked);
        assert_eq!(transfer.poll(at(0)), Output::SendOptions, "{asked:?}");
        let expected = [&[0, 6], answered].concat();
        assert_eq!(transfer.options(), Some(&*expected), "{asked:?}");
    }
    // With nothing agreed to, the first packet is the first block.
    for asked in [
        &[("blksize", "7")][..],
        &[("timeout", "0")],
        &[("windowsize", "x")],
        &[("other", "1")],
    ] {
        let mut transfer = transfer(3, asked);
        let output = transfer.poll(at(0));
        assert_eq!(
            datagrams(&transfer, &output, &[0, 1, 2]),
            [[0, 3, 0, 1, 0, 1, 2]],
            "{asked:?}"
        );
    }
}

#[test]
fn an_option_that_comes_again_is_answered_once() {
    let options = [
        ("blksize", "512"),
        ("tsize", "0"),
        ("blksize", "1024"),
        ("tsize", "0"),
    ];
    let transfer = transfer(7, &options.repeat(9));
    let expected = tftp::option_ack(&[("blksize", "512".into()), ("tsize", "7".into())]);
    assert_eq!(transfer.options(), Some(&*expected));
    assert_eq!(transfer.packet_bytes(), 516);
}

#[test]
fn blocks_fit_into_the_mtu() {
    for (mtu, asked, agreed) in [
        (1500, "1468", "1468"),
        (1500, "1469", "1468"),
        (1400, "1468", "1368"),
        (9000, "65464", "8968"),
        (65_536, "65464", "65464"),
        (20, "512", "8"),
    ] {
        let transfer = Transfer::new(1000, &request(&[("blksize", asked)]), mtu);
        let expected = [b"\0\x06blksize\0", agreed.as_bytes(), b"\0"].concat();
        assert_eq!(transfer.options(), Some(&*expected), "{mtu} {asked}");
    }
}

#[test]
fn a_silent_client_is_given_up() {
    let mut transfer = transfer(5000, &[]);
    let mut now = at(0);
    let mut sent = 0;
    let outcome = loop {
        match transfer.poll(now) {
            Output::SendOptions | Output::SendBlocks { .. } => sent += 1,
            Output::WaitUntil(deadline) => now = deadline,
            Output::Done(outcome) => break outcome,
        }
    };
    assert_eq!(
        outcome.error,
        Some(Failure::Timeout {
            bytes: 0,
            size: 5000
        })
    );
    assert_eq!(sent, 6);
    assert!(now > at(20_000) && now < at(60_000), "{now:?}");
}

#[test]
fn a_rom_that_does_not_acknowledge_the_last_block_has_the_file() {
    let mut transfer = transfer(3, &[]);
    let mut now = at(0);
    let outcome = loop {
        match transfer.poll(now) {
            Output::WaitUntil(deadline) => now = deadline,
            Output::Done(outcome) => break outcome,
            Output::SendOptions | Output::SendBlocks { .. } => {}
        }
    };
    assert_eq!(
        outcome,
        Outcome {
            bytes: 3,
            error: None
        }
    );
}

#[test]
fn a_client_that_wanted_the_size_only() {
    let mut transfer = transfer(3000, &[("tsize", "0")]);
    assert_eq!(transfer.poll(at(0)), Output::SendOptions);
    transfer.handle(&refusal(ErrorCode::Options, "User aborted the transfer"));
    let Output::Done(outcome) = transfer.poll(at(1)) else {
        panic!()
    };
    assert!(matches!(
        outcome.error,
        Some(Failure::Aborted { code: 8, .. })
    ));
    assert!(!transfer.is_underway());
}

proptest! {
    #[test]
    fn files_arrive_over_a_bad_network(
        length in 0usize..30_000,
        window in 1u64..20,
        fates in proptest::collection::vec(
            prop_oneof![6 => Just(Fate::Arrives), 1 => Just(Fate::Lost), 1 => Just(Fate::Doubled)], 0..400),
    ) {
        let file = content(length);
        let window_text = window.to_string();
        let options = [("blksize", "512"), ("windowsize", window_text.as_str())];
        let (_, received, outcome) = run(&file, &options, 512, window, &fates);
        // Six losses of one packet in a row end a transfer; otherwise it is whole.
        if outcome.error.is_none() {
            prop_assert_eq!(received, file);
        }
    }

    #[test]
    fn any_datagram_is_survived(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..40)) {
        let mut transfer = transfer(4000, &[("windowsize", "4")]);
        for datagram in datagrams {
            transfer.handle(&datagram);
            while let Output::SendOptions | Output::SendBlocks { .. } = transfer.poll(at(0)) {}
        }
    }
}
