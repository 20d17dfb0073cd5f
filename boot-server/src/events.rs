//! What the network faces tell the boot log: who was given what, when.

use std::net::Ipv4Addr;

use boot_proto::ids::MacAddr;

use crate::dhcp::responder::Decision;

/// Firmware of a booting machine, told from its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// PC BIOS: client architecture 0 (RFC 4578 §2.1).
    Bios,
    /// UEFI with PXE.
    Uefi,
    /// UEFI HTTP Boot.
    UefiHttp,
    /// iPXE, started by any firmware: option 175 or user class `iPXE`.
    Ipxe,
    /// Anything else, such as a running operating system.
    Other,
}

/// One thing that happened to a booting machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootEvent {
    /// A network-boot client was offered an address by DHCP.
    Offered {
        /// MAC that asked.
        mac: MacAddr,
        /// Address offered; `None` from a proxyDHCP.
        address: Option<Ipv4Addr>,
        /// What asked.
        firmware: Firmware,
        /// SMBIOS UUID from option 97, where it is not a placeholder.
        uuid: Option<String>,
        /// The machine that it is, where that is more than a guess by its MAC.
        machine: Option<String>,
        /// Boot file or URL it was told to fetch, or why there is none for it.
        boot_file: Result<String, String>,
    },
    /// The node agent of a machine asks for an address, as it does once a boot.
    AgentAsked {
        /// MAC that asked.
        mac: MacAddr,
        /// The machine that it is, where that is more than a guess by its MAC.
        machine: Option<String>,
    },
    /// A machine of the farm asked by DHCP to boot and gets no answer.
    Unanswered {
        /// MAC that asked.
        mac: MacAddr,
        /// What asked.
        firmware: Firmware,
        /// Why it gets none, in words.
        reason: String,
    },
    /// Its request was acknowledged.
    Acknowledged {
        /// MAC that asked.
        mac: MacAddr,
        /// Address it holds now.
        address: Ipv4Addr,
        /// What asked.
        firmware: Firmware,
    },
    /// A file went out by TFTP or HTTP.
    File {
        /// Address it went to.
        address: Ipv4Addr,
        /// Path that was asked for.
        path: String,
        /// Bytes sent.
        bytes: u64,
        /// Why it did not arrive whole, where that is so.
        error: Option<String>,
    },
}

/// Takes events; never blocks for long and never fails.
pub trait EventSink: Send + Sync {
    /// Records one event.
    fn record(&self, event: BootEvent);

    /// Keeps what DHCP decided last about a client, for whoever asks why.
    fn decided(&self, _mac: MacAddr, _decision: Decision) {}
}
