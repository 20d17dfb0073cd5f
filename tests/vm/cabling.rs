//! A farm with one machine whose NICs are cabled to something that is not its
//! usual bridge, or not only.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use boot_proto::cmdline::BootArguments;
use boot_proto::ids::MacAddr;
use boot_proto::resources::NetworkSpec;
use boot_proto::time::WallClock;
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::farm::{Artefacts, latest_boot};
use moonfarm_tests::lab::{Firmware, MachineSpec, NicSpec, QemuMachine};
use moonfarm_tests::wait::until;

use crate::images;
use crate::shell::Shell;
use crate::support::{TO_READY, TestFarm, artefacts};

const TO_SHELL: Duration = Duration::from_secs(120);

/// MAC of a NIC, from 0.
pub fn mac(at: usize) -> MacAddr {
    let last = u8::try_from(at + 1).expect("few");
    MacAddr::new([0x52, 0x54, 0, 0xb0, 0x0d, last])
}

/// The tap that it is cabled to.
pub fn tap(at: usize) -> String {
    format!("port{}", at + 1)
}

/// A farm with one machine whose profile has this network.
pub struct Bench {
    pub test: TestFarm,
    image: PathBuf,
    shell: Shell,
    nics: usize,
    network: NetworkSpec,
    _scratch: tempfile::TempDir,
}

impl Bench {
    /// A network as a YAML flow mapping, of a machine with this number of NICs.
    pub fn start(network: &str, nics: usize) -> Option<Self> {
        Some(Self::with(artefacts()?, network, nics))
    }

    /// The same with other parts.
    pub fn with(artefacts: Artefacts, network: &str, nics: usize) -> Self {
        let image = artefacts.image.clone();
        let scratch = tempfile::tempdir().expect("a folder");
        let mut shell = Shell::new(scratch.path());
        let key = shell.public_key();
        let macs: Vec<MacAddr> = (0..nics).map(mac).collect();
        let test = TestFarm::start(artefacts, Vec::new(), None, &|facts| {
            let profile = format!(
                "apiVersion: moonfarm.dev/v1alpha1\nkind: Profile\nmetadata:\n  name: cabled\n\
                 spec:\n  sshAuthorizedKeys: [\"{key}\"]\n  network: {network}\n"
            );
            let pool = Pool {
                name: "cabled",
                machines: Some("names: [cabled]"),
                profiles: &["cabled"],
                ..Pool::default()
            };
            vec![
                ("profile-cabled.yaml".into(), profile),
                manifests::machine_by_macs("cabled", &macs),
                manifests::pool(facts, &pool),
            ]
        });
        shell.within(test.farm.namespace());
        let network = serde_yaml_ng::from_str(network).expect("a network");
        Self {
            test,
            image,
            shell,
            nics,
            network,
            _scratch: scratch,
        }
    }

    /// The machine.
    pub fn spec(&self, model: &str) -> MachineSpec {
        let nic = |at: usize| NicSpec {
            model: model.into(),
            ..NicSpec::new(mac(at), &tap(at))
        };
        MachineSpec {
            name: "cabled".into(),
            firmware: Firmware::Bios,
            nics: (0..self.nics).map(nic).collect(),
            memory_mib: 2048,
            cpus: 2,
            folder: self.test.farm.layout().machine("cabled"),
            ..MachineSpec::default()
        }
    }

    /// The machine with its kernel loaded already: the loader cannot do what the
    /// switch asks for.
    pub fn spec_without_firmware(&self, model: &str) -> MachineSpec {
        let own = BootArguments {
            network: self.network.clone(),
            ..BootArguments::default()
        };
        MachineSpec {
            kernel: Some(images::direct_kernel(&self.image, mac(0), &own.render())),
            ..self.spec(model)
        }
    }

    /// Switches it on.
    pub fn power_on(&self, spec: MachineSpec) -> QemuMachine {
        let mut machine = self.test.farm.machine(spec);
        machine
            .power_on()
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        machine
    }

    /// Waits for a phase and returns the machine's address.
    pub fn wait_for(&self, phase: &str, machine: &QemuMachine, since: WallClock) -> Ipv4Addr {
        let mut shown = String::new();
        let address = until(TO_READY, || {
            let boots = self.test.farm.boots().ok()?;
            let boot = latest_boot("cabled", since, &boots)?;
            if boot.phase != shown {
                self.test.say(&format!("{}: {:?}", boot.phase, boot.reason));
                shown.clone_from(&boot.phase);
            }
            let is_there = boot.phase == phase
                || ["image", "root", "configure", "switch-root", "ready"]
                    .iter()
                    .skip_while(|own| **own != phase)
                    .any(|own| boot.phase == *own);
            is_there.then_some(boot.address)?
        });
        address.unwrap_or_else(|| {
            let log = machine.console_log();
            self.test.explain("cabled", since, &log);
            panic!("it does not get to {phase}");
        })
    }

    /// Runs a script in the booted machine.
    pub fn ask(&self, at: Ipv4Addr, script: &str) -> String {
        self.shell.wait_and_run(at, TO_SHELL, script)
    }
}
