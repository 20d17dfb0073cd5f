//! The command line of a Moonshot chassis manager, over SSH. What differs
//! between models and firmware is in the hardware profile.

mod algorithms;
mod commands;
mod connect;
mod console;
pub mod parse;
mod recognise;
pub mod rest;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use boot_proto::api::{ObservedMachine, ObservedNic};
use boot_proto::hardware_profile::{CliRules, HardwareProfile, command_for};
use boot_proto::ids::SlotId;
use boot_proto::resources::ObservedPower;

use super::{
    BootTarget, ChassisDriver, Console, Consoles, DriverError, DriverFuture, Patience,
    PowerOrderKind, Scope, Slot, node_of,
};
use crate::clock;
use crate::config::Target;
use parse::{
    Answer, Facts, ListedNic, ListedNode, parse_facts, parse_list, parse_macs, parse_power,
};
use recognise::Recognised;
use session::Session;

/// A Moonshot chassis manager.
pub struct Moonshot {
    address: String,
    profile: Arc<HardwareProfile>,
    rules: CliRules,
    session: Session,
    /// Commands this firmware does not know; they are not tried again.
    unknown: BTreeSet<String>,
    /// Facts do not change while a node has the same MACs.
    facts: BTreeMap<SlotId, (Vec<ListedNic>, Facts)>,
    /// What recognising it left behind.
    recognised: Recognised,
}

impl Moonshot {
    /// A driver that has not connected yet.
    ///
    /// # Errors
    /// When the profile is for another driver.
    pub fn new(target: Arc<Target>, profile: Arc<HardwareProfile>) -> Result<Self, DriverError> {
        let rules = profile.cli.clone().ok_or_else(|| {
            DriverError::Profile(format!("{} has no section `cli`", profile.name))
        })?;
        Ok(Self {
            address: target.address.to_string(),
            session: Session::new(target),
            profile,
            rules,
            unknown: BTreeSet::new(),
            facts: BTreeMap::new(),
            recognised: Recognised::default(),
        })
    }

    /// Asks, or returns `None` when this firmware does not know the command.
    async fn ask(&mut self, command: Option<&str>) -> Result<Option<Answer>, DriverError> {
        let Some(command) = command.filter(|command| !self.unknown.contains(*command)) else {
            return Ok(None);
        };
        let answer = self.session.run(command, &self.rules).await?;
        if commands::is_unknown(&answer, &self.rules) {
            tracing::debug!(
                address = self.address,
                command,
                "not known to this firmware"
            );
            self.unknown.insert(command.to_owned());
            return Ok(None);
        }
        Ok(Some(answer))
    }

    /// The same for one node; what one node's command is not known for, is not
    /// known for the others.
    async fn ask_one(
        &mut self,
        template: Option<&str>,
        slot: SlotId,
    ) -> Result<Option<Answer>, DriverError> {
        let Some(template) = template.filter(|template| !self.unknown.contains(*template)) else {
            return Ok(None);
        };
        let answer = self
            .session
            .run(&command_for(template, slot), &self.rules)
            .await?;
        if commands::is_unknown(&answer, &self.rules) {
            self.unknown.insert(template.to_owned());
            return Ok(None);
        }
        Ok(Some(answer))
    }

    async fn list(&mut self) -> Result<Vec<ListedNode>, DriverError> {
        let command = self.rules.commands.list.clone();
        let answer = match self.recognised.list(&command, clock::now()) {
            Some(answer) => answer,
            None => self.session.run(&command, &self.rules).await?,
        };
        let mut nodes = parse_list(&answer, &self.rules).ok_or_else(|| {
            let problem = "it is no list of nodes";
            commands::unreadable(&command, &answer, &self.rules, &self.address, problem)
        })?;
        self.ask_missing_power(&mut nodes).await?;
        nodes.sort_by_key(|node| node.slot);
        Ok(nodes)
    }

