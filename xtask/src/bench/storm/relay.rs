//! The racks' relays as one socket: answers find their node by transaction.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use boot_proto::dhcp::{MAX_MESSAGE_BYTES, Message, MessageType, SERVER_PORT, code, relay};
use nix::sys::socket::{setsockopt, sockopt};

use super::site::{mac_of, relay_of};

/// Waits for an answer, as firmware has them (PXE 2.1 §2.2.2).
const WAITS: [u64; 4] = [4, 8, 16, 32];

/// Room for an answer to each of some 10,000 nodes.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// What a node does at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// UEFI firmware that boots over PXE.
    Firmware,
    /// The iPXE that it loaded.
    Ipxe,
}

/// A lease with what to boot.
#[derive(Debug)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub boot_file: String,
    /// How often something was sent again.
    pub again: u64,
}

/// Sends for all nodes, and hears for them.
pub struct Relay {
    socket: UdpSocket,
    server: SocketAddr,
    waiting: Mutex<HashMap<u32, Sender<Message>>>,
}

impl Relay {
    /// Listens, and hands answers on in the background until the process ends.
    ///
    /// # Errors
    /// When port 67 cannot be had.
    pub fn start(server: Ipv4Addr) -> Result<Arc<Self>> {
        let socket = UdpSocket::bind(("0.0.0.0", SERVER_PORT))?;
        // One socket stands for the relays of all racks: the usual room is for 200
        // answers, and while the nodes begin it is read late.
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)?;
        let relay = Arc::new(Self {
            socket,
            server: (server, SERVER_PORT).into(),
            waiting: Mutex::default(),
        });
        let hearing = Arc::clone(&relay);
        std::thread::spawn(move || hearing.hear());
        Ok(relay)
    }

    fn hear(&self) {
        let mut buffer = [0; MAX_MESSAGE_BYTES];
        while let Ok(bytes) = self.socket.recv(&mut buffer) {
            let Ok(message) = Message::parse(&buffer[..bytes]) else {
                continue;
            };
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(node) = waiting.get(&message.xid) {
                // One that has its answer already needs no other.
                let _ = node.send(message);
            }
        }
    }

    /// DISCOVER, OFFER, REQUEST, ACK for a node.
    ///
    /// # Errors
    /// When nobody answers for as long as firmware waits, or with a refusal.
    pub fn lease(&self, node: u32, client: Client) -> Result<Lease> {
        let xid = node * 2 + u32::from(client == Client::Ipxe) + 1;
        let (sender, receiver) = channel();
        self.lock().insert(xid, sender);
        let leased = self.exchange(node, client, xid, &receiver);
        self.lock().remove(&xid);
        leased
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Sender<Message>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exchange(
        &self,
        node: u32,
        client: Client,
        xid: u32,
        answers: &Receiver<Message>,
    ) -> Result<Lease> {
        let mut again = 0;
        let mut discover = request(node, client, xid, MessageType::Discover);
        let offer = self.ask(&discover, MessageType::Offer, answers, &mut again)?;
        let kind = vec![MessageType::Request.into()];
        discover.options.put(code::MESSAGE_TYPE, kind);
        discover
            .options
            .put_addresses(code::REQUESTED_ADDRESS, &[offer.yiaddr]);
        discover.options.copy(code::SERVER_ID, &offer.options);
        let ack = self.ask(&discover, MessageType::Ack, answers, &mut again)?;
        let file = ack.options.get(code::BOOT_FILE).unwrap_or(&ack.file);
        let file = String::from_utf8_lossy(file);
        Ok(Lease {
            address: ack.yiaddr,
            boot_file: file.trim_end_matches('\0').to_owned(),
            again,
        })
    }

    fn ask(
        &self,
        message: &Message,
        wanted: MessageType,
        answers: &Receiver<Message>,
        again: &mut u64,
    ) -> Result<Message> {
        let bytes = message.encode(1472);
        for (attempt, secs) in WAITS.into_iter().enumerate() {
            *again += u64::from(attempt > 0);
            self.socket.send_to(&bytes, self.server)?;
            // A late answer to an earlier packet is passed over.
            while let Ok(answer) = answers.recv_timeout(Duration::from_secs(secs)) {
                match answer.message_type() {
                    Some(kind) if kind == wanted => return Ok(answer),
                    Some(MessageType::Nak) => bail!("DHCP refused the node"),
                    _ => {}
                }
            }
        }
        bail!("no DHCP {wanted:?} within {} s", WAITS.iter().sum::<u64>())
    }
}

fn request(node: u32, client: Client, xid: u32, kind: MessageType) -> Message {
    let mut message = Message::request(mac_of(node), xid, kind);
    message.giaddr = relay_of(node);
    message.hops = 1;
    let options = &mut message.options;
    options.put(code::PARAMETER_LIST, vec![1, 3, 6, 43, 60, 66, 67, 175]);
    options.put(code::MAX_MESSAGE_SIZE, 1472_u16.to_be_bytes().to_vec());
    options.put(
        code::VENDOR_CLASS,
        b"PXEClient:Arch:00007:UNDI:003016".to_vec(),
    );
    options.put(code::CLIENT_ARCH, vec![0, 7]);
    options.put(code::CLIENT_NDI, vec![1, 3, 16]);
    let uuid = [&[0; 13][..], &node.to_be_bytes()].concat();
    options.put(code::CLIENT_UUID, uuid);
    if client == Client::Ipxe {
        options.put(code::USER_CLASS, b"iPXE".to_vec());
        // HTTP and UEFI among iPXE's features (option 175).
        options.put(code::IPXE, vec![19, 1, 1, 36, 1, 1]);
    }
    let port = format!("port-{node}").into_bytes();
    let agent = [&[relay::CIRCUIT_ID, port.len() as u8][..], &port].concat();
    options.put(code::RELAY_AGENT, agent);
    message
}
