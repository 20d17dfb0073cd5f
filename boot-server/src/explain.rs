//! Why a machine is given what it is given: the records and rules that decide,
//! and where its latest boot stands.

mod answer;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use boot_proto::api::{BootView, LeaseView};
use boot_proto::ids::{Digest, MacAddr};
use boot_proto::resources::{LoaderKind, Taint};
use serde::{Deserialize, Serialize};

pub use answer::{LastAnswer, OptionView};

use crate::clock;
use crate::http::{App, choose_image, goes_first, lease_views};
use crate::inventory::{Assignment, Client, Inventory, MatchedBy};
use crate::matchbox::Labels;

/// All that decides for one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Explanation {
    /// What was asked for.
    pub asked: String,
    /// The Machine, or none where the client is no machine of this farm.
    pub machine: Option<String>,
    /// How it was recognised.
    pub matched: String,
    /// Host name and node name.
    pub hostname: String,
    /// Whether a manifest declares it.
    pub declared: bool,
    /// Its MACs.
    pub macs: Vec<MacAddr>,
    /// Its SMBIOS UUID.
    pub uuid: Option<String>,
    /// Its pool.
    pub pool: Option<String>,
    /// What decided for that pool.
    pub pool_rule: Option<String>,
    /// Its profiles in the order in which they are merged.
    pub profiles: Vec<String>,
    /// Its subnet, and why that one.
    pub subnet: Option<String>,
    /// Its reserved address.
    pub address: Option<Ipv4Addr>,
    /// What its pool calls its image.
    pub image: Option<String>,
    /// The image that this means now.
    pub image_digest: Option<Digest>,
    /// The MatchboxGroup that its MAC and UUID alone lead to, and whether it decides.
    pub matchbox: Option<String>,
    /// The cluster it joins.
    pub cluster: Option<String>,
    /// Kernel arguments from image, Image resource and profiles.
    pub kernel_arguments: Vec<String>,
    /// Node labels.
    pub labels: BTreeMap<String, String>,
    /// Node taints.
    pub taints: Vec<Taint>,
    /// Its leases.
    pub leases: Vec<LeaseView>,
    /// What its firmware is to load: `ipxe`, `grub`, or `shim` for Secure Boot.
    pub loader: Option<String>,
    /// What DHCP decided last about it since this server started.
    pub last_answer: Option<LastAnswer>,
    /// Its latest boot.
    pub boot: Option<BootView>,
    /// What keeps it from booting, in words.
    pub problems: Vec<String>,
}

/// Explains a MAC, an address, a SMBIOS UUID, or the name of a machine or node.
/// `None` when it is none of them.
#[must_use]
pub fn explain(app: &App, who: &str) -> Option<Explanation> {
    let inventory = app.farm.inventory();
    let Some(found) = find(app, &inventory, who) else {
        return free_address(&inventory, who);
    };
    let mut explanation = match &found {
        Ok(assignment) => of_machine(app, &inventory, assignment),
        Err((mac, problem)) => Explanation {
            macs: vec![*mac],
            problems: vec![problem.clone()],
            ..Explanation::default()
        },
    };
    who.clone_into(&mut explanation.asked);
    let macs = explanation.macs.clone();
    explanation.leases = lease_views(app);
    explanation.leases.retain(|lease| macs.contains(&lease.mac));
    explanation.boot = macs
        .iter()
        .filter_map(|mac| app.boots.latest(*mac))
        .max_by_key(|boot| boot.started);
    explanation.last_answer = macs
        .iter()
        .filter_map(|mac| app.boots.last_decision(*mac))
        .max_by_key(|(at, _)| *at)
        .map(|(at, decision)| answer::view(at, &decision, &inventory, found.as_ref().ok()));
    if explanation.boot.is_none() {
        explanation.problems.push(
            "nothing was heard of it yet: no DHCP packet of its firmware and no request for a \
             script has come in"
                .into(),
        );
    }
    Some(explanation)
}

/// The machine, or the MAC that belongs to none and why.
type Found = Result<Assignment, (MacAddr, String)>;

fn find(app: &App, inventory: &Inventory, who: &str) -> Option<Found> {
    let by_mac = |mac| {
        let client = Client { mac, uuid: None };
        inventory
            .assign(&client)
            .map_err(|reason| (mac, reason.to_string()))
    };
    if let Some(assignment) = inventory.assignment_of(who) {
        return Some(Ok(assignment));
    }
    if let Ok(mac) = who.parse::<MacAddr>() {
        return Some(by_mac(mac));
    }
    let named = inventory
        .machine_of_uuid(who)
        .or_else(|| inventory.machine_of_hostname(who));
    if let Some(assignment) = named.and_then(|machine| inventory.assignment_of(machine)) {
        return Some(Ok(assignment));
    }
    let address: Ipv4Addr = who.parse().ok()?;
    if let Some(mac) = app.leases.holder(address, clock::wall()) {
        return Some(by_mac(mac));
    }
    inventory
        .assignment_of(inventory.reservation_of(address)?)
        .map(Ok)
}