    /// Rows without asset information show no power; asks for those.
    async fn ask_missing_power(&mut self, nodes: &mut [ListedNode]) -> Result<(), DriverError> {
        /// More single questions than this cost more time than they are worth.
        const MOST_QUESTIONS: usize = 8;
        let is_open = |node: &ListedNode| node.power == ObservedPower::Unknown;
        if !nodes.iter().any(is_open) {
            return Ok(());
        }
        // A list that shows no power at all leaves no other way.
        let most = if nodes.iter().all(is_open) {
            nodes.len()
        } else {
            MOST_QUESTIONS
        };
        let command = self.rules.commands.power.clone();
        if let Some(answer) = self.ask(command.as_deref()).await? {
            let states = parse_power(&answer, None, &self.rules);
            for node in nodes.iter_mut().filter(|node| is_open(node)) {
                node.power = states.get(&node.slot).copied().unwrap_or_default();
            }
        }
        let template = self.rules.commands.power_of_one.clone();
        for node in nodes.iter_mut().filter(|node| is_open(node)).take(most) {
            if let Some(answer) = self.ask_one(Some(&template), node.slot).await? {
                let states = parse_power(&answer, Some(node.slot), &self.rules);
                node.power = states.get(&node.slot).copied().unwrap_or_default();
            }
        }
        Ok(())
    }

    async fn macs(
        &mut self,
        nodes: &[ListedNode],
    ) -> Result<BTreeMap<SlotId, Vec<ListedNic>>, DriverError> {
        let command = self.rules.commands.macs.clone();
        if let Some(answer) = self.ask(Some(&command)).await? {
            return parse_macs(&answer, &self.rules).ok_or_else(|| {
                let problem = "it is no table of MACs";
                commands::unreadable(&command, &answer, &self.rules, &self.address, problem)
            });
        }
        let template = self.rules.commands.macs_of_one.clone();
        let mut macs = BTreeMap::new();
        for node in nodes {
            if let Some(answer) = self.ask_one(template.as_deref(), node.slot).await? {
                macs.extend(parse_macs(&answer, &self.rules).unwrap_or_default());
            }
        }
        Ok(macs)
    }

    /// Learns facts of nodes that are new or have other MACs than before. Facts
    /// are worth having, not worth failing for: a device without them is fine.
    async fn learn_facts(&mut self, macs: &BTreeMap<SlotId, Vec<ListedNic>>, slots: &[SlotId]) {
        self.facts.retain(|slot, (known, _)| {
            slots.contains(slot) && macs.get(slot).is_none_or(|now| now == known)
        });
        let fresh: Vec<SlotId> = slots
            .iter()
            .filter(|slot| !self.facts.contains_key(slot))
            .copied()
            .collect();
        if fresh.is_empty() {
            return;
        }
        let learned = match self.ask_facts(&fresh, slots).await {
            Ok(learned) => learned,
            Err(error) => {
                tracing::debug!(address = self.address, %error, "no facts");
                return;
            }
        };
        for slot in fresh {
            let facts = learned.get(&slot).cloned().unwrap_or_default();
            self.facts
                .insert(slot, (macs.get(&slot).cloned().unwrap_or_default(), facts));
        }
    }

    async fn ask_facts(
        &mut self,
        fresh: &[SlotId],
        slots: &[SlotId],
    ) -> Result<BTreeMap<SlotId, Facts>, DriverError> {
        let command = self.rules.commands.info.clone();
        if let Some(answer) = self.ask(command.as_deref()).await? {
            let facts = parse_facts(&answer, None, slots, &self.rules);
            if !facts.is_empty() {
                return Ok(facts);
            }
            // Known, but not in a form that names nodes: not worth asking again.
            self.unknown.extend(command);
        }
        let template = self.rules.commands.info_of_one.clone();
        let mut facts = BTreeMap::new();
        for slot in fresh {
            let Some(answer) = self.ask_one(template.as_deref(), *slot).await? else {
                break;
            };
            // All slots, so that what a cartridge says is not given to each of
            // its nodes.
            let mut said = parse_facts(&answer, Some(*slot), slots, &self.rules);
            facts.extend(said.remove_entry(slot));
        }
        Ok(facts)
    }

    async fn observe_all(&mut self) -> Result<Vec<ObservedMachine>, DriverError> {
        let machines = self.observe_with_its_profile().await?;
        if !self.unknown.is_empty() && self.is_another_after_all().await? {
            return self.observe_with_its_profile().await;
        }
        Ok(machines)
    }

    async fn observe_with_its_profile(&mut self) -> Result<Vec<ObservedMachine>, DriverError> {
        let nodes = self.list().await?;
        let macs = self.macs(&nodes).await?;
        let slots: Vec<SlotId> = nodes.iter().map(|node| node.slot).collect();
        self.learn_facts(&macs, &slots).await;
        let machine = |node: &ListedNode| {
            let facts = self.facts.get(&node.slot).map(|(_, facts)| facts.clone());
            let facts = facts.unwrap_or_default();
            let nics = macs.get(&node.slot).filter(|nics| !nics.is_empty());
            machine(node, nics.unwrap_or(&facts.nics), facts.clone())
        };
        Ok(nodes.iter().map(machine).collect())
    }

