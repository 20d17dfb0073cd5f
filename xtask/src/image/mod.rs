//! `cargo xtask image`: node images, as `deploy/images/node` describes them.

mod assemble;
mod containers;
mod mirror;
mod node_agent;
mod pause;
mod recipe;
mod root;
mod squash;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cache;
use crate::kube_binaries;
use crate::packages::{self, Package};
use crate::run::say;
use assemble::{Initramfs, Naming};

pub use assemble::root_checks;
pub use mirror::Mirror;
pub use node_agent::build as node_agent_program;
pub use root::{Runtime, Suite};

/// `cargo xtask image …`.
#[derive(Subcommand)]
pub enum ImageCommand {
    /// Build an image folder: kernel, initramfs, squashfs, manifest.
    Build(BuildOptions),
    /// Build container images of the programs, from scratch and without a daemon.
    Containers(containers::ContainerOptions),
    /// Build node-agent as the static program that images hold, and print its path.
    NodeAgent,
    /// Make an image folder of a root that something else installed (the Dockerfile does).
    Pack(PackOptions),
}

/// Options of `image build`.
#[derive(Args, Clone, Debug)]
pub struct BuildOptions {
    /// Folder to make; one that exists is replaced. [default: target/image]
    #[arg(long)]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub naming: Naming,
    #[command(flatten)]
    pub initramfs: Initramfs,
    /// Debian release. [default: trixie]
    #[arg(long, value_enum)]
    pub suite: Option<Suite>,
    /// Container runtime. [default: containerd]
    #[arg(long, value_enum)]
    pub runtime: Option<Runtime>,
    /// Debian mirror. [default: the one this machine uses]
    #[arg(long, env = "MOONFARM_DEBIAN_MIRROR")]
    pub mirror: Option<String>,
    /// Install the root anew, with the mirror's current package versions, although it is cached.
    #[arg(long)]
    pub refresh: bool,
}

/// Options of `image pack`.
#[derive(Args, Clone, Debug)]
pub struct PackOptions {
    /// Installed root, as configure.sh left it.
    #[arg(long)]
    pub root: PathBuf,
    /// The node-agent that becomes the initramfs' /init.
    #[arg(long)]
    pub node_agent: PathBuf,
    /// Folder to make.
    #[arg(long)]
    pub output: PathBuf,
    /// Debian release that is installed in it. [default: trixie]
    #[arg(long, value_enum)]
    pub suite: Option<Suite>,
    #[command(flatten)]
    pub naming: Naming,
    #[command(flatten)]
    pub initramfs: Initramfs,
}

/// Runs an image command; the folder or file it made is printed.
pub fn run(command: &ImageCommand) -> Result<()> {
    let made = match command {
        ImageCommand::Build(options) => build(options)?,
        ImageCommand::Containers(options) => containers::build(options)?,
        ImageCommand::NodeAgent => node_agent::build()?,
        ImageCommand::Pack(options) => pack(options)?,
    };
    println!("{}", made.display());
    Ok(())
}

/// Builds an image folder and returns it. Only what changed is made anew: the
/// root is kept by its inputs, the initramfs follows node-agent.
///
/// # Errors
/// When a tool is missing and cannot be installed, or any step fails.
pub fn build(options: &BuildOptions) -> Result<PathBuf> {
    made_of(options).map(|made| made.image)
}

/// An image folder, and what its initramfs was made of.
#[derive(Clone, Debug)]
pub struct Made {
    /// The image folder.
    pub image: PathBuf,
    /// Root with the kernel's modules.
    pub modules: PathBuf,
    /// The static node-agent.
    pub node_agent: PathBuf,
}

/// The same as [`build`], with what it took.
///
/// # Errors
/// As [`build`].
pub fn made_of(options: &BuildOptions) -> Result<Made> {
    packages::need(&[
        Package {
            name: "mmdebstrap",
            program: "mmdebstrap",
        },
        Package {
            name: "squashfs-tools",
            program: "mksquashfs",
        },
    ])?;
    let kube = kube_binaries::provide()?;
    let recipe = recipe::Recipe::read(&cache::checkout().join("deploy/images/node"))?;
    let suite = options.suite.unwrap_or_default();
    let inputs = root::Inputs {
        recipe: &recipe,
        kube: &kube,
        suite,
        crio: match options.runtime.unwrap_or_default() {
            Runtime::Containerd => None,
            Runtime::Crio => Some(kube_binaries::crio::provide()?),
        },
    };
    let packed = root::provide(&inputs, options.mirror.as_deref(), options.refresh)?;
    let node_agent = node_agent::build()?;
    let output = options
        .output
        .clone()
        .unwrap_or_else(|| cache::checkout().join("target/image"));
    assemble::assemble(
        &packed,
        &node_agent,
        &output,
        suite,
        &options.naming,
        &options.initramfs,
    )?;
    Ok(Made {
        image: output,
        modules: packed.join("root"),
        node_agent,
    })
}

fn pack(options: &PackOptions) -> Result<PathBuf> {
    let scratch = options.output.with_extension("packed");
    cache::remove_tree(&scratch)?;
    std::fs::create_dir_all(&scratch)?;
    let made = pack_into(options, &scratch);
    cache::remove_tree(&scratch)?;
    made.map(|()| options.output.clone())
}

fn pack_into(options: &PackOptions, scratch: &Path) -> Result<()> {
    say(&format!("packing {}", options.root.display()));
    root::pack(&options.root, scratch)?;
    assemble::assemble(
        scratch,
        &options.node_agent,
        &options.output,
        options.suite.unwrap_or_default(),
        &options.naming,
        &options.initramfs,
    )
}
