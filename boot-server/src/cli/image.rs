//! `boot-server image`: the store in the state folder, with or without a server.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use boot_proto::api::{BootView, ImageView, MachineView};
use boot_proto::ids::Digest;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::client::Client;
use super::table::{age, size, table};
use super::{Output, ServerArgs, print};
use crate::clock;
use crate::images::{ImageStore, StoredImage, resolve_name};
use crate::serve::{DATABASE, IMAGES};
use crate::store::{Database, StoreError};

/// Options of `image`.
#[derive(Debug, Args)]
#[command(after_help = "\
A pool names an image by the name in its manifest (the newest of that name), by
digest, or by an Image resource. An old image stays until it is removed.

Examples:
  boot-server image add out/debian-13
  minisign -Sm out/debian-13/manifest.json && boot-server image add out/debian-13
  boot-server image verify debian-13
  boot-server image remove 3f2a9c0d1e4b")]
pub(super) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Add the image in a folder, checking every file against manifest.json;
    /// prints its digest. A signature in manifest.json.minisig goes with it.
    Add {
        /// Folder with manifest.json and the files it names.
        dir: PathBuf,
    },
    /// List the images.
    List {
        /// How to print it.
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Remove an image, unless a pool names it or a machine runs it.
    Remove {
        /// Name or digest.
        image: String,
        /// Remove it all the same.
        #[arg(long)]
        force: bool,
    },
    /// Read every file again and compare digests; fails when one is damaged.
    Verify {
        /// Name or digest; without it, all images.
        image: Option<String>,
    },
}

pub(super) fn run(args: &ImageArgs) -> anyhow::Result<()> {
    let folder = args.server.state.join(IMAGES);
    let is_add = matches!(args.command, ImageCommand::Add { .. });
    anyhow::ensure!(
        is_add || folder.is_dir(),
        "there is no image store {}; name the server's state folder with --state, or add an image \
         first",
        folder.display()
    );
    let store = ImageStore::open(&folder)?;
    match &args.command {
        ImageCommand::Add { dir } => add(&store, dir),
        ImageCommand::List { output } => list(&store, *output),
        ImageCommand::Remove { image, force } => remove(&store, args, image, *force),
        ImageCommand::Verify { image } => verify(&store, image.as_deref()),
    }
}

fn add(store: &ImageStore, dir: &Path) -> anyhow::Result<()> {
    let is_terminal = std::io::stderr().is_terminal();
    let mut shown = None;
    let digest = store.add(dir, &mut |file, done, all| {
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
        let is_news = shown != Some((file.to_owned(), percent));
        if is_terminal && is_news {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K{file} {percent}%");
            shown = Some((file.to_owned(), percent));
        }
    });
    if is_terminal {
        let _ = write!(std::io::stderr(), "\r\u{1b}[K");
    }
    print(&format!("{}\n", digest?))
}

/// An image as `image list -o json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    digest: Digest,
    name: String,
    kernel_release: String,
    size: u64,
    root_size: u64,
    signed: bool,
    added: boot_proto::time::WallClock,
}

fn list(store: &ImageStore, output: Output) -> anyhow::Result<()> {
    let now = clock::wall();
    let listed = |image: &StoredImage| Listed {
        digest: image.digest,
        name: image.manifest.name.clone(),
        kernel_release: image.manifest.kernel_release.clone(),
        size: image.size(),
        root_size: image.manifest.root.size,
        signed: store.is_signed(&image.digest),
        added: image.added,
    };
    let images: Vec<Listed> = store.list()?.iter().map(listed).collect();
    if output == Output::Json {
        return print(&format!("{}\n", serde_json::to_string_pretty(&images)?));
    }
    let row = |image: &Listed| {
        let digest = image.digest;
        let digest = if output == Output::Wide {
            digest.to_string()
        } else {
            digest.short()
        };
        let (name, kernel) = (image.name.clone(), image.kernel_release.clone());
        vec![
            name,
            digest,
            kernel,
            size(image.size),
            size(image.root_size),
            if image.signed { "yes" } else { "no" }.to_owned(),
            age(image.added, now),
        ]
    };
    let header = ["NAME", "DIGEST", "KERNEL", "SIZE", "ROOT", "SIGNED", "AGE"];
    print(&table(&header, &images.iter().map(row).collect::<Vec<_>>()))
}