/// An address of a declared Subnet that nobody has.
fn free_address(inventory: &Inventory, who: &str) -> Option<Explanation> {
    let address: Ipv4Addr = who.parse().ok()?;
    let subnet = inventory.subnet_of(address)?;
    let mut ranges = subnet.spec.ranges.iter();
    let problem = if ranges.any(|range| (range.from..=range.to).contains(&address)) {
        "it is in a range, and goes to the next machine that asks"
    } else {
        "it is in no range: only a Machine that names it gets it"
    };
    Some(Explanation {
        asked: who.to_owned(),
        subnet: Some(format!("{} (the address lies in it)", subnet.name())),
        problems: vec![format!(
            "nobody has {address} leased or reserved; {problem}"
        )],
        ..Explanation::default()
    })
}

fn of_machine(app: &App, inventory: &Inventory, assignment: &Assignment) -> Explanation {
    let mut explanation = Explanation {
        machine: Some(assignment.machine.clone()),
        matched: matched(assignment.matched).to_owned(),
        hostname: assignment.hostname.clone(),
        declared: assignment.declared,
        macs: assignment.macs.clone(),
        uuid: assignment.uuid.clone(),
        pool: assignment.pool.clone(),
        pool_rule: assignment.pool_rule.map(|rule| rule.words().to_owned()),
        profiles: profiles(inventory, assignment),
        subnet: subnet(inventory, assignment),
        address: assignment.address,
        image: assignment.image.clone(),
        loader: Some(loader(assignment).to_owned()),
        cluster: assignment
            .cluster
            .as_ref()
            .map(|cluster| cluster.name().to_owned()),
        labels: assignment.profile.labels.clone(),
        taints: assignment.profile.taints.clone(),
        ..Explanation::default()
    };
    explanation.matchbox = matchbox(inventory, assignment);
    let has_no_pool = assignment.pool.is_none();
    match choose_image(&app.images, inventory, assignment) {
        Ok(chosen) => {
            explanation.image_digest = Some(chosen.image.digest);
            explanation.kernel_arguments = chosen.image.manifest.kernel_arguments.clone();
            explanation.kernel_arguments.extend(chosen.arguments);
        }
        // Then it needs no pool.
        Err(_) if has_no_pool && explanation.matchbox.is_some() => {}
        Err(reason) => explanation.problems.push(reason.to_string()),
    }
    explanation
        .kernel_arguments
        .extend(assignment.profile.kernel_arguments.iter().cloned());
    let cluster = assignment.cluster.as_ref();
    if let Some(cluster) = cluster.filter(|cluster| cluster.spec.kubeconfig_file.is_none()) {
        explanation.problems.push(format!(
            "Cluster {} has no kubeconfigFile, so that no join token can be minted",
            cluster.name()
        ));
    }
    explanation
}

/// What it says of itself but for MAC and UUID is not known before it asks.
fn matchbox(inventory: &Inventory, assignment: &Assignment) -> Option<String> {
    let mac = assignment.macs.first()?;
    let mut labels = Labels::from([("mac".to_owned(), mac.to_string())]);
    labels.extend(
        assignment
            .uuid
            .clone()
            .map(|uuid| ("uuid".to_owned(), uuid)),
    );
    labels.insert("hostname".to_owned(), assignment.hostname.clone());
    let found = crate::matchbox::select(inventory.declared(), &labels)?;
    let decides = if goes_first(&found, assignment.pool_rule) {
        "it decides"
    } else {
        "its pool goes first"
    };
    let profile = &found.group.spec.profile;
    Some(format!(
        "{} (MatchboxProfile {profile}; {decides})",
        found.group.name()
    ))
}

const fn loader(assignment: &Assignment) -> &'static str {
    match (assignment.loading.secure_boot, assignment.loading.kind) {
        (true, _) => "shim",
        (false, LoaderKind::Grub) => "grub",
        (false, LoaderKind::Ipxe) => "ipxe",
    }
}

const fn matched(by: MatchedBy) -> &'static str {
    match by {
        MatchedBy::Mac => "by its MAC",
        MatchedBy::Uuid => "by its SMBIOS UUID",
        MatchedBy::RelayPort => "by the relay port that it asks through",
        MatchedBy::ClientId => "by its DHCP client identifier",
        MatchedBy::Name => "by its name",
        MatchedBy::Pool => "not known before; a pool names its MAC",
        MatchedBy::CatchAll => "not known before; the catch-all pool or a MatchboxGroup takes it",
    }
}

fn profiles(inventory: &Inventory, assignment: &Assignment) -> Vec<String> {
    let pool = assignment
        .pool
        .as_ref()
        .and_then(|pool| inventory.pool(pool));
    let machine = inventory.declared().machines.get(&assignment.machine);
    let of_pool = pool.into_iter().flat_map(|pool| &pool.spec.profiles);
    let of_machine = machine
        .into_iter()
        .flat_map(|machine| &machine.spec.profiles);
    of_pool.chain(of_machine).cloned().collect()
}

fn subnet(inventory: &Inventory, assignment: &Assignment) -> Option<String> {
    if let Some(subnet) = &assignment.subnet {
        return Some(format!("{subnet} (its pool names it)"));
    }
    let subnet = inventory.subnet_of(assignment.address?)?;
    Some(format!(
        "{} (its reserved address lies in it)",
        subnet.name()
    ))
}
