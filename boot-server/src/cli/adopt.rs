//! `boot-server adopt`: gives a machine that was found to a pool, by declaring it:
//! a manifest in the folder, or the fields of its object in Kubernetes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use boot_proto::api::MachineView;
use boot_proto::ids::name_mistake;
use boot_proto::manifest::SourceFile;
use boot_proto::resources::API_VERSION;
use clap::Args;
use kube_access::Place;
use serde_json::{Value, json};

use super::client::Client;
use super::{ServerArgs, print};
use crate::import::for_kubectl;
use crate::kubernetes::{ApiServer, KubernetesOptions};

/// Options of `adopt`.
#[derive(Debug, Args)]
#[command(after_help = "\
A machine that runs is drained first, as `kubectl drain` does it and with
PodDisruptionBudgets kept, then restarted; it joins under its new name, and its old
Node is deleted. Where a chassis manager switches its power, all of that happens by
itself; else the machine waits for somebody to restart it, and says so:
  boot-server get machines NAME -o wide

Examples:
  boot-server adopt 94-57-a5-d3-ec-f2 --pool workers --manifests /etc/moonfarm
  boot-server adopt 94-57-a5-d3-ec-f2 --pool workers --name db-1 --manifests farm/
  boot-server adopt m1-c4n1 --pool workers --kubernetes --kubeconfig admin.conf
  boot-server adopt m1-c4n1 --pool workers --name db-1 --kubernetes

The same by kubectl:
  kubectl patch machine m1-c4n1 --type merge -p '{\"spec\":{\"pool\":\"workers\"}}'")]
pub(super) struct AdoptArgs {
    /// The machine, as `get machines` shows it.
    #[arg(value_name = "NAME")]
    machine: String,
    /// The pool that it is to belong to.
    #[arg(long, value_name = "POOL")]
    pool: String,
    /// Name that the Machine is to have from now on.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Node name, where it is neither the Machine's name nor the pool's pattern.
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Folder of manifests that the server reads; a file for the machine is
    /// written there. Without it the manifest is printed.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "kubernetes",
        env = "MOONFARM_MANIFESTS"
    )]
    manifests: Option<PathBuf>,
    /// The resources are in a Kubernetes API server.
    #[arg(long)]
    kubernetes: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: AdoptArgs) -> anyhow::Result<()> {
    for name in [&args.name, &args.hostname].into_iter().flatten() {
        if let Some(mistake) = name_mistake(name) {
            bail!("{name:?} is no name for a machine: {mistake}");
        }
    }
    if args.kubernetes {
        return in_kubernetes(args);
    }
    let machines: Vec<MachineView> = Client::new(&args.server)?.get("/api/v1/machines")?;
    let Some(machine) = machines.iter().find(|machine| machine.name == args.machine) else {
        bail!(
            "no machine is named {}; see `boot-server get machines`",
            args.machine
        );
    };
    if machine.declared {
        bail!(
            "Machine {} is declared in a manifest already: write `pool: {}` into its spec there",
            args.machine,
            args.pool
        );
    }
    let text = for_kubectl(&serde_yaml_ng::to_string(&manifest(machine, &args))?);
    match &args.manifests {
        Some(folder) => write(folder, &args, &text),
        None => print(&text),
    }
}

/// What declares the machine: all by which it is recognised, and its pool.
fn manifest(machine: &MachineView, args: &AdoptArgs) -> Value {
    let found = &machine.spec;
    let mut spec = json!({"pool": args.pool});
    if let (Some(chassis), Some(slot)) = (&found.chassis, &found.slot) {
        spec["chassis"] = json!(chassis);
        spec["slot"] = json!(slot);
    }
    if !found.macs.is_empty() {
        spec["macs"] = json!(found.macs);
    }
    if let Some(uuid) = &found.uuid {
        spec["uuid"] = json!(uuid);
    }
    if let Some(hostname) = &args.hostname {
        spec["hostname"] = json!(hostname);
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": "Machine",
        "metadata": {"name": args.name.as_ref().unwrap_or(&machine.name)},
        "spec": spec,
    })
}

