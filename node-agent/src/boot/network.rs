//! The phases links, address and config.

use std::time::Duration;

use boot_proto::boot_config::{BootConfig, VERSION};
use boot_proto::ids::MacAddr;

use super::{Boot, StepError};
use crate::facts;
use crate::http::{self, Client};
use crate::net::diff::LinkChange;
use crate::net::{Address, Link, nics};
use crate::plan;

/// How long drivers may take to show a NIC, and a NIC to find a carrier. Ports
/// with spanning tree or 10GBASE-T need several seconds.
const LINK_PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Once one link of several has carrier, the others get so much longer.
const OTHERS_PATIENCE: Duration = Duration::from_secs(2);
/// How long one link is asked on before the next one's turn.
const DHCP_PATIENCE: Duration = Duration::from_secs(20);
/// Time limits of the boot config's exchange.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(15);
/// Boot-server's port, where only its address is known.
const DEFAULT_PORT: u16 = 8080;

impl Boot<'_> {
    /// Fills the list of links to use, best first.
    pub(super) fn bring_up_links(&mut self, boot: Option<MacAddr>) -> Result<String, StepError> {
        if let Some(name) = self.state.arguments.network.boot_interface() {
            let name = name.to_owned();
            return self.bring_up_network(&name, boot);
        }
        let clock = self.world.clock;
        let begin = clock.now();
        let mut first_carrier = None;
        loop {
            self.load_for_new_devices();
            let all = self.world.links.list()?;
            let wanted = wanted_links(&all, boot, clock.now().since(begin) > LINK_PATIENCE / 2);
            for link in wanted.iter().filter(|link| !link.is_up) {
                self.world.links.set_up(link, true)?;
            }
            let ready: Vec<Link> = wanted.iter().filter(|l| l.has_carrier).cloned().collect();
            let now = clock.now();
            if !ready.is_empty() {
                let since = *first_carrier.get_or_insert(now);
                // With BOOTIF there is nothing to wait for; without it, the
                // network may be on the NIC that is slower to find its carrier.
                let all_ready = ready.len() == wanted.len();
                if all_ready || now.since(since) >= OTHERS_PATIENCE {
                    let names: Vec<String> = ready
                        .iter()
                        .map(|l| format!("{} ({})", l.name, l.mac))
                        .collect();
                    self.state.links = ready;
                    return Ok(format!("carrier on {}", names.join(", ")));
                }
            }
            if now.since(begin) >= LINK_PATIENCE {
                return Err(StepError::new(no_link(
                    &all,
                    boot,
                    &facts::cards_without_driver(&self.world.paths.at("sys")),
                )));
            }
            clock.sleep(LOOK_AGAIN);
        }
    }

    pub(super) fn set_address(&mut self, address: &Address) -> Result<String, StepError> {
        let link = self.state.links.first().cloned();
        let link = link.ok_or_else(|| StepError::hopeless("there is no link to give it to"))?;
        self.use_address(link, address.clone())
    }

    /// Asks on every link in turn until one has an answer.
    pub(super) fn ask_for_address(&mut self) -> Result<String, StepError> {
        let mut reasons = Vec::new();
        for link in self.state.links.clone() {
            match self.world.dhcp.ask(&link, DHCP_PATIENCE, self.world.clock) {
                Ok(lease) => {
                    self.state.dhcp_server = Some(lease.server);
                    let address = Address {
                        address: lease.address,
                        prefix: lease.prefix,
                        gateway: lease.gateway,
                    };
                    let server = lease.server;
                    self.use_mtu(&link, lease.mtu.map(u32::from));
                    let told = self.use_address(link.clone(), address)?;
                    self.world.dhcp.keep(&link, lease, self.world.log);
                    return Ok(format!("{told}, leased by {server}"));
                }
                Err(error) => reasons.push(crate::log::chain(&error)),
            }
        }
        // A cable may have been moved meanwhile.
        let boot = self.state.arguments.boot_interface;
        let made = self.state.arguments.network.boot_interface().is_some();
        if made {
            let name = self.state.links.first().map(|link| link.name.clone());
            if let Ok(all) = self.world.links.all() {
                self.state.links = all
                    .into_iter()
                    .filter(|link| Some(&link.name) == name.as_ref())
                    .collect();
            }
        } else if let Ok(all) = self.world.links.list() {
            self.state.links = wanted_links(&all, boot, true)
                .into_iter()
                .filter(|l| l.has_carrier)
                .collect();
        }
        if reasons.is_empty() {
            reasons.push("no link has a carrier".to_owned());
        }
        Err(StepError::new(reasons.join("; ")))
    }

    /// What a network wants is not always what a NIC can: then the NIC keeps its own,
    /// which is smaller.
    fn use_mtu(&mut self, link: &Link, mtu: Option<u32>) {
        let Some(mtu) = mtu.filter(|mtu| *mtu != link.mtu) else {
            return;
        };
        let name = link.name.clone();
        let changed = self.world.links.change(&LinkChange::Mtu { name, mtu });
        if let Err(error) = changed {
            let text = format!(
                "{}, as the DHCP server wants it: the MTU stays {}",
                crate::log::chain(&error),
                link.mtu
            );
            self.world.log.warn(&text);
        }
    }

    fn use_address(&mut self, link: Link, address: Address) -> Result<String, StepError> {
        self.world.links.add_address(&link, &address)?;
        let told = format!("{}/{} on {}", address.address, address.prefix, link.name);
        self.state.link = Some(link);
        self.state.address = Some(address);
        if let Some(server) = self.server(None) {
            self.state.sink = Some((self.world.reporter)(&server));
        }
        Ok(told)
    }

    /// Boot-server's boot face: what the command line says, else the machine that
    /// gave the address.
    fn server(&self, named: Option<&str>) -> Option<String> {
        let named = named
            .map(str::to_owned)
            .or_else(|| self.state.arguments.server.clone());
        let server = named.or_else(|| {
            self.state
                .dhcp_server
                .map(|ip| format!("http://{ip}:{DEFAULT_PORT}"))
        })?;
        let is_pinned = self.world.trust.ca().is_some();
        Some(http::face(
            &server,
            self.state.arguments.tls_port,
            is_pinned,
        ))
    }

    /// What vouches for the image and the boot config, for the log.
    fn proof(&self) -> &'static str {
        let trust = self.world.trust;
        match (trust.wants_signatures(), trust.ca().is_some()) {
            (true, true) => ", signed, told over TLS",
            (true, false) => ", signed",
            (false, true) => ", told over TLS",
            (false, false) => "",
        }
    }

    pub(super) fn fetch_config(&mut self, server: Option<&str>) -> Result<String, StepError> {
        let unknown = "nobody says where boot-server is: the kernel command line has no \
                       moonfarm.server=, and the address is not from DHCP";
        let server = self
            .server(server)
            .ok_or_else(|| StepError::hopeless(unknown))?;
        let mac = self.state.link.as_ref().map(|link| link.mac);
        let mac = mac.ok_or_else(|| StepError::hopeless("there is no link"))?;
        let url = http::machine_url(&server, "boot-config", mac);
        let text = Client::new(CONNECT, ANSWER, self.world.trust.ca()).get(&url)?;
        let config = parse_config(&text)?;
        let trusted = self.world.trust.check(&config.image);
        trusted.map_err(|why| StepError::hopeless(why.to_string()))?;
        let paths = &self.world.paths;
        self.state.nics = nics::describe(&self.world.links.list()?, &paths.at("sys"));
        self.state.facts = facts::read(&paths.at("sys"), &paths.at("proc"));
        let running = self.kernel_release();
        if running != config.image.kernel_release {
            self.world.log.warn(&format!(
                "the running kernel is {running}, but the modules of image {} are for {}: what \
                 the booted system needs as a module will be missing",
                config.image.name, config.image.kernel_release
            ));
        }
        // What is to be on a disk is looked at again where it is not.
        let on_disk = (
            plan::kept_on(&config).is_some(),
            plan::overlay_on(&config).is_some(),
        );
        let checked = self.budget(&config).without(on_disk.0, on_disk.1).check();
        let memory = checked.map_err(|error| StepError::hopeless(error.to_string()))?;
        let mut told = format!(
            "{} runs image {}{}",
            config.hostname,
            config.image.name,
            self.proof()
        );
        // It goes to boot-server too: whoever looks for killed processes later
        // finds it in the boot's steps.
        if let Some(memory) = memory {
            told.push_str("; ");
            told.push_str(&memory);
        }
        self.state.config = Some(config);
        Ok(told)
    }
}

