//! What a chassis manager prints -> values. Pure, tolerant, and bounded: a
//! device may print anything, and what cannot be read is left out.
//!
//! Node ids, MACs and state words are looked for by their form; the columns of
//! a table come from its row of dashes and are believed where they fit.

mod facts;
mod list;
mod macs;
mod power;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use facts::{Facts, parse_facts};
pub use list::{ListedNode, parse_list};
pub use macs::{ListedNic, parse_macs};
pub use power::parse_power;
pub use text::{Answer, Ending, clean, clean_with, ending, prompt_of};

use boot_proto::hardware_profile::CliRules;
use boot_proto::resources::ObservedPower;

/// The state a word means, or `None` for a word the profile does not know.
pub(super) fn power_word(rules: &CliRules, word: &str) -> Option<ObservedPower> {
    let known = rules
        .power_states
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(word));
    known.map(|(_, state)| *state)
}

/// Whether a word stands for a value that is not there.
fn is_absent(rules: &CliRules, word: &str) -> bool {
    word.is_empty()
        || rules
            .absent
            .iter()
            .any(|absent| absent.eq_ignore_ascii_case(word))
}
