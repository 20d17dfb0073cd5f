//! Any request, then any datagrams and passing time, to one TFTP transfer: size
//! of the file, MTU, the request, and a step each of milliseconds and datagram.

#![no_main]

use std::time::Duration;

use boot_proto::tftp::FromClient;
use boot_proto::time::Monotonic;
use boot_server::tftp::transfer::{Output, Transfer};
use libfuzzer_sys::fuzz_target;
use moonfarm_fuzz::Messages;

const MOST_STEPS: usize = 200;
/// What one datagram may bring about before there is a deadline.
const MOST_OUTPUTS: usize = 4;
/// Largest window that is agreed to.
const MOST_BLOCKS: u64 = 64;

struct Lab {
    transfer: Transfer,
    size: u64,
    mtu: usize,
    now: Monotonic,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Messages(data);
    let (Some(size), Some(factor), Some(mtu)) = (input.number(), input.octet(), input.number())
    else {
        return;
    };
    let Some(Ok(FromClient::Read(request))) = input.next().map(FromClient::parse) else {
        return;
    };
    // Up to four times as much as block numbers reach.
    let size = u64::from(size) << (factor % 20);
    let mtu = usize::from(mtu).max(68);
    let mut lab = Lab {
        transfer: Transfer::new(size, &request, mtu),
        size,
        mtu,
        now: Monotonic(Duration::ZERO),
    };
    let mut is_over = lab.settle();
    for _ in 0..MOST_STEPS {
        let (Some(millis), Some(datagram)) = (input.number(), input.next()) else {
            break;
        };
        lab.now = lab.now.after(Duration::from_millis(millis.into()));
        lab.transfer.handle(datagram);
        let ends = lab.settle();
        assert!(ends || !is_over, "a transfer that was over goes on");
        is_over = ends;
    }
    lab.run_out();
});

impl Lab {
    /// Does what the transfer wants until it waits; whether it is over.
    fn settle(&mut self) -> bool {
        for _ in 0..MOST_OUTPUTS {
            match self.transfer.poll(self.now) {
                Output::SendOptions => {
                    let options = self.transfer.options().expect("there are options to send");
                    assert!(options.starts_with(&[0, 6]) && options.len() < 512);
                }
                Output::SendBlocks { first, count } => self.check_blocks(first, count),
                Output::WaitUntil(deadline) => {
                    assert!(deadline > self.now, "a deadline that has passed");
                    return false;
                }
                Output::Done(outcome) => {
                    assert!(outcome.bytes <= self.size);
                    assert!(outcome.error.is_some() || outcome.bytes == self.size);
                    return true;
                }
            }
        }
        panic!("no deadline after {MOST_OUTPUTS} packets");
    }

    fn check_blocks(&self, first: u64, count: u64) {
        assert!(
            first >= 1 && (1..=MOST_BLOCKS).contains(&count),
            "{first} + {count}"
        );
        assert!(self.transfer.packet_bytes() + 28 <= self.mtu.max(28 + 12).max(544 + 28));
        for number in first..first + count {
            let (start, length) = self.transfer.block(number);
            assert!(start + length as u64 <= self.size, "block {number}");
            assert!(length + 4 <= self.transfer.packet_bytes());
        }
    }

    /// A client that says nothing any more is given up, in bounded time.
    fn run_out(&mut self) {
        for _ in 0..64 {
            if self.settle() {
                return;
            }
            if let Output::WaitUntil(deadline) = self.transfer.poll(self.now) {
                self.now = deadline;
            }
        }
        panic!("a client that is gone is waited for without end");
    }
}
