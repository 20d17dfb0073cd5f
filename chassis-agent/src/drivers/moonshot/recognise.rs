//! Which profile a device's answers fit, with as few questions as can be: an
//! answer that fits leaves only rules to be asked for that look for more, and a
//! list of nodes is used again as the first look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::hardware_profile::{HardwareProfile, Recognition};
use boot_proto::time::Monotonic;

use super::Moonshot;
use super::parse::Answer;
use crate::clock;
use crate::drivers::DriverError;

/// How old a list of nodes may be to count as a look.
const FRESH: Duration = Duration::from_secs(5);

/// What recognising a device left behind.
#[derive(Debug, Default)]
pub(super) struct Recognised {
    /// An answer that may serve as the first list: to which command, and when.
    list: Option<(String, Answer, Monotonic)>,
    /// Profiles with rules that nobody asked for, since another one fitted
    /// better. Where commands of that one are not known, they are asked for.
    others: Vec<Arc<HardwareProfile>>,
}

impl Recognised {
    /// The answer to `command` where recognition has just asked it; once.
    pub(super) fn list(&mut self, command: &str, now: Monotonic) -> Option<Answer> {
        let (asked, answer, at) = self.list.take()?;
        (asked == command && now.since(at) < FRESH).then_some(answer)
    }
}

/// A rule with its profile.
type Candidate = (Recognition, Arc<HardwareProfile>);

impl Moonshot {
    /// Finds the profile among `profiles` that the device's answers fit, and
    /// goes on with it.
    ///
    /// # Errors
    /// When the device cannot be reached.
    pub async fn recognise(
        mut self,
        profiles: &[Arc<HardwareProfile>],
    ) -> Result<Option<Self>, DriverError> {
        let mut answers: BTreeMap<String, (Answer, Monotonic)> = BTreeMap::new();
        let mut best: Option<Candidate> = None;
        let mut others = Vec::new();
        for (rule, profile) in in_order(profiles) {
            let is_better = |best: &Candidate| rule.weight() > best.0.weight();
            if !best.as_ref().is_none_or(is_better) {
                others.push(profile);
                continue;
            }
            if !answers.contains_key(&rule.command) {
                let answer = self.session.run(&rule.command, &self.rules).await?;
                answers.insert(rule.command.clone(), (answer, clock::now()));
            }
            let answer = answers.get(&rule.command);
            if answer.is_some_and(|(answer, _)| rule.fits(&answer.text())) {
                best = Some((rule, profile));
            }
        }
        let Some((_, profile)) = best else {
            self.session.close().await;
            return Ok(None);
        };
        tracing::info!(address = self.address, profile = profile.name, "recognised");
        self.take(&profile);
        others.retain(|other| other.name != profile.name);
        let command = self.rules.commands.list.clone();
        let list = answers.remove(&command);
        self.recognised = Recognised {
            list: list.map(|(answer, at)| (command, answer, at)),
            others,
        };
        Ok(Some(self))
    }

    /// The firmware does not know a command that its profile has: asks, once, for
    /// what the other profiles look for, and takes one that fits. Says whether
    /// there was one.
    ///
    /// # Errors
    /// When the device cannot be reached.
    pub(super) async fn is_another_after_all(&mut self) -> Result<bool, DriverError> {
        for profile in std::mem::take(&mut self.recognised.others) {
            for rule in profile.recognise.clone() {
                let answer = self.session.run(&rule.command, &self.rules).await?;
                if rule.fits(&answer.text()) {
                    tracing::info!(
                        address = self.address,
                        profile = profile.name,
                        was = self.profile.name,
                        "recognised after all"
                    );
                    self.take(&profile);
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn take(&mut self, profile: &Arc<HardwareProfile>) {
        if let Some(rules) = &profile.cli {
            self.rules = rules.clone();
        }
        self.profile = Arc::clone(profile);
        self.unknown.clear();
        self.facts.clear();
    }
}

/// All rules: those whose answer is of use as a list first, and of these the ones
/// that look for most.
fn in_order(profiles: &[Arc<HardwareProfile>]) -> Vec<Candidate> {
    let mut all: Vec<(bool, Candidate)> = Vec::new();
    for profile in profiles {
        let Some(rules) = &profile.cli else { continue };
        for rule in &profile.recognise {
            let is_list = rule.command == rules.commands.list;
            all.push((!is_list, (rule.clone(), Arc::clone(profile))));
        }
    }
    all.sort_by_key(|(is_extra, (rule, _))| (*is_extra, std::cmp::Reverse(rule.weight())));
    all.into_iter().map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::Profiles;

    #[test]
    fn the_list_of_nodes_is_asked_for_first_and_says_most() {
        let profiles = Profiles::built_in().unwrap();
        let profiles: Vec<_> = profiles.all().map(Arc::clone).collect();
        let order = in_order(&profiles);
        let commands: Vec<&str> = order.iter().map(|(rule, _)| &*rule.command).collect();
        assert_eq!(
            commands,
            ["show node list", "show node list", "show firmware"]
        );
        // A rule that looks for more than a list of 1.x has would be asked for.
        assert!(order[0].0.weight() > order[2].0.weight());
        assert!(order[1].0.weight() < order[2].0.weight());
    }

    #[test]
    fn a_list_counts_once_and_only_while_it_is_fresh() {
        let at = |secs| Monotonic(Duration::from_secs(secs));
        let kept = || Recognised {
            list: Some((
                "show node list".into(),
                Answer { lines: Vec::new() },
                at(10),
            )),
            others: Vec::new(),
        };
        let mut recognised = kept();
        assert!(recognised.list("show node list", at(12)).is_some());
        assert!(recognised.list("show node list", at(12)).is_none());
        assert!(kept().list("show node list", at(15)).is_none());
        assert!(kept().list("show firmware", at(10)).is_none());
    }
}
