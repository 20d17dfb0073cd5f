//! What a booting client is told to load, in full service and as proxyDHCP.

use std::net::Ipv4Addr;

use boot_proto::dhcp::{Message, MessageType, PXE_PORT, code};

use super::{Destination, Exchange, Reply, Why};
use crate::arch::{BootFile, Firmware, NoLoader, boot_file};
use crate::events::BootEvent;
use crate::inventory::MatchedBy;

/// PXE option 43: discovery control (tag 6) with bit 3 set says that the boot
/// file named in this very packet is to be loaded, without menu, multicast or
/// a search for boot servers (PXE 2.1 §2.2.3, table 2-1).
const TAKE_THE_BOOT_FILE: [u8; 4] = [6, 1, 8, 255];
/// PXE option 43, tag 71: the boot item, which a boot server gives back.
const PXE_BOOT_ITEM: u8 = 71;
/// iPXE option 175, sub-option 176: do not wait for a proxyDHCP offer.
const NO_PROXY_DHCP: [u8; 3] = [176, 1, 1];
/// `file` holds 128 octets with the NUL that ends it.
const FILE_FIELD_BYTES: usize = 127;

impl Exchange<'_> {
    /// Firmware and boot file. A machine without a pool has nothing to boot, unless
    /// a MatchboxGroup may take it: which one, only the loader's request tells.
    pub(super) fn boot_choice(&self, server: Ipv4Addr) -> (Firmware, Result<BootFile, NoLoader>) {
        let (firmware, file) = boot_file(
            &self.facts,
            self.mac,
            &self.assignment.loading,
            server,
            self.responder.http_port,
        );
        let has_matchbox = !self.inventory.declared().matchbox_groups.is_empty();
        let may_boot = self.assignment.pool.is_some() || has_matchbox;
        let file = file.and_then(|file| may_boot.then_some(file).ok_or(NoLoader::NoPool));
        (firmware, file)
    }

    /// Adds boot information for a client that boots.
    pub(super) fn boot(&self, message: &mut Message, server: Ipv4Addr) {
        if !self.facts.is_booting() {
            return;
        }
        message
            .options
            .copy(code::CLIENT_UUID, &self.message.options);
        let (_, Ok(file)) = self.boot_choice(server) else {
            return;
        };
        message.siaddr = server;
        let name = file.name().as_bytes();
        if name.len() <= FILE_FIELD_BYTES {
            message.file = name.to_vec();
        }
        let options = &mut message.options;
        options.put(code::TFTP_SERVER, server.to_string().into_bytes());
        options.put(code::BOOT_FILE, name.to_vec());
        match file {
            BootFile::Tftp(_) => {
                options.put(code::VENDOR_CLASS, b"PXEClient".to_vec());
                options.put(code::VENDOR, TAKE_THE_BOOT_FILE.to_vec());
                // Old ROMs take option 67 for a C string and read on without
                // the NUL; RFC 2132 §2 lets clients trim it.
                options.put(code::BOOT_FILE, [name, &[0]].concat());
            }
            // UEFI 2.10 §24.7.2: without the echo the offer is no HTTP boot offer.
            BootFile::Http(_) => options.put(code::VENDOR_CLASS, b"HTTPClient".to_vec()),
            BootFile::Script(_) => options.put(code::IPXE, NO_PROXY_DHCP.to_vec()),
        }
    }

    /// proxyDHCP (PXE 2.1 §2.2.3): boot information beside another server's
    /// address, on port 67 to a DISCOVER, on port 4011 to a REQUEST.
    pub(super) fn proxy(&mut self, kind: MessageType) -> Result<Reply, Why> {
        let is_second_step = self.ingress.port == PXE_PORT;
        let answer = match kind {
            MessageType::Discover if !is_second_step => MessageType::Offer,
            MessageType::Request | MessageType::Inform if is_second_step => MessageType::Ack,
            _ => return Err(Why::ProxyOnly),
        };
        if !self.facts.is_booting() {
            return Err(Why::ProxyOnly);
        }
        let subnet = self.subnets.first().ok_or(Why::ProxyOnly)?;
        let server = self.server_address(&subnet.spec)?;
        if self.boot_choice(server).1.is_err() {
            return Err(Why::NoBootFile(self.facts.arch));
        }
        let mut message = self.message.reply(answer);
        self.boot(&mut message, server);
        self.mark_as_proxy(&mut message);
        let to = self.proxy_destination();
        self.event = self.offered(None);
        Ok(self.finish(message, server, to))
    }

    fn mark_as_proxy(&self, message: &mut Message) {
        let options = &mut message.options;
        options.remove(code::IPXE);
        // What makes an offer without an address a proxyDHCP offer.
        let class: &[u8] = if self.facts.is_http {
            b"HTTPClient"
        } else {
            b"PXEClient"
        };
        options.put(code::VENDOR_CLASS, class.to_vec());
        if let Some(item) = self.message.options.sub_option(code::VENDOR, PXE_BOOT_ITEM) {
            let mut vendor = TAKE_THE_BOOT_FILE[..3].to_vec();
            vendor.push(PXE_BOOT_ITEM);
            vendor.push(u8::try_from(item.len()).unwrap_or_default());
            vendor.extend_from_slice(item);
            vendor.push(255);
            options.put(code::VENDOR, vendor);
        }
    }

    fn proxy_destination(&self) -> Destination {
        let source = self.ingress.source;
        match self.message.relay() {
            Some(giaddr) => Destination::Relay(giaddr),
            // On port 4011 the client has its address, and waits on the port
            // it asks from.
            None if !source.ip().is_unspecified() => Destination::Client(source),
            None => Destination::Broadcast,
        }
    }

    /// The event of a client that boots and is offered nothing.
    pub(super) fn unanswered(&self, why: &Why) -> Option<BootEvent> {
        if !self.facts.is_booting() {
            return None;
        }
        let (firmware, _) = self.boot_choice(Ipv4Addr::UNSPECIFIED);
        Some(BootEvent::Unanswered {
            mac: self.mac,
            firmware,
            reason: why.to_string(),
        })
    }

    /// The event of a node agent that asks for its address.
    pub(super) fn agent_asked(&self) -> BootEvent {
        BootEvent::AgentAsked {
            mac: self.mac,
            machine: self.known_machine(),
        }
    }

    /// The machine, unless it is a stranger's name made of the MAC.
    fn known_machine(&self) -> Option<String> {
        let assignment = &self.assignment;
        (assignment.matched != MatchedBy::CatchAll).then(|| assignment.machine.clone())
    }

    /// The event of an offer to a client that boots.
    pub(super) fn offered(&self, address: Option<Ipv4Addr>) -> Option<BootEvent> {
        if !self.facts.is_booting() {
            return None;
        }
        let server = self
            .subnets
            .first()
            .and_then(|subnet| self.server_address(&subnet.spec).ok());
        let (firmware, file) = self.boot_choice(server?);
        Some(BootEvent::Offered {
            mac: self.mac,
            address,
            firmware,
            uuid: self.facts.uuid.clone(),
            machine: self.known_machine(),
            boot_file: file
                .map(|file| file.name().to_owned())
                .map_err(|why| why.to_string()),
        })
    }
}