/// Writes the manifest where the server reads it, if the folder is right with it.
/// The server sees it whole or not at all.
fn write(folder: &Path, args: &AdoptArgs, text: &str) -> anyhow::Result<()> {
    let name = args.name.as_ref().unwrap_or(&args.machine);
    let path = folder.join(format!("machine-{name}.yaml"));
    let more = SourceFile {
        name: path.display().to_string(),
        text: text.as_bytes().to_vec(),
    };
    crate::manifests::read_with(folder, Some(more))?;
    let hidden = folder.join(format!(".machine-{name}.yaml"));
    let made = File::create(&hidden)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .with_context(|| format!("writing {}", hidden.display()))
        // A link, unlike a new name, never takes the place of another file.
        .and_then(|()| {
            fs::hard_link(&hidden, &path).with_context(|| format!("making {}", path.display()))
        });
    // A hidden file is no manifest: what is left of one does no harm.
    let _ = fs::remove_file(&hidden);
    made?;
    print(&format!(
        "{}: machine {} belongs to pool {} now\n",
        path.display(),
        args.machine,
        args.pool
    ))
}

fn in_kubernetes(args: AdoptArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let options = KubernetesOptions {
        place: args.place.clone(),
        server: String::new(),
    };
    runtime.block_on(async {
        let api = ApiServer::open(&options).await?;
        if args.name.as_ref().is_none_or(|name| *name == args.machine) {
            let spec = manifest(&MachineView::default(), &args)["spec"].take();
            return anyhow::Ok(api.adopt(&args.machine, &args.pool, &spec).await?);
        }
        // An object cannot be given another name: a new one declares what was found.
        let Some(spec) = api.found(&args.machine).await? else {
            bail!(
                "Machine {} is declared already, and an object keeps its name: leave --name out, \
                 and write --hostname for another node name",
                args.machine
            );
        };
        let machine = MachineView {
            spec,
            ..MachineView::default()
        };
        Ok(api.declare(&args.pool, manifest(&machine, &args)).await?)
    })?;
    let name = args.name.as_ref().unwrap_or(&args.machine);
    print(&format!(
        "machine {name} belongs to pool {} now\n",
        args.pool
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(name: Option<&str>) -> AdoptArgs {
        AdoptArgs {
            machine: "94-57-a5-d3-ec-f2".into(),
            pool: "workers".into(),
            name: name.map(str::to_owned),
            hostname: None,
            manifests: None,
            kubernetes: false,
            place: Place::default(),
            server: ServerArgs {
                server: String::new(),
                token_file: None,
                ca_file: None,
                state: PathBuf::new(),
            },
        }
    }

    const FARM: &str = "apiVersion: moonfarm.dev/v1alpha1\nkind: NodePool\nmetadata: {name: workers}\nspec: {image: debian}\n";

    #[test]
    fn a_manifest_is_written_that_the_server_reads() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("farm.yaml"), FARM).unwrap();
        let mut machine = MachineView {
            name: "94-57-a5-d3-ec-f2".into(),
            ..MachineView::default()
        };
        machine.spec.macs = vec!["94:57:a5:d3:ec:f2".parse().unwrap()];
        let args = args(Some("db-1"));
        let text = serde_yaml_ng::to_string(&manifest(&machine, &args)).unwrap();
        write(folder.path(), &args, &text).unwrap();
        let declared = crate::manifests::read(folder.path()).unwrap();
        let object = &declared.machines["db-1"];
        assert_eq!(object.spec.pool.as_deref(), Some("workers"));
        assert_eq!(object.spec.macs, machine.spec.macs);
        // Twice is a mistake, and loses nothing.
        assert!(write(folder.path(), &args, &text).is_err());
        assert!(crate::manifests::read(folder.path()).is_ok());
    }

    #[test]
    fn a_pool_that_is_not_there_leaves_the_folder_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let machine = MachineView {
            name: "94-57-a5-d3-ec-f2".into(),
            ..MachineView::default()
        };
        let args = args(None);
        let text = serde_yaml_ng::to_string(&manifest(&machine, &args)).unwrap();
        let error = write(folder.path(), &args, &text).unwrap_err();
        assert!(format!("{error:#}").contains("workers"), "{error:#}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
