//! `boot-server serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube_access::Place;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::http::TlsFiles;
use crate::kubernetes::KubernetesOptions;
use crate::serve::{ServeOptions, Server};
use crate::{arenas, privileges};

/// Requests that read or write the disk at once; the others wait, at the price
/// of a task. Each holds an inventory as it was when it began, and they queue for
/// one writer in any case: a rack that boots at once would fill the memory.
const MOST_BLOCKING: usize = 32;

/// Options of `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
The manifests are read again whenever they change; a wrong change is reported and
the old state stays. SIGTERM or SIGINT stops the server; nodes that run do not notice.

Example, on a network of its own behind eth1:
  boot-server serve --manifests farm/ --state /var/lib/moonfarm --interface eth1

Several servers on one network, with an API server as the store (deploy/crds
has to be installed there; the state folder is a cache then):
  boot-server serve --kubernetes --kubeconfig admin.conf --namespace moonfarm")]
pub(super) struct ServeArgs {
    /// Folder of manifests.
    #[arg(
        long,
        value_name = "DIR",
        env = "MOONFARM_MANIFESTS",
        required_unless_present = "kubernetes"
    )]
    manifests: Option<PathBuf>,
    /// Take the resources from a Kubernetes API server, and keep there what is
    /// learned; several boot-servers can then serve the same network.
    #[arg(long)]
    kubernetes: bool,
    #[command(flatten)]
    place: Place,
    /// What this server calls itself among several. Without it the host name.
    #[arg(
        long,
        value_name = "NAME",
        requires = "kubernetes",
        env = "MOONFARM_SERVER_NAME"
    )]
    server_name: Option<String>,
    /// Folder for what is learned: database, images, management token.
    #[arg(long, value_name = "DIR", default_value = super::STATE, env = "MOONFARM_STATE")]
    state: PathBuf,
    /// Where machines fetch scripts, kernels and images.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    listen_boot: SocketAddr,
    /// Where operators and chassis-agent talk to us; plain HTTP with a token.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443")]
    listen_management: SocketAddr,
    /// Serve DHCP on this interface only; may be given several times. Without
    /// it, on each that has an address in a declared subnet.
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// Folder of boot loaders.
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/ipxe")]
    loaders: PathBuf,
    /// Folder of files that are served below /assets, as Matchbox does. Without it
    /// `assets` in the folder of manifests.
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
    /// Keep all capabilities. Without it all but CAP_NET_BIND_SERVICE and
    /// CAP_NET_RAW are given up, so that root reads and writes only what is
    /// root's, as with folders in another user's home.
    #[arg(long)]
    keep_privileges: bool,
    /// Do not serve DHCP.
    #[arg(long)]
    no_dhcp: bool,
    /// Where machines fetch the same over TLS: UEFI HTTPS boot, and node-agent.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "tls_cert")]
    listen_boot_tls: Option<SocketAddr>,
    /// Certificate chain in PEM. It is read again when it changes; one that does
    /// not fit its key is reported, and the old one stays.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speak TLS on the management face too.
    #[arg(long, requires = "tls_cert")]
    management_tls: bool,
    /// Machines that may fetch an image at once; the others are told when to
    /// come back, so that the first are done early and none times out.
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    image_transfers: usize,
    /// Do not serve TFTP.
    #[arg(long)]
    no_tftp: bool,
    /// Send files by TFTP from port 69 itself instead of a port for each
    /// transfer. For networks that translate addresses, such as a Kubernetes
    /// Service, where an answer from another port does not get through.
    #[arg(long)]
    tftp_single_port: bool,
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<()> {
    arenas::keep_few();
    let kubernetes = args.kubernetes.then(|| KubernetesOptions {
        place: args.place,
        server: args.server_name.unwrap_or_else(host_name),
    });
    let options = ServeOptions {
        // A manifest folder in the environment of a pod changes nothing.
        manifests: args
            .manifests
            .filter(|_| kubernetes.is_none())
            .unwrap_or_default(),
        kubernetes,
        state: args.state,
        listen_boot: args.listen_boot,
        listen_management: args.listen_management,
        interfaces: args.interface,
        loaders: args.loaders,
        assets: args.assets,
        dhcp: !args.no_dhcp,
        tftp: !args.no_tftp,
        listen_boot_tls: args.listen_boot_tls,
        tls: args
            .tls_cert
            .zip(args.tls_key)
            .map(|(cert, key)| TlsFiles { cert, key }),
        management_tls: args.management_tls,
        image_transfers: args.image_transfers,
        tftp_single_port: args.tftp_single_port,
    };
    raise_open_files();
    if !args.keep_privileges {
        privileges::drop_all_but_needed();
    }
    if !args.no_dhcp || !args.no_tftp {
        privileges::report_missing();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MOST_BLOCKING)
        .build()?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let server = Server::start(&options).await?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // A second signal does not wait.
        tokio::select! {
            () = server.stop() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(300));
    served
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "boot-server".to_owned())
}

/// Every connection and transfer takes a file descriptor or two, and systemd's
/// default of 1024 is less than this server lets in: a flood of TFTP requests
/// would leave none for HTTP and the store. The hard limit is meant for this.
fn raise_open_files() {
    /// Twice what all limits of the faces add up to.
    const ENOUGH: u64 = 131_072;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = hard.min(ENOUGH);
        if soft >= wanted {
            return Ok(());
        }
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
