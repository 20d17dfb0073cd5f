//! `boot-server import`: another system's configuration as manifests.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::print;
use crate::import::{self, Imported, kubefarm, matchbox};

/// Options of `import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    system: System,
}

#[derive(Debug, Subcommand)]
enum System {
    /// Values of a kubefarm release (chart kubefarm, ltsp and dnsmasq-controller).
    Kubefarm(KubefarmArgs),
    /// Data folder of Matchbox: groups, profiles and their templates.
    Matchbox(MatchboxArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Manifests go to stdout. What has to be filled in, was changed, or has no
counterpart is listed on stderr and in comments at the top of the manifests.
Several files are laid over each other as `helm -f` does it.

Examples:
  boot-server import kubefarm values.yaml > farm/cluster1.yaml
  boot-server import kubefarm generic.yaml dualstack.yaml --name cluster1 \\
      --endpoint 10.28.36.72:6443 --ca-cert-hash sha256:… > farm/cluster1.yaml
  boot-server check --manifests farm/")]
struct KubefarmArgs {
    /// Values files, a later one winning; `-` is stdin.
    #[arg(required = true, value_name = "VALUES.yaml")]
    files: Vec<PathBuf>,
    /// Name of the release; names of resources begin with it.
    #[arg(long, default_value = "kubefarm", value_parser = name)]
    name: String,
    /// Image of pools for which the values name none (DEFAULT_IMAGE).
    #[arg(long, default_value = "debian-13")]
    image: String,
    /// API server as nodes reach it; without it what the values say.
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
    /// Hash of the cluster's CA, as `kubeadm token create --print-join-command` shows it.
    #[arg(long, value_name = "sha256:HEX")]
    ca_cert_hash: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Manifests go to stdout. What has to be filled in, was changed, or has no
counterpart is listed on stderr and in comments at the top of the manifests.
Assets are not part of it: link the folder beside the manifests as `assets`, or
name it with `boot-server serve --assets`.

Examples:
  boot-server import matchbox /var/lib/matchbox > farm/matchbox.yaml
  ln -s /var/lib/matchbox/assets farm/assets
  boot-server check --manifests farm/")]
struct MatchboxArgs {
    /// What matchbox is given as -data-path.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Declare a Machine for each MAC that a group names: configs of that group
    /// then go to the address of this machine alone.
    #[arg(long)]
    machines: bool,
}

fn name(text: &str) -> Result<String, &'static str> {
    match boot_proto::ids::name_mistake(text) {
        Some(why) => Err(why),
        None => Ok(text.to_owned()),
    }
}

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    match &args.system {
        System::Kubefarm(args) => run_kubefarm(args),
        System::Matchbox(args) => run_matchbox(args),
    }
}

fn run_matchbox(args: &MatchboxArgs) -> anyhow::Result<()> {
    let folder = matchbox::read(&args.folder)?;
    let options = matchbox::Options {
        machines: args.machines,
    };
    finish(&matchbox::import(&folder, options), "matchbox")
}

fn run_kubefarm(args: &KubefarmArgs) -> anyhow::Result<()> {
    let files = args.files.iter().map(|file| read(file));
    let files: Vec<serde_json::Value> = files.collect::<anyhow::Result<_>>()?;
    let imported = kubefarm::import(
        &files,
        &kubefarm::Options {
            name: args.name.clone(),
            image: args.image.clone(),
            endpoint: args.endpoint.clone(),
            ca_cert_hash: args.ca_cert_hash.clone(),
        },
    );
    finish(&imported, "kubefarm")
}

fn finish(imported: &Imported, system: &str) -> anyhow::Result<()> {
    let text = import::render(imported, system).context("writing the manifests")?;
    print(&text)?;
    report(imported);
    refuse_mistakes(&text)
}

fn report(imported: &Imported) {
    for finding in &imported.findings {
        eprintln!("{finding}");
    }
}

/// What the values got wrong, such as a label that Kubernetes refuses, is wrong
/// in the manifests too; better said now than by the server.
fn refuse_mistakes(text: &str) -> anyhow::Result<()> {
    let mistakes = boot_proto::manifest::load(&[boot_proto::manifest::SourceFile {
        name: "stdout".to_owned(),
        text: text.as_bytes().to_vec(),
    }])
    .mistakes;
    if mistakes.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    anyhow::bail!(
        "the manifests need correcting by hand, for boot-server check finds:\n{}",
        lines.join("\n")
    )
}

/// Values are small; a wrong file should not fill the memory.
const MAX_BYTES: u64 = 16 << 20;

fn read(path: &Path) -> anyhow::Result<serde_json::Value> {
    let shown = path.display();
    let mut text = String::new();
    let taken = if path == Path::new("-") {
        std::io::stdin()
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
    };
    let size = taken.with_context(|| format!("reading {shown}"))?;
    anyhow::ensure!(size as u64 <= MAX_BYTES, "{shown} is larger than 16 MiB");
    kubefarm::parse(&text).with_context(|| format!("reading {shown}"))
}
