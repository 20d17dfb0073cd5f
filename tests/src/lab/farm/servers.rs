//! A farm's boot-servers: one beside everything else, and, where they share an
//! API server as the store, a second one on a host of its own.

use std::path::Path;
use std::time::Duration;

use super::layout::{self, Layout};
use super::programs::{Host, Programs};
use crate::lab::process::output;
use crate::lab::{LabError, Namespace, Process};
use crate::wait::until;

/// How long a boot-server may take from its start to its first answer.
const START: Duration = Duration::from_secs(30);

/// A boot-server that was started.
#[derive(Debug)]
pub(super) struct BootServer {
    /// Its process.
    pub process: Process,
    /// Where it runs.
    pub host: Host,
    // Its host, where that is not the farm's namespace.
    _network: Option<Namespace>,
}

impl BootServer {
    /// Starts the first one, which has an image, in the farm's namespace.
    pub(super) fn first(
        programs: &Programs,
        namespace: &Namespace,
        layout: &Layout,
        image: &Path,
    ) -> Result<Self, LabError> {
        let host = Host {
            name: "boot-server".into(),
            namespace: namespace.name().into(),
            state: layout.state(),
        };
        Self::start(programs, host, None, image)
    }

    /// Starts the second one, on a host with a cable to the provisioning network.
    pub(super) fn second(
        programs: &Programs,
        namespace: &Namespace,
        layout: &Layout,
        image: &Path,
    ) -> Result<Self, LabError> {
        let network = Namespace::create()?;
        namespace.add_host(&network, "second", layout::BRIDGE)?;
        let address = format!("{}/24", layout::SECOND_SERVER);
        network.ip(&["address", "add", &address, "dev", "eth0"])?;
        let host = Host {
            name: "boot-server-2".into(),
            namespace: network.name().into(),
            state: layout.second_state(),
        };
        Self::start(programs, host, Some(network), image)
    }

    fn start(
        programs: &Programs,
        host: Host,
        network: Option<Namespace>,
        image: &Path,
    ) -> Result<Self, LabError> {
        output(programs.add_image(&host, image))?;
        let mut server = Self {
            process: programs.boot_server(&host).spawn()?,
            host,
            _network: network,
        };
        server.wait(programs)?;
        Ok(server)
    }

    /// Starts it again with the same options.
    pub(super) fn restart(&mut self, programs: &Programs) -> Result<(), LabError> {
        self.process.restart()?;
        self.wait(programs)
    }

    /// Asks it to end and starts it with further options.
    pub(super) fn serve_with(
        &mut self,
        programs: &Programs,
        options: &[String],
    ) -> Result<(), LabError> {
        self.process.stop(START);
        self.process = programs.boot_server(&self.host).args(options).spawn()?;
        self.wait(programs)
    }

    /// Waits for the first answer of its management API.
    fn wait(&mut self, programs: &Programs) -> Result<(), LabError> {
        let mut last = String::new();
        let answered = until(START, || {
            if let Err(ended) = self.process.check() {
                return Some(Err(ended));
            }
            output(programs.get(&self.host, &["machines", "-o", "json"]))
                .map_err(|error| last = error.chain())
                .ok()
                .map(|_| Ok(()))
        });
        answered.unwrap_or_else(|| {
            Err(LabError::Late {
                what: format!("an answer of {}'s management API", self.host.name),
                seconds: START.as_secs(),
                detail: format!(
                    "; last: {last}; its log ends:\n{}",
                    self.process.log_tail(20)
                ),
            })
        })
    }
}
