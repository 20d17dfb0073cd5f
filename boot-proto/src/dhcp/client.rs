//! What a request tells of the machine that sends it: PXE's options (RFC 4578,
//! PXE 2.1 §2.2), UEFI HTTP Boot's, and iPXE's.

use super::{Message, Options, code};
use crate::uuid;

/// iPXE's sub-option that says it can load over HTTP.
const IPXE_HTTP: u8 = 19;
/// Code of a PC with BIOS (RFC 4578 §2.1).
const PC_BIOS: u16 = 0;
/// Codes that are read; no machine has as many kinds of firmware.
const MAX_ARCHS: usize = 16;

/// Vendor class, option 60, of the node agent: without a firmware's request before
/// it, it tells that the machine has started again by other means, such as kexec.
pub const AGENT_CLASS: &[u8] = b"moonfarm-node-agent";

/// What a client says of its firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFacts {
    /// Vendor class, option 60, is `PXEClient…`.
    pub is_pxe: bool,
    /// Vendor class, option 60, is `HTTPClient…`.
    pub is_http: bool,
    /// It is iPXE: user class `iPXE` or option 175.
    pub ipxe: Option<IpxeFeatures>,
    /// First client architecture, option 93; else the one in the vendor class. A
    /// PXE client that tells none is a PC with BIOS: there was nothing else when
    /// ROMs did not tell (PXE 2.0 and before).
    pub arch: Option<u16>,
    /// Further client architectures in option 93, in the client's order, and the
    /// one in the vendor class where it is another.
    pub further_archs: Vec<u16>,
    /// It is our node agent: vendor class [`AGENT_CLASS`].
    pub is_agent: bool,
    /// SMBIOS UUID, option 97, where it tells the machine from others.
    pub uuid: Option<String>,
}

/// What an iPXE can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpxeFeatures {
    /// It loads over HTTP. One that does not list its features (no option 175)
    /// is taken to be able to: all builds of the last decade are.
    pub http: bool,
}

impl ClientFacts {
    /// Reads them from a request.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let options = &message.options;
        let class = options.get(code::VENDOR_CLASS).unwrap_or_default();
        let is_pxe = class.starts_with(b"PXEClient");
        let mut codes = archs(options);
        codes.extend(arch_of_class(class).filter(|code| !codes.contains(code)));
        let mut codes = codes.into_iter();
        Self {
            is_pxe,
            is_http: class.starts_with(b"HTTPClient"),
            ipxe: ipxe(options),
            arch: codes.next().or(is_pxe.then_some(PC_BIOS)),
            further_archs: codes.collect(),
            is_agent: class == AGENT_CLASS,
            uuid: options
                .get(code::CLIENT_UUID)
                .and_then(uuid_text)
                .and_then(|text| uuid::usable(&text)),
        }
    }

    /// Whether firmware or a boot loader is asking, not an operating system.
    #[must_use]
    pub const fn is_booting(&self) -> bool {
        self.is_pxe || self.is_http || self.ipxe.is_some() || self.arch.is_some()
    }
}

fn ipxe(options: &Options) -> Option<IpxeFeatures> {
    let is_user_class = options
        .get(code::USER_CLASS)
        .is_some_and(|value| user_classes(value).contains(&b"iPXE".as_slice()));
    match (options.has(code::IPXE), is_user_class) {
        (true, _) => {
            let http = options
                .sub_option(code::IPXE, IPXE_HTTP)
                .is_some_and(|value| value.iter().any(|b| *b != 0));
            Some(IpxeFeatures { http })
        }
        (false, true) => Some(IpxeFeatures { http: true }),
        (false, false) => None,
    }
}

/// The classes of option 77. RFC 3004 puts a length before each; iPXE, and
/// Microsoft's clients, send one bare text. Both readings are given where both
/// are possible.
fn user_classes(value: &[u8]) -> Vec<&[u8]> {
    let mut classes = vec![value];
    let mut rest = value;
    while let [length, tail @ ..] = rest {
        let Some((class, next)) = tail.split_at_checked(usize::from(*length)) else {
            break;
        };
        classes.push(class);
        rest = next;
    }
    classes
}

/// RFC 4578 §2.1 allows several codes of two octets. One octet alone is what a
/// ROM means that does not know better; an odd one behind others is nothing.
fn archs(options: &Options) -> Vec<u16> {
    match options.get(code::CLIENT_ARCH).unwrap_or_default() {
        [code] => vec![u16::from(*code)],
        codes => codes
            .chunks_exact(2)
            .take(MAX_ARCHS)
            .filter_map(|code| code.try_into().ok().map(u16::from_be_bytes))
            .collect(),
    }
}

/// The code in `PXEClient:Arch:00007:UNDI:003001` (PXE 2.1 §2.2.3).
fn arch_of_class(class: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(class);
    let (_, rest) = text.split_once(":Arch:")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// An identifier as operators write it into bytes: `0x01ab` and `01:ab` are
/// bytes, all else is text.
#[must_use]
pub fn identifier_bytes(text: &str) -> Vec<u8> {
    let digits = match text.strip_prefix("0x") {
        Some(digits) => Some(digits.to_owned()),
        None if text.contains(':') && text.split(':').all(|byte| byte.len() == 2) => {
            Some(text.replace(':', ""))
        }
        None => None,
    };
    let bytes = digits.and_then(|digits| hex::decode(digits).ok());
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Option 97 as text in the spelling of `/sys/class/dmi/id/product_uuid`: type
/// 0 and the 16 bytes of the SMBIOS structure, whose first three fields are
/// little-endian (RFC 4578 §2.3, SMBIOS 3.7 §7.2.1). iPXE sends the same order.
#[must_use]
pub fn uuid_text(option: &[u8]) -> Option<String> {
    let [0, bytes @ ..] = option else { return None };
    let [a, b, c, d, e, f, g, h, rest @ ..] = <[u8; 16]>::try_from(bytes).ok()?;
    let (clock, node) = rest.split_at(2);
    Some(format!(
        "{d:02x}{c:02x}{b:02x}{a:02x}-{f:02x}{e:02x}-{h:02x}{g:02x}-{}-{}",
        hex::encode(clock),
        hex::encode(node)
    ))
}
