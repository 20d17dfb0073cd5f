//! The agent: one controller for each Chassis of a folder of manifests, started
//! and stopped as the manifests change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use boot_proto::resources::{ChassisSpec, Object};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::controller::Controller;
use crate::manifests::{self, Files};
use crate::profiles::Profiles;
use crate::publish::BootServer;

/// How the agent is to run.
pub struct Options {
    /// Folder with manifests.
    pub manifests: PathBuf,
    /// URL of boot-server's management face.
    pub boot_server: String,
    /// File with the bearer token.
    pub token_file: PathBuf,
    /// File with the certificate that signs boot-server's.
    pub ca_file: Option<PathBuf>,
    /// Folder for what must outlive a restart.
    pub state: PathBuf,
    /// Machines of one chassis that may be powered on per power interval.
    pub power_ons: u32,
    /// Hardware profiles.
    pub profiles: Profiles,
}

/// How often the manifests are looked at.
const LOOK_AT_MANIFESTS: Duration = Duration::from_secs(3);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot begin: no manifests, mistakes in them, no usable boot-server
/// address.
pub async fn run_until_signal(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let (stop, stopped) = watch::channel(false);
    let running = run(options, stopped);
    tokio::pin!(running);
    tokio::select! {
        result = &mut running => return result,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    running.await
}

/// Runs until `stop` says so; all controllers have ended when it returns.
///
/// # Errors
/// When it cannot begin.
pub async fn run(options: Options, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.state)
        .with_context(|| format!("making the state folder {}", options.state.display()))?;
    let boot_server = BootServer::new(
        &options.boot_server,
        options.token_file.clone(),
        options.ca_file.as_ref(),
    )?;
    let mut agent = Agent {
        profiles: Arc::new(options.profiles.clone()),
        boot_server,
        options,
        running: BTreeMap::new(),
    };
    let mut files = manifests::read(&agent.options.manifests)?;
    agent
        .follow(manifests::chassis(&agent.options.manifests, &files)?)
        .await;
    loop {
        tokio::select! {
            () = told_to_stop(&mut stop) => break,
            () = sleep(LOOK_AT_MANIFESTS) => agent.look_again(&mut files).await,
        }
    }
    agent.follow(Vec::new()).await;
    Ok(())
}

/// Returns when `stop` says so, or when nobody is left to say it.
pub(crate) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

struct Agent {
    options: Options,
    profiles: Arc<Profiles>,
    boot_server: BootServer,
    running: BTreeMap<String, Running>,
}

struct Running {
    chassis: Object<ChassisSpec>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Agent {
    /// Follows a change of the manifests; a wrong change is told once and the
    /// old state kept.
    async fn look_again(&mut self, files: &mut Files) {
        let folder = &self.options.manifests;
        let found = match manifests::read(folder) {
            Ok(found) if found == *files => return,
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = %anyhow::Error::new(error), "keeping the manifests read before");
                return;
            }
        };
        match manifests::chassis(folder, &found) {
            Ok(chassis) => {
                tracing::info!(chassis = chassis.len(), "manifests changed");
                self.follow(chassis).await;
            }
            Err(error) => tracing::error!(%error, "keeping the manifests read before"),
        }
        *files = found;
    }

    /// Makes the controllers those of `wanted`: stops the others, starts the
    /// new ones, leaves alone what has not changed.
    async fn follow(&mut self, wanted: Vec<Object<ChassisSpec>>) {
        let stays = |running: &Running| wanted.iter().any(|chassis| *chassis == running.chassis);
        let leaving: Vec<String> = self
            .running
            .iter()
            .filter(|(_, running)| !stays(running))
            .map(|(name, _)| name.clone())
            .collect();
        let leaving: Vec<Running> = leaving
            .iter()
            .filter_map(|name| self.running.remove(name))
            .collect();
        // All are told before the first is waited for.
        for running in &leaving {
            running.stop.send_replace(true);
        }
        for running in leaving {
            if let Err(error) = running.task.await {
                tracing::error!(chassis = running.chassis.name(), %error, "its loop broke");
            }
        }
        if wanted.is_empty() && self.running.is_empty() {
            tracing::info!(manifests = %self.options.manifests.display(), "no Chassis to look after");
        }
        for chassis in wanted {
            if !self.running.contains_key(chassis.name()) {
                self.start(chassis);
            }
        }
    }

    fn start(&mut self, chassis: Object<ChassisSpec>) {
        let (stop, stopped) = watch::channel(false);
        let controller = Controller {
            chassis: chassis.clone(),
            folder: self.options.manifests.clone(),
            known_hosts: self.options.state.join("known-hosts"),
            profiles: Arc::clone(&self.profiles),
            boot_server: self.boot_server.clone(),
            power_ons: usize::try_from(self.options.power_ons).unwrap_or(usize::MAX),
        };
        tracing::info!(
            chassis = chassis.name(),
            address = chassis.spec.address,
            "looking after"
        );
        let task = tokio::spawn(controller.run(stopped));
        self.running.insert(
            chassis.name().to_owned(),
            Running {
                chassis,
                stop,
                task,
            },
        );
    }
}
