//! The SSH server of a virtual chassis.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use russh::server::{self, Auth, Msg, Session};
use russh::{Channel, ChannelId, Disconnect, MethodKind, MethodSet, Preferred};

use super::console::Users;
use super::dialect::{ListShape, Manager};
use super::faults::{Fault, Faults};
use super::model::ChassisModel;
use super::rest::{self, WebFaults};
use super::shell;
use super::terminal::Terminal;
use crate::redfish::http::base64;

/// How a virtual chassis is to be.
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Keys that may log in as well.
    pub authorized_keys: Vec<PublicKey>,
    /// Prompt, without the blank after it.
    pub prompt: String,
    /// Shape of `show node list`.
    pub shape: ListShape,
    /// Generation of the chassis manager.
    pub manager: Manager,
    /// How long an order takes until the chassis manager shows the new state.
    pub settle: Duration,
    /// Host key; made anew where there is none.
    pub host_key: Option<PrivateKey>,
    /// Offer only the algorithms of old firmware.
    pub is_old: bool,
    /// Whether it has the web interface as well, on a port of its own.
    pub has_web: bool,
    /// What is in it.
    pub model: ChassisModel,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            user: "Administrator".into(),
            password: "password".into(),
            authorized_keys: Vec::new(),
            prompt: "hpiLO->".into(),
            shape: ListShape::default(),
            manager: Manager::default(),
            settle: Duration::ZERO,
            host_key: None,
            is_old: false,
            has_web: false,
            model: ChassisModel::new(),
        }
    }
}

/// A running virtual chassis. It has threads of its own, so that it can be used
/// from code with and without an async runtime, and ends when it is dropped;
/// its machines do not.
pub struct VirtualChassis {
    shared: Arc<Shared>,
    address: SocketAddr,
    web: Option<SocketAddr>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// What all connections share.
pub(super) struct Shared {
    pub model: ChassisModel,
    pub shape: ListShape,
    pub manager: Manager,
    pub settle: Duration,
    pub prompt: String,
    pub faults: Faults,
    pub web_faults: WebFaults,
    pub console_users: Users,
    user: String,
    password: String,
    authorized_keys: Vec<PublicKey>,
    is_old: bool,
    state: Mutex<State>,
}

struct State {
    host_key: PrivateKey,
    accepted: usize,
    commands: Vec<String>,
    sockets: Vec<TcpStream>,
}

impl VirtualChassis {
    /// Starts a chassis on an address of its own choice or that of the options.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen)?;
        Self::start_on(listener, options)
    }

    /// The same on a socket that listens already, such as one made inside a
    /// network namespace.
    ///
    /// # Errors
    /// When the socket or the threads cannot be set up.
    pub fn start_on(listener: TcpListener, options: Options) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let host_key = match options.host_key {
            Some(key) => key,
            None if options.is_old => old_key()?,
            None => new_key()?,
        };
        let shared = Arc::new(Shared {
            model: options.model,
            shape: options.shape,
            manager: options.manager,
            settle: options.settle,
            prompt: options.prompt,
            faults: Faults::default(),
            web_faults: WebFaults::default(),
            console_users: Users::default(),
            user: options.user,
            password: options.password,
            authorized_keys: options.authorized_keys,
            is_old: options.is_old,
            state: Mutex::new(State {
                host_key,
                accepted: 0,
                commands: Vec::new(),
                sockets: Vec::new(),
            }),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("virtual-chassis")
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(Arc::clone(&shared), listener));
        let mut web = None;
        if options.has_web {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener)?;
            web = Some(listener.local_addr()?);
            runtime.spawn(rest::serve(Arc::clone(&shared), listener));
        }
        tracing::info!(%address, ?web, "virtual chassis is up");
        Ok(Self {
            shared,
            address,
            web,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL of its web interface, if it has one.
    #[must_use]
    pub fn web(&self) -> Option<String> {
        self.web.map(|address| format!("http://{address}"))
    }

    /// The switches for a misbehaving web interface.
    #[must_use]
    pub fn web_faults(&self) -> &WebFaults {
        &self.shared.web_faults
    }

    /// Fingerprint of its host key, `SHA256:…`.
    #[must_use]
    pub fn host_key(&self) -> String {
        let key = self
            .shared
            .locked()
            .host_key
            .public_key()
            .fingerprint(HashAlg::Sha256);
        key.to_string()
    }

    /// Shows another host key from the next connection on, as after a reset.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn change_host_key(&self) -> io::Result<()> {
        let key = new_key()?;
        self.shared.locked().host_key = key;
        Ok(())
    }

    /// The switches for misbehaving.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// What is in it.
    #[must_use]
    pub fn model(&self) -> &ChassisModel {
        &self.shared.model
    }

    /// How many connections were made so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.locked().accepted
    }

