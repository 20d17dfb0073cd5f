//! The process of the nodes, a thread each, and what it tells.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::node::{Again, Log, Node};
use super::relay::Relay;
use crate::bench::wire::SERVER;

/// A node's thread needs little of it.
const STACK_BYTES: usize = 512 << 10;

/// Nodes boot at once
#[derive(Args)]
pub struct CrowdOptions {
    /// How many
    nodes: u32,
    /// They are switched on spread over so many seconds
    #[arg(long, default_value_t = 0)]
    within: u32,
}

/// Where a node is.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// It has its boot script.
    Script,
    /// It has kernel and initramfs.
    Kernel,
    /// It has its image.
    Image,
}

/// What came of all nodes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    script: Vec<f64>,
    kernel: Vec<f64>,
    image: Vec<f64>,
    /// Packets and requests that were sent again.
    pub again: Again,
    /// How often nodes were told to come back.
    pub put_off: u64,
    /// Which nodes failed, and how.
    pub failures: Vec<String>,
}

impl Outcome {
    fn add(&mut self, node: u32, booted: Result<Log>) {
        match booted {
            Ok(log) => {
                self.script.push(log.script);
                self.kernel.push(log.kernel);
                self.image.push(log.image);
                self.again += log.again;
                self.put_off += log.put_off;
            }
            Err(error) => self.failures.push(format!("node {node}: {error:#}")),
        }
    }

    /// Seconds by which so many in a hundred of the nodes that booted had come
    /// to a stage.
    pub fn percentile(&self, stage: Stage, percent: f64) -> Option<f64> {
        let mut secs = match stage {
            Stage::Script => self.script.clone(),
            Stage::Kernel => self.kernel.clone(),
            Stage::Image => self.image.clone(),
        };
        secs.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * secs.len() as f64).ceil() as usize;
        secs.get(rank.saturating_sub(1)).copied()
    }
}

/// Lets all boot, and prints the outcome as JSON.
///
/// # Errors
/// When they cannot begin.
pub fn run(options: &CrowdOptions) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let relay = Relay::start(SERVER.parse()?)?;
    let outcome = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for node in 0..options.nodes {
            let (relay, outcome) = (&relay, &outcome);
            let pause = options.within * 1000 / options.nodes.max(1) * node;
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || {
                    std::thread::sleep(Duration::from_millis(pause.into()));
                    let booted = Node::new(node, relay).boot();
                    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                    outcome.add(node, booted);
                })?;
        }
        Ok::<_, std::io::Error>(())
    })?;
    let outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_nodes_that_booted() {
        let mut outcome = Outcome::default();
        for node in 0..100 {
            let log = Log {
                script: f64::from(100 - node),
                ..Log::default()
            };
            outcome.add(node, Ok(log));
        }
        outcome.add(100, Err(anyhow::anyhow!("it broke")));
        assert_eq!(outcome.percentile(Stage::Script, 50.0), Some(50.0));
        assert_eq!(outcome.percentile(Stage::Script, 99.0), Some(99.0));
        assert_eq!(outcome.percentile(Stage::Script, 100.0), Some(100.0));
        assert_eq!(outcome.failures, ["node 100: it broke"]);
        assert_eq!(Outcome::default().percentile(Stage::Image, 50.0), None);
    }
}
