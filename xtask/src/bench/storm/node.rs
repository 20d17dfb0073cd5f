//! One node from power-on to the last report.

use std::net::Ipv4Addr;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use boot_proto::boot_config::BootConfig;
use boot_proto::report::{BootReport, Phase, Progress, VERSION};
use serde::{Deserialize, Serialize};

use super::relay::{Client, Relay};
use super::site::{LOADER, LOADER_BYTES, mac_of};
use super::web::{self, Answer};
use crate::bench::tftp::client::{self, Outcome as Fetched};
use crate::bench::wire::SERVER;

/// How often a request whose connection failed is made again.
const TRIES: u32 = 4;
/// How long node-agent waits its turn.
const LONGEST_TURN: Duration = Duration::from_secs(3600);

/// How a node fared: seconds since power-on.
#[derive(Debug, Default)]
pub struct Log {
    pub script: f64,
    pub kernel: f64,
    pub image: f64,
    /// What it had to send again.
    pub again: Again,
    /// How often it was told to come back for the image.
    pub put_off: u64,
}

/// Packets and requests that were sent again.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Again {
    /// DHCP messages without an answer.
    pub dhcp: u64,
    /// TFTP requests and acknowledgements without one.
    pub tftp: u64,
    /// HTTP requests whose connection failed.
    pub http: u64,
}

impl AddAssign for Again {
    fn add_assign(&mut self, other: Self) {
        self.dhcp += other.dhcp;
        self.tftp += other.tftp;
        self.http += other.http;
    }
}

/// A node that boots.
pub struct Node<'a> {
    number: u32,
    relay: &'a Relay,
    begun: Instant,
    address: Ipv4Addr,
    log: Log,
}

impl<'a> Node<'a> {
    /// A node that was switched on just now.
    pub fn new(number: u32, relay: &'a Relay) -> Self {
        Self {
            number,
            relay,
            begun: Instant::now(),
            address: Ipv4Addr::UNSPECIFIED,
            log: Log::default(),
        }
    }

    /// Boots.
    ///
    /// # Errors
    /// Where a real node would stop.
    pub fn boot(mut self) -> Result<Log> {
        self.firmware().context("firmware")?;
        let script = self.ipxe().context("iPXE")?;
        self.log.script = self.secs();
        for word in ["kernel", "initrd"] {
            let line = script.lines().find(|line| line.starts_with(word));
            let url = line.and_then(|line| line.split(' ').find(|word| word.starts_with("http")));
            let url = url.with_context(|| format!("no {word} in {script:?}"))?;
            self.get(url, true).with_context(|| word.to_owned())?;
        }
        self.log.kernel = self.secs();
        self.agent().context("node-agent")?;
        Ok(self.log)
    }

    fn secs(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// An address, and the loader by TFTP.
    fn firmware(&mut self) -> Result<()> {
        let lease = self.relay.lease(self.number, Client::Firmware)?;
        self.log.again.dhcp += lease.again;
        self.address = lease.address;
        if lease.boot_file != LOADER {
            bail!("told to load {:?}", lease.boot_file);
        }
        let mut fetched = Fetched::default();
        client::fetch_from(
            self.address,
            SERVER,
            LOADER,
            LOADER_BYTES as u64,
            &mut fetched,
        )?;
        self.log.again.tftp += fetched.timeouts;
        Ok(())
    }

    /// The same address, and the two scripts.
    fn ipxe(&mut self) -> Result<String> {
        let lease = self.relay.lease(self.number, Client::Ipxe)?;
        self.log.again.dhcp += lease.again;
        if lease.address != self.address {
            bail!("was {}, is {}", self.address, lease.address);
        }
        let first = self.get(&lease.boot_file, false)?.text;
        let line = first.lines().find(|line| line.starts_with("chain "));
        let url = line.and_then(|line| line.split(' ').find(|word| word.starts_with("http")));
        let url = url.with_context(|| format!("no chain in {first:?}"))?;
        let (url, _) = url.split_once('?').unwrap_or((url, ""));
        let mac = mac_of(self.number).dashed();
        let own = format!("{url}?mac={mac}&arch=x86_64&platform=efi");
        Ok(self.get(&own, false)?.text)
    }

    /// Boot config, image and reports.
    fn agent(&mut self) -> Result<()> {
        let mac = mac_of(self.number);
        let base = format!("http://{SERVER}:8080/v1");
        let text = self
            .get(&format!("{base}/boot-config?mac={}", mac.dashed()), false)?
            .text;
        let config: BootConfig = serde_json::from_str(&text).context("reading the boot config")?;
        self.report(&base, Phase::Config)?;
        self.image(&config.image.url)?;
        self.log.image = self.secs();
        self.report(&base, Phase::Image)?;
        self.report(&base, Phase::SwitchRoot)
    }

    fn image(&mut self, url: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let answer = self.ask("GET", url, "", true)?;
            match (answer.status, answer.retry_after) {
                (200, _) => return Ok(()),
                (503, Some(secs)) if begun.elapsed() < LONGEST_TURN => {
                    self.log.put_off += 1;
                    std::thread::sleep(Duration::from_secs(secs));
                }
                (status, _) => bail!("{url}: status {status}"),
            }
        }
    }

    fn report(&mut self, base: &str, phase: Phase) -> Result<()> {
        let uptime_ms = self.begun.elapsed().as_millis() as u64;
        let report = BootReport {
            version: VERSION,
            mac: mac_of(self.number),
            phase,
            progress: Progress::Done,
            percent: None,
            uptime_ms,
            elapsed_ms: 1,
            message: String::new(),
            log: String::new(),
            facts: None,
            phases: Vec::new(),
        };
        let body = serde_json::to_string(&report)?;
        let answer = self.ask("POST", &format!("{base}/report"), &body, false)?;
        if answer.status != 204 {
            bail!("the report on {phase}: status {}", answer.status);
        }
        Ok(())
    }

    fn get(&mut self, url: &str, is_file: bool) -> Result<Answer> {
        let answer = self.ask("GET", url, "", is_file)?;
        if answer.status != 200 {
            bail!("{url}: status {}: {}", answer.status, answer.text);
        }
        Ok(answer)
    }

    /// One request, again where the connection failed.
    fn ask(&mut self, method: &str, url: &str, body: &str, is_file: bool) -> Result<Answer> {
        let mut tries = 0;
        loop {
            tries += 1;
            match web::ask(self.address, method, url, body, is_file) {
                Err(error) if tries >= TRIES => return Err(error),
                Err(_) => self.log.again.http += 1,
                answered => return answered,
            }
            std::thread::sleep(Duration::from_secs(1 << tries));
        }
    }
}
