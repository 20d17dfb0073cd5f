//! Thousands of virtual BMCs in one process, for benchmarks: they are slow as
//! BMCs are, share their resources and cost little themselves.
//!
//! `delays` says how slow an answer is, `bmc` answers, `sink` is boot-server as
//! far as chassis-agent reports to it, `account` keeps what happened, and
//! `manifests` writes the Chassis to be looked after.

mod account;
mod bmc;
mod delays;
mod manifests;
mod sink;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use account::{Account, Phase, Stats};
pub use bmc::Pages;
pub use delays::Delays;
pub use manifests::{Declared, write_manifests};

use crate::chassis::{Cartridge, ChassisModel, Fault, Node, Options, VirtualChassis};
use crate::redfish::http;

/// What a fleet is made of.
pub struct Plan {
    /// Resources of the BMCs; the kinds take turns.
    pub kinds: Vec<Arc<Pages>>,
    /// How many BMCs.
    pub bmcs: u32,
    /// How many Moonshot chassis with 45 cartridges of one node.
    pub chassis: u32,
    /// How slow they are.
    pub delays: Delays,
}

/// A fleet that listens on loopback addresses until it is dropped.
pub struct Fleet {
    /// What happened so far.
    pub account: Arc<Account>,
    /// What an operator would declare.
    pub declared: Vec<Declared>,
    /// URL of the sink.
    pub sink: String,
    chassis: Vec<VirtualChassis>,
    _tasks: JoinSet<()>,
}

/// User and password of all devices.
pub const LOGIN: (&str, &str) = ("admin", "secret");

impl Fleet {
    /// Starts all devices and the sink.
    ///
    /// # Errors
    /// When an address is taken, or there are too few file descriptors.
    pub async fn start(plan: Plan) -> io::Result<Self> {
        let account = Arc::new(Account::new(plan.bmcs + plan.chassis));
        let mut tasks = JoinSet::new();
        let mut declared = Vec::new();
        for number in 0..plan.bmcs {
            // 254 devices to a network, as an operator would number them.
            let [_, _, third, fourth] = (number / 254 * 256 + number % 254 + 1).to_be_bytes();
            let address = Ipv4Addr::new(127, 77, third, fourth);
            let listener = TcpListener::bind(SocketAddr::from((address, 0))).await?;
            declared.push(Declared::Bmc(listener.local_addr()?));
            let kind = &plan.kinds[number as usize % plan.kinds.len()];
            let device = bmc::Bmc {
                number,
                pages: Arc::clone(kind),
                delays: plan.delays,
                account: Arc::clone(&account),
            };
            tasks.spawn(accept(listener, Arc::new(device)));
        }
        let mut chassis = Vec::new();
        for number in 0..plan.chassis {
            let manager = start_chassis(number, &plan.delays)?;
            declared.push(Declared::Chassis(manager.address()));
            chassis.push(manager);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let sink = format!("http://{}", listener.local_addr()?);
        let reports = sink::Sink {
            account: Arc::clone(&account),
            bmcs: plan.bmcs,
        };
        tasks.spawn(accept(listener, Arc::new(reports)));
        Ok(Self {
            account,
            declared,
            sink,
            chassis,
            _tasks: tasks,
        })
    }

    /// Commands that each Moonshot chassis was given.
    #[must_use]
    pub fn commands(&self) -> Vec<usize> {
        self.chassis
            .iter()
            .map(|chassis| chassis.commands().len())
            .collect()
    }
}

async fn accept<A: http::Answers + 'static>(listener: TcpListener, device: Arc<A>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: they come back when connections end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let device = Arc::clone(&device);
        let _ = stream.set_nodelay(true);
        connections.spawn(async move {
            // A client that goes away is none of our business.
            let _ = http::serve_connection(stream, device.as_ref()).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

fn start_chassis(number: u32, delays: &Delays) -> io::Result<VirtualChassis> {
    let mut model = ChassisModel::new();
    let [_, _, high, low] = number.to_be_bytes();
    for slot in 1..=45 {
        let mac = |nic| boot_proto::ids::MacAddr::new([0x94, 0x57, high, low, slot, nic]);
        let node = Node::inert(true).macs([mac(1), mac(2)]);
        let cartridge = Cartridge::new("ProLiant m510 Server Cartridge").node(node);
        model = model.with(slot, cartridge);
    }
    let chassis = VirtualChassis::start(Options {
        user: LOGIN.0.into(),
        password: LOGIN.1.into(),
        model,
        ..Options::default()
    })?;
    let typical = delays.of(number, 0);
    chassis.faults().set([Fault::Wait(typical)]);
    Ok(chassis)
}

/// Reads the folders that the BMCs are made of.
///
/// # Errors
/// When one is no folder of Redfish resources.
pub fn read_kinds(folders: &[impl AsRef<Path>]) -> io::Result<Vec<Arc<Pages>>> {
    folders
        .iter()
        .map(|folder| Pages::read(folder.as_ref()).map(Arc::new))
        .collect()
}
