//! How slow BMCs are. Pure: the same numbers give the same delays, so that two
//! runs measure the same.

use std::time::Duration;

/// Between 50 and 500 ms a request, and a slow tail: what crawls of real BMCs
/// show (means of 0.19 to 0.38 s, a rare answer that takes seconds).
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// Shortest, in milliseconds.
    pub least_ms: u64,
    /// Longest of the usual ones, in milliseconds.
    pub most_ms: u64,
    /// How many of 1000 requests are in the tail.
    pub slow_per_mille: u64,
    /// Longest of the tail, in milliseconds.
    pub slowest_ms: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            least_ms: 50,
            most_ms: 500,
            slow_per_mille: 10,
            slowest_ms: 3000,
        }
    }
}

impl Delays {
    /// How long a device takes for its n-th request.
    #[must_use]
    pub fn of(&self, device: u32, request: u32) -> Duration {
        let random = mix(u64::from(device) << 32 | u64::from(request));
        let (low, high) = if random % 1000 < self.slow_per_mille {
            (self.most_ms, self.slowest_ms)
        } else {
            (self.least_ms, self.most_ms)
        };
        let span = high.saturating_sub(low) + 1;
        Duration::from_millis(low + (random >> 20) % span)
    }
}

/// `SplitMix64`: spreads numbers that follow each other.
const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_those_of_bmcs() {
        let delays = Delays::default();
        let all: Vec<u128> = (0..100)
            .flat_map(|device| (0..100).map(move |request| (device, request)))
            .map(|(device, request)| delays.of(device, request).as_millis())
            .collect();
        let mean = all.iter().sum::<u128>() / 10_000;
        assert!((250..350).contains(&mean), "mean of {mean} ms");
        assert!(all.iter().all(|ms| (50..=3000).contains(ms)));
        let slow = all.iter().filter(|ms| **ms > 500).count();
        assert!((50..200).contains(&slow), "{slow} of 10000 are slow");
        assert_eq!(delays.of(7, 3), delays.of(7, 3));
    }
}