/// Reads the boot config; another version is told apart from a broken one.
fn parse_config(text: &str) -> Result<BootConfig, StepError> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| StepError::new(format!("the boot config is not JSON: {error}")))?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(VERSION)) {
        let version = version.map_or_else(|| "no version".to_owned(), |v| format!("version {v}"));
        return Err(StepError::hopeless(format!(
            "the boot config has {version}, this agent reads version {VERSION}: image and \
             boot-server are of different ages"
        )));
    }
    serde_json::from_value(value)
        .map_err(|error| StepError::hopeless(format!("the boot config cannot be read: {error}")))
}

/// The boot NIC alone where it is there; after some time, or when nobody named
/// it, all.
fn wanted_links(all: &[Link], boot: Option<MacAddr>, patience_is_over: bool) -> Vec<Link> {
    let Some(mac) = boot else { return all.to_vec() };
    let (named, others): (Vec<Link>, Vec<Link>) =
        all.iter().cloned().partition(|link| link.mac == mac);
    if patience_is_over {
        named.into_iter().chain(others).collect()
    } else {
        named
    }
}

fn no_link(all: &[Link], boot: Option<MacAddr>, driverless: &[String]) -> String {
    let cards = driverless.join(", ");
    if all.is_empty() && driverless.is_empty() {
        return "no network card was found: it is off, or on a bus whose driver is missing"
            .to_owned();
    }
    if all.is_empty() {
        return format!("no driver in the initramfs is for this network card: PCI {cards}");
    }
    let names: Vec<String> = all
        .iter()
        .map(|l| format!("{} ({})", l.name, l.mac))
        .collect();
    let mut text = format!(
        "no carrier on {}: check cable and switch port",
        names.join(", ")
    );
    if let Some(mac) = boot {
        text.push_str(&format!("; the machine booted from {mac}"));
    }
    if !driverless.is_empty() {
        text.push_str(&format!("; without driver: PCI {cards}"));
    }
    text
}