    /// The commands that were given so far.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.shared.locked().commands.clone()
    }

    /// Cuts all connections.
    pub fn cut_connections(&self) {
        for socket in self.shared.locked().sockets.drain(..) {
            // An error means that it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for VirtualChassis {
    fn drop(&mut self) {
        self.cut_connections();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    /// Whether an Authorization header is that of its user (RFC 7617).
    pub(super) fn knows_basic(&self, header: &str) -> bool {
        let plain = format!("{}:{}", self.user, self.password);
        let expected = format!("Basic {}", base64(plain.as_bytes()));
        header == expected
    }

    pub(super) fn note_command(&self, command: &str) {
        tracing::debug!(command, "chassis command");
        self.locked().commands.push(command.trim().to_owned());
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> server::Config {
        let mut preferred = Preferred::DEFAULT;
        if self.is_old {
            preferred.kex = vec![russh::kex::DH_G14_SHA1, russh::kex::DH_G1_SHA1].into();
            preferred.cipher =
                vec![russh::cipher::AES_128_CBC, russh::cipher::TRIPLE_DES_CBC].into();
            preferred.mac = vec![russh::mac::HMAC_SHA1].into();
            preferred.key = vec![Algorithm::Rsa { hash: None }].into();
        }
        server::Config {
            server_id: russh::SshId::Standard("SSH-2.0-mpSSH_0.2.1".into()),
            methods: MethodSet::from(&[MethodKind::Password, MethodKind::PublicKey][..]),
            keys: vec![self.locked().host_key.clone()],
            auth_rejection_time: Duration::from_millis(50),
            auth_rejection_time_initial: Some(Duration::ZERO),
            preferred,
            nodelay: true,
            ..server::Config::default()
        }
    }
}

fn new_key() -> io::Result<PrivateKey> {
    let mut random = russh::keys::key::safe_rng();
    PrivateKey::random(&mut random, Algorithm::Ed25519).map_err(io::Error::other)
}

/// What chassis managers of 2014 have: RSA of 1024 bits.
fn old_key() -> io::Result<PrivateKey> {
    let mut random = russh::keys::key::safe_rng();
    let key = russh::keys::ssh_key::private::RsaKeypair::random(&mut random, 1024);
    PrivateKey::new(key.map_err(io::Error::other)?.into(), "").map_err(io::Error::other)
}

async fn accept(shared: Arc<Shared>, listener: tokio::net::TcpListener) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Err(error) = serve(shared, stream).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn serve(shared: Arc<Shared>, stream: tokio::net::TcpStream) -> Result<(), russh::Error> {
    let stream = stream.into_std()?;
    let socket = stream.try_clone()?;
    {
        let mut state = shared.locked();
        state.accepted += 1;
        state.sockets.push(stream.try_clone()?);
    }
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let client = Client {
        shared: Arc::clone(&shared),
        socket,
        channels: HashMap::new(),
    };
    server::run_stream(Arc::new(shared.config()), stream, client)
        .await?
        .await
}

/// One client.
struct Client {
    shared: Arc<Shared>,
    socket: TcpStream,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Client {
    fn verdict(&self, is_good: bool) -> Auth {
        if is_good && !self.shared.faults.has(&Fault::RefuseLogin) {
            return Auth::Accept;
        }
        Auth::reject()
    }

    fn terminal(&mut self, id: ChannelId) -> Option<Terminal> {
        let (input, output) = self.channels.remove(&id)?.split();
        let socket = self.socket.try_clone().ok();
        let cut = Box::new(move || {
            if let Some(socket) = &socket {
                let _ = socket.shutdown(Shutdown::Both);
            }
        });
        Some(Terminal {
            input,
            output,
            faults: self.shared.faults.clone(),
            cut,
        })
    }
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(self.verdict(user == self.shared.user && password == self.shared.password))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let known = &self.shared.authorized_keys;
        let is_known = known
            .iter()
            .any(|other| other.key_data() == key.public_key.key_data());
        Ok(self.verdict(user == self.shared.user && is_known))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        if self.shared.faults.has(&Fault::TooManyConnections) {
            session.disconnect(
                Disconnect::TooManyConnections,
                "Maximum number of sessions reached",
                "",
            )?;
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: server::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _col_width: u32,
        _row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(terminal) = self.terminal(channel) else {
            return session.channel_failure(channel);
        };
        session.channel_success(channel)?;
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { shell::interact(&shared, terminal).await });
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.shared.faults.has(&Fault::NoExec) {
            return session.channel_failure(channel);
        }
        let Some(terminal) = self.terminal(channel) else {
            return session.channel_failure(channel);
        };
        session.channel_success(channel)?;
        let shared = Arc::clone(&self.shared);
        let command = String::from_utf8_lossy(data).into_owned();
        tokio::spawn(async move { shell::execute(&shared, terminal, &command).await });
        Ok(())
    }
}
