//! What is in the chassis: cartridges in slots, nodes on cartridges.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use boot_proto::ids::{MacAddr, SlotId};

use super::node::{BootOnce, InertNode, NodePower, PowerState};

/// Slots of a Moonshot 1500.
pub const SLOTS: u8 = 45;

/// Most nodes on one cartridge (m700, m800).
pub const NODES_PER_CARTRIDGE: usize = 4;

/// The cartridges of a chassis by slot. Empty slots are not in it.
#[derive(Default)]
pub struct ChassisModel {
    cartridges: BTreeMap<u8, Cartridge>,
}

impl ChassisModel {
    /// An empty chassis.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a cartridge into a slot, in place of what was there.
    ///
    /// # Panics
    /// When there is no such slot, or the cartridge has no node or more than
    /// four: a mistake in a test.
    #[must_use]
    pub fn with(mut self, slot: u8, cartridge: Cartridge) -> Self {
        assert!(
            (1..=SLOTS).contains(&slot),
            "there is no slot {slot}, only 1 to {SLOTS}"
        );
        assert!(
            (1..=NODES_PER_CARTRIDGE).contains(&cartridge.nodes.len()),
            "a cartridge has 1 to {NODES_PER_CARTRIDGE} nodes, not {}",
            cartridge.nodes.len()
        );
        self.cartridges.insert(slot, cartridge);
        self
    }

    /// The cartridges by slot.
    pub(super) fn cartridges(&self) -> impl Iterator<Item = (u8, &Cartridge)> {
        self.cartridges
            .iter()
            .map(|(slot, cartridge)| (*slot, cartridge))
    }

    /// All nodes in the order of the list.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (SlotId, &Cartridge, &Node)> {
        self.cartridges.iter().flat_map(|(slot, cartridge)| {
            cartridge
                .nodes
                .iter()
                .zip(1..)
                .filter_map(move |(node, number)| {
                    Some((SlotId::new(*slot, number).ok()?, cartridge, node))
                })
        })
    }

    /// The node in `slot`, if there is one.
    #[must_use]
    pub fn node(&self, slot: SlotId) -> Option<&Node> {
        let cartridge = self.cartridges.get(&slot.cartridge())?;
        cartridge
            .nodes
            .get(usize::from(slot.node()).checked_sub(1)?)
    }
}

/// A cartridge and its nodes.
pub struct Cartridge {
    pub(super) product: String,
    pub(super) manufacturer: String,
    pub(super) serial: String,
    pub(super) nodes: Vec<Node>,
}

impl Cartridge {
    /// A cartridge without nodes, such as `ProLiant m510 Server Cartridge`.
    #[must_use]
    pub fn new(product: &str) -> Self {
        Self {
            product: product.into(),
            manufacturer: "HP".into(),
            serial: String::new(),
            nodes: Vec::new(),
        }
    }

    /// With a serial number, which `show node info` prints.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Self {
        self.serial = serial.into();
        self
    }

    /// With one more node; the first is `n1`.
    #[must_use]
    pub fn node(mut self, node: Node) -> Self {
        self.nodes.push(node);
        self
    }
}

/// One server on a cartridge.
pub struct Node {
    pub(super) nics: Vec<Option<MacAddr>>,
    pub(super) processor: String,
    pub(super) architecture: String,
    pub(super) memory: String,
    pub(super) status: String,
    pub(super) asset_tag: String,
    pub(super) has_asset_information: bool,
    pub(super) uuid: String,
    power: Arc<dyn NodePower>,
    transition: Mutex<Transition>,
}

/// What the chassis manager knows of a node besides what the node knows.
#[derive(Default)]
struct Transition {
    /// Shown until then, whatever the node does: the manager looks slowly.
    shown: Option<(PowerState, Instant)>,
    boot_once: Option<BootOnce>,
}

impl Node {
    /// A node whose power is switched through `power`.
    #[must_use]
    pub fn new(power: Arc<dyn NodePower>) -> Self {
        Self {
            nics: Vec::new(),
            processor: "Intel Corporation".into(),
            architecture: "x86 Architecture".into(),
            memory: "32 GB".into(),
            status: "OK".into(),
            asset_tag: String::new(),
            has_asset_information: true,
            uuid: String::new(),
            power,
            transition: Mutex::default(),
        }
    }

    /// A node without a machine.
    #[must_use]
    pub fn inert(is_on: bool) -> Self {
        Self::new(Arc::new(InertNode::new(is_on)))
    }

    /// With NICs, `None` for one that is not there. The first leads to switch
    /// A, the second to B, and so on.
    #[must_use]
    pub fn nics(mut self, nics: impl IntoIterator<Item = Option<MacAddr>>) -> Self {
        self.nics = nics.into_iter().collect();
        self
    }

    /// With NICs of these addresses.
    #[must_use]
    pub fn macs(self, macs: impl IntoIterator<Item = MacAddr>) -> Self {
        self.nics(macs.into_iter().map(Some))
    }

    /// With memory as the list prints it, such as `32 GB`.
    #[must_use]
    pub fn memory(mut self, memory: &str) -> Self {
        self.memory = memory.into();
        self
    }

    /// With the processor's maker as the list prints it.
    #[must_use]
    pub fn processor(mut self, maker: &str) -> Self {
        self.processor = maker.into();
        self
    }

    /// With a UUID, which newer chassis managers show.
    #[must_use]
    pub fn uuid(mut self, uuid: &str) -> Self {
        self.uuid = uuid.into();
        self
    }

    /// With an asset tag.
    #[must_use]
    pub fn asset_tag(mut self, tag: &str) -> Self {
        self.asset_tag = tag.into();
        self
    }

    /// Without asset information: the list shows a row without data.
    #[must_use]
    pub fn without_asset_information(mut self) -> Self {
        self.has_asset_information = false;
        self
    }

    /// What its power is switched through.
    #[must_use]
    pub fn power_switch(&self) -> &Arc<dyn NodePower> {
        &self.power
    }

    /// What it was told to boot from next time, if it was not powered on since.
    #[must_use]
    pub fn boot_once(&self) -> Option<BootOnce> {
        self.locked().boot_once
    }

    pub(super) fn set_boot_once(&self, target: BootOnce) {
        self.locked().boot_once = Some(target);
    }

    /// The power the chassis manager shows now.
    pub(super) fn shown_power(&self) -> PowerState {
        let mut transition = self.locked();
        match transition.shown {
            Some((state, until)) if Instant::now() < until => state,
            _ => {
                transition.shown = None;
                drop(transition);
                self.power.power()
            }
        }
    }

    pub(super) fn switch_on(&self, settle: Duration) -> io::Result<()> {
        let mut transition = self.locked();
        if self.power.power() != PowerState::Off {
            return Ok(());
        }
        self.power.power_on(transition.boot_once.take())?;
        transition.shown = until(PowerState::PoweringOn, settle);
        Ok(())
    }

    pub(super) fn switch_off(&self, force: bool, settle: Duration) -> io::Result<()> {
        let mut transition = self.locked();
        if self.power.power() == PowerState::Off {
            return Ok(());
        }
        self.power.power_off(force)?;
        transition.shown = until(PowerState::On, settle);
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Transition> {
        self.transition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn until(state: PowerState, settle: Duration) -> Option<(PowerState, Instant)> {
    (!settle.is_zero()).then(|| (state, Instant::now() + settle))
}