fn remove(store: &ImageStore, args: &ImageArgs, name: &str, force: bool) -> anyhow::Result<()> {
    let images = store.list()?;
    let digest = resolve_name(&images, None, name)?.digest;
    if !force {
        match users(args, &digest) {
            Ok(users) if users.is_empty() => {}
            Ok(users) => anyhow::bail!(
                "image {} is in use by {}; give --force to remove it all the same",
                digest.short(),
                users.join(", ")
            ),
            Err(error) if has_server(args) => {
                return Err(error.context(
                    "a server runs on this state folder, and could not be asked whether the image \
                     is in use; name it with --server, or give --force",
                ));
            }
            Err(error) => tracing::warn!(error = %crate::images::chain(error.as_ref()),
                "no server could be asked whether the image is in use"),
        }
    }
    store.remove(&digest)?;
    print(&format!("{digest}\n"))
}

/// Whether a server holds the state folder.
fn has_server(args: &ImageArgs) -> bool {
    let database = args.server.state.join(DATABASE);
    let opened = database.exists().then(|| Database::open(&database));
    matches!(opened, Some(Err(StoreError::InUse { .. })))
}

/// Pools that name the image, and machines whose latest boot got it.
fn users(args: &ImageArgs, digest: &Digest) -> anyhow::Result<Vec<String>> {
    let client = Client::new(&args.server)?;
    let images: Vec<ImageView> = client.get("/api/v1/images")?;
    let machines: Vec<MachineView> = client.get("/api/v1/machines")?;
    let boots: Vec<BootView> = client.get("/api/v1/boots")?;
    let pools = images
        .iter()
        .filter(|image| image.digest == *digest)
        .flat_map(|image| &image.pools);
    let mut users: Vec<String> = pools.map(|pool| format!("pool {pool}")).collect();
    let is_running = |machine: &MachineView| {
        let latest = boots
            .iter()
            .rev()
            .find(|boot| boot.machine.as_ref() == Some(&machine.name));
        machine.status.image == Some(*digest)
            && machine.status.power != boot_proto::resources::ObservedPower::Off
            && latest.is_none_or(|boot| boot.outcome != "failed")
    };
    let running = machines.iter().filter(|machine| is_running(machine));
    users.extend(running.map(|machine| format!("machine {}", machine.name)));
    Ok(users)
}

fn verify(store: &ImageStore, name: Option<&str>) -> anyhow::Result<()> {
    let images = store.list()?;
    let chosen: Vec<&StoredImage> = match name {
        Some(name) => vec![resolve_name(&images, None, name)?],
        None => images.iter().collect(),
    };
    let mut text = String::new();
    let mut damaged = Vec::new();
    for image in chosen {
        let verdict = store.verify(image);
        let word = if verdict.is_sound() { "ok" } else { "DAMAGED" };
        let _ = writeln!(
            text,
            "{} {} {word}",
            image.manifest.name,
            image.digest.short()
        );
        for blob in &verdict.blobs {
            if let Some(fault) = &blob.fault {
                let _ = writeln!(text, "  {} {} {fault}", blob.file, blob.digest);
            }
        }
        if !verdict.is_sound() {
            damaged.push(image.manifest.name.clone());
        }
    }
    print(&text)?;
    anyhow::ensure!(
        damaged.is_empty(),
        "damaged: {}; add the image again from where it was built, which replaces its files",
        damaged.join(", ")
    );
    Ok(())
}