    async fn observe_one(&mut self, slot: SlotId) -> Result<Vec<ObservedMachine>, DriverError> {
        let template = self.rules.commands.power_of_one.clone();
        if let Some(answer) = self.ask_one(Some(&template), slot).await? {
            let states = parse_power(&answer, Some(slot), &self.rules);
            if let Some(power) = states.get(&slot) {
                let node = ListedNode {
                    slot,
                    power: *power,
                };
                return Ok(vec![machine(&node, &[], Facts::default())]);
            }
        }
        let nodes = self.list().await?;
        let node = nodes.iter().find(|node| node.slot == slot);
        Ok(node
            .map(|node| machine(node, &[], Facts::default()))
            .into_iter()
            .collect())
    }

    async fn order(&mut self, command: &str) -> Result<Answer, DriverError> {
        let answer = self.session.run(command, &self.rules).await?;
        commands::judge_order(command, &answer, &self.rules, &self.address)?;
        tracing::debug!(
            address = self.address,
            command,
            answer = answer.text(),
            "ordered"
        );
        Ok(answer)
    }
}

fn patience_of(rules: &CliRules) -> Patience {
    let timing = &rules.timing;
    Patience {
        settle: timing.settle.duration(),
        shutdown: timing.shutdown.duration(),
        poll: timing.poll.duration(),
    }
}

fn machine(node: &ListedNode, nics: &[ListedNic], facts: Facts) -> ObservedMachine {
    let mut macs = Vec::new();
    for nic in nics {
        if !macs.contains(&nic.mac) {
            macs.push(nic.mac);
        }
    }
    ObservedMachine {
        slot: node.slot.to_string(),
        macs,
        power: node.power,
        uuid: facts.uuid,
        serial: facts.serial,
        manufacturer: facts.manufacturer,
        model: facts.model,
        nics: nics
            .iter()
            .map(|nic| ObservedNic {
                name: format!("NIC {}", nic.number),
                mac: Some(nic.mac),
                switch: nic.switch.clone().filter(|switch| !switch.is_empty()),
            })
            .collect(),
    }
}

impl ChassisDriver for Moonshot {
    fn profile(&self) -> &str {
        &self.profile.name
    }

    fn patience(&self) -> Patience {
        patience_of(&self.rules)
    }

    fn observe(&mut self, scope: Scope) -> DriverFuture<'_, Vec<ObservedMachine>> {
        Box::pin(async move {
            match scope {
                Scope::Full => self.observe_all().await,
                Scope::Power => {
                    let nodes = self.list().await?;
                    Ok(nodes
                        .iter()
                        .map(|node| machine(node, &[], Facts::default()))
                        .collect())
                }
                Scope::One(slot) => self.observe_one(node_of(&slot)?).await,
            }
        })
    }

    fn power<'a>(&'a mut self, slot: &'a Slot, order: PowerOrderKind) -> DriverFuture<'a, ()> {
        Box::pin(async move {
            let command = commands::power(&self.rules, node_of(slot)?, order);
            self.order(&command).await.map(|_| ())
        })
    }

    fn boot_once<'a>(&'a mut self, slot: &'a Slot, target: BootTarget) -> DriverFuture<'a, ()> {
        Box::pin(async move {
            let command =
                commands::boot_once(&self.rules, &self.profile.name, node_of(slot)?, target)?;
            let answer = self.order(&command).await?;
            commands::judge_boot_once(&command, &answer, &self.rules, target)
        })
    }

    fn close(&mut self) -> DriverFuture<'_, ()> {
        Box::pin(async move {
            self.session.close().await;
            Ok(())
        })
    }

    fn requests(&self) -> u64 {
        self.session.commands()
    }

    fn consoles(&mut self) -> Option<&mut dyn Consoles> {
        Some(self)
    }
}

impl Consoles for Moonshot {
    fn console<'a>(
        &'a mut self,
        slot: &'a Slot,
        acquire: bool,
    ) -> DriverFuture<'a, Box<dyn Console>> {
        Box::pin(async move {
            let (node, profile) = (node_of(slot)?, &self.profile.name);
            let console =
                console::connect(&mut self.session, node, acquire, &self.rules, profile).await?;
            Ok(Box::new(console) as Box<dyn Console>)
        })
    }
}
