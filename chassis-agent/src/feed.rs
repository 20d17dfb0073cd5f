//! Where the agent hears of Chassis: a folder of manifests, or an API server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boot_proto::resources::{ChassisSpec, Metadata, Object};
use boot_proto::time::Monotonic;
use tokio::task::JoinHandle;

use crate::clock;
use crate::kubernetes::{
    Cluster, DhcpHostsSink, KubernetesOptions, Leader, MachinesSink, Published, Standing, resolve,
};
use crate::manifests::{self, Files};
use crate::publish::Publish;

/// How old a login out of a Secret may get.
const LOGIN_AGE: Duration = Duration::from_secs(15 * 60);

/// Chassis to look after, as they change.
pub enum Feed {
    /// Out of a folder of manifests.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Its files as they were read last.
        files: Files,
    },
    /// Out of an API server.
    Kubernetes(Box<Watched>),
}

/// Chassis of an API server.
pub struct Watched {
    cluster: Cluster,
    leader: Leader,
    /// How we stood when it was last told.
    told: Standing,
    state: PathBuf,
    /// Chassis as declared, as resolved, and when that was.
    resolved: BTreeMap<String, (ChassisSpec, Object<ChassisSpec>, Monotonic)>,
    /// What was wrong with a Chassis, told once.
    complaints: BTreeMap<String, String>,
    watches: Vec<JoinHandle<()>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watches.iter().for_each(JoinHandle::abort);
    }
}

impl Feed {
    /// The Chassis of a folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn folder(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self::Folder {
            folder: folder.to_owned(),
            files: manifests::read(folder)?,
        })
    }

    /// The Chassis of an API server, and where what is seen goes.
    ///
    /// # Errors
    /// When there is no kubeconfig that can be used.
    pub async fn kubernetes(
        options: &KubernetesOptions,
        state: &Path,
        identity: String,
    ) -> anyhow::Result<(Self, Arc<dyn Publish>)> {
        let (cluster, watches) = Cluster::open(options).await?;
        let publish: Arc<dyn Publish> = match options.publish {
            Published::Machines => Arc::new(MachinesSink::new(cluster.clone())),
            Published::DhcpHosts => Arc::new(DhcpHostsSink::new(cluster.clone())),
        };
        let watched = Watched {
            leader: Leader::new(&cluster, identity),
            cluster,
            told: Standing::default(),
            state: state.to_owned(),
            resolved: BTreeMap::new(),
            complaints: BTreeMap::new(),
            watches,
        };
        Ok((Self::Kubernetes(Box::new(watched)), publish))
    }

    /// All Chassis at first.
    ///
    /// # Errors
    /// When the manifests have mistakes.
    pub async fn first(&mut self) -> anyhow::Result<Vec<Object<ChassisSpec>>> {
        match self {
            Self::Folder { folder, files } => Ok(manifests::chassis(folder, files)?),
            Self::Kubernetes(watched) => Ok(watched.chassis().await),
        }
    }

    /// Why there is nothing to look after, where that is not for want of Chassis:
    /// another agent works.
    #[must_use]
    pub fn waits_for(&self) -> Option<&Standing> {
        match self {
            Self::Kubernetes(watched) if watched.told != Standing::Works => Some(&watched.told),
            _ => None,
        }
    }

    /// Ends what was begun, once nothing is looked after any more: the next agent
    /// may start at once.
    pub async fn end(&mut self) {
        if let Self::Kubernetes(watched) = self {
            watched.leader.release().await;
        }
    }

    /// All Chassis where they may have changed; a wrong change is told once and
    /// the old state kept.
    pub async fn next(&mut self) -> Option<Vec<Object<ChassisSpec>>> {
        let (folder, files) = match self {
            Self::Kubernetes(watched) => return Some(watched.chassis().await),
            Self::Folder { folder, files } => (folder, files),
        };
        let found = match manifests::read(folder) {
            Ok(found) if found == *files => return None,
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = %anyhow::Error::new(error), "keeping the manifests read before");
                return None;
            }
        };
        let read = manifests::chassis(folder, &found);
        *files = found;
        match read {
            Ok(chassis) => {
                tracing::info!(chassis = chassis.len(), "manifests changed");
                Some(chassis)
            }
            Err(error) => {
                tracing::error!(%error, "keeping the manifests read before");
                None
            }
        }
    }
}

impl Watched {
    /// The Chassis to look after now: all of them for the one agent that holds
    /// the Lease, none for the others.
    async fn chassis(&mut self) -> Vec<Object<ChassisSpec>> {
        let now = clock::now();
        let standing = self.leader.turn().await;
        if *standing != self.told {
            tracing::info!("{standing}");
            self.told = standing.clone();
        }
        if *standing != Standing::Works {
            return Vec::new();
        }
        let mut chassis = Vec::new();
        for declared in self.cluster.chassis_objects() {
            chassis.extend(self.resolve(declared, now).await);
        }
        chassis
    }

    async fn resolve(
        &mut self,
        declared: Object<ChassisSpec>,
        now: Monotonic,
    ) -> Option<Object<ChassisSpec>> {
        let name = declared.name().to_owned();
        let known = self.resolved.get(&name);
        if let Some((spec, resolved, at)) = known
            && *spec == declared.spec
            && now.since(*at) < LOGIN_AGE
        {
            return Some(resolved.clone());
        }
        match resolve(&self.cluster, &declared, &self.state).await {
            Ok(resolved) => {
                self.complaints.remove(&name);
                let entry = (declared.spec, resolved.clone(), now);
                self.resolved.insert(name, entry);
                Some(resolved)
            }
            Err(error) => {
                let text = format!("{:#}", anyhow::Error::new(error));
                if self.complaints.get(&name) != Some(&text) {
                    tracing::error!(chassis = name, error = text, "its login cannot be read");
                    self.complaints.insert(name.clone(), text);
                }
                // As it was: the API server may be away.
                self.resolved
                    .get(&name)
                    .map(|(_, resolved, _)| resolved.clone())
            }
        }
    }
}

/// An object without what only an API server knows.
#[must_use]
pub fn plain(name: String, spec: ChassisSpec) -> Object<ChassisSpec> {
    Object {
        metadata: Metadata {
            name,
            ..Metadata::default()
        },
        spec,
    }
}
