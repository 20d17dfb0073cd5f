//! The last DHCP answer in words: each option with its value and where it came
//! from.

use std::net::Ipv4Addr;

use boot_proto::dhcp::code;
use boot_proto::resources::LoaderKind;
use boot_proto::time::WallClock;
use serde::{Deserialize, Serialize};

use crate::dhcp::custom;
use crate::dhcp::responder::{Decision, Reply};
use crate::inventory::{Assignment, Inventory};

/// What DHCP decided last about a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastAnswer {
    /// When.
    pub at: WallClock,
    /// `Offer`, `Ack`, `Nak`, or `none`.
    pub answer: String,
    /// Why there was none, or why it was a NAK.
    pub why: Option<String>,
    /// Address it gave.
    pub address: Option<Ipv4Addr>,
    /// Boot file or URL.
    pub boot_file: Option<String>,
    /// Why a client that boots was named none.
    pub nothing_to_boot: Option<String>,
    /// Its options.
    pub options: Vec<OptionView>,
}

/// One option of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OptionView {
    /// Code.
    pub code: u8,
    /// Name, where it has one.
    pub name: String,
    /// Value as text.
    pub value: String,
    /// Which record or rule it came from.
    pub source: String,
}

/// The decision in words. `assignment` is the client's machine, if it is one.
pub(super) fn view(
    at: WallClock,
    decision: &Decision,
    inventory: &Inventory,
    assignment: Option<&Assignment>,
) -> LastAnswer {
    let reply = match decision {
        Decision::Silent(why) => {
            return LastAnswer {
                at,
                answer: "none".into(),
                why: Some(why.to_string()),
                ..LastAnswer::default()
            };
        }
        Decision::Reply(reply) => reply,
    };
    let message = &reply.message;
    let kind = message.message_type();
    let sources = Sources::of(reply, inventory, assignment);
    let file = String::from_utf8_lossy(&message.file);
    LastAnswer {
        at,
        answer: kind.map_or_else(|| "BOOTP".into(), |kind| format!("{kind:?}")),
        why: reply.refusal.map(|refusal| refusal.to_string()),
        address: Some(message.yiaddr).filter(|address| !address.is_unspecified()),
        boot_file: Some(file.trim_end_matches('\0').to_owned()).filter(|file| !file.is_empty()),
        nothing_to_boot: reply.nothing_to_boot.map(|why| why.to_string()),
        options: sources.all(reply),
    }
}

/// Where values come from.
struct Sources<'a> {
    /// Declared options with what declares them; a later one wins.
    declared: Vec<(u8, String)>,
    subnet: &'a str,
    pool: &'a str,
    has_own_name: bool,
    /// What decided on the loader.
    loading: String,
}

impl<'a> Sources<'a> {
    fn of(reply: &Reply, inventory: &'a Inventory, assignment: Option<&'a Assignment>) -> Self {
        let message = &reply.message;
        let subnet = inventory.subnet_of(message.yiaddr);
        let mut declared = Vec::new();
        if let Some(subnet) = subnet {
            let options = subnet.spec.dhcp_options.keys();
            let codes = options.filter_map(|name| custom::code_of(name));
            declared.extend(codes.map(|code| (code, format!("Subnet {}", subnet.name()))));
        }
        for name in assignment
            .map(|it| super::profiles(inventory, it))
            .unwrap_or_default()
        {
            let Some(profile) = inventory.declared().profiles.get(&name) else {
                continue;
            };
            let options = profile.spec.dhcp_options.keys();
            let codes = options.filter_map(|name| custom::code_of(name));
            declared.extend(codes.map(|code| (code, format!("Profile {name}"))));
        }
        let pool = assignment.and_then(|it| inventory.pool(it.pool.as_deref()?));
        if let Some(pool) = pool {
            let options = pool.spec.dhcp_options.keys();
            let codes = options.filter_map(|name| custom::code_of(name));
            declared.extend(codes.map(|code| (code, format!("NodePool {}", pool.name()))));
        }
        let machine = assignment.and_then(|it| inventory.declared().machines.get(&it.machine));
        Self {
            declared,
            subnet: subnet.map_or("?", |subnet| subnet.name()),
            pool: assignment
                .and_then(|it| it.pool.as_deref())
                .unwrap_or("none"),
            has_own_name: machine.is_some_and(|machine| machine.spec.hostname.is_some()),
            loading: loading(&message.file, assignment),
        }
    }

    fn all(&self, reply: &Reply) -> Vec<OptionView> {
        let (_, omitted) = reply.message.encode_telling(reply.limit);
        let view = |(code, value): (u8, &[u8])| OptionView {
            code,
            name: custom::name_of(code).unwrap_or_default().to_owned(),
            value: text(code, value),
            source: if omitted.contains(&code) {
                let limit = reply.limit;
                format!("not sent: the client takes {limit} bytes, which others fill")
            } else {
                self.source(code)
            },
        };
        reply.message.options.iter().map(view).collect()
    }

    fn source(&self, code: u8) -> String {
        let declared = self.declared.iter().rev().find(|(known, _)| *known == code);
        if let Some((_, by)) = declared {
            return format!("{by}, dhcpOptions");
        }
        let subnet = |field: &str| format!("Subnet {}, {field}", self.subnet);
        match code {
            code::SUBNET_MASK | code::BROADCAST => subnet("cidr"),
            code::ROUTER => subnet("gateway"),
            code::DNS => subnet("dns"),
            code::DOMAIN | code::DOMAIN_SEARCH => subnet("search"),
            code::LEASE_TIME | code::RENEWAL_T1 | code::REBINDING_T2 => {
                subnet("leaseTime, or less as the client asked")
            }
            code::HOSTNAME if self.has_own_name => "Machine, hostname".into(),
            code::HOSTNAME => format!("name of the Machine, or NodePool {}, hostname", self.pool),
            code::MTU => "its profiles, mtu".into(),
            code::BOOT_FILE => self.loading.clone(),
            code::TFTP_SERVER => "boot-server's own address there".into(),
            code::VENDOR_CLASS | code::VENDOR | code::IPXE => {
                "built in, as firmware of its kind needs it with a boot file".into()
            }
            code::CLIENT_ID | code::RELAY_AGENT | code::CLIENT_UUID => "as it was asked".into(),
            _ => "built in".into(),
        }
    }
}

/// What decided on the boot file, among what a pool may say and what is built in.
fn loading(file: &[u8], assignment: Option<&Assignment>) -> String {
    let file = String::from_utf8_lossy(file);
    let file = file.trim_end_matches('\0');
    let Some(assignment) = assignment else {
        return "built-in table of client architectures".into();
    };
    let pool = assignment.pool.as_deref().unwrap_or("none");
    let wish = &assignment.loading;
    let mut own = wish.own.iter();
    // By HTTP Boot a file's name is the end of its URL.
    let named = own.find(|(_, name)| file == **name || file.ends_with(&format!("/loaders/{name}")));
    match (named, wish.secure_boot, wish.kind) {
        _ if file.ends_with("/boot.ipxe") => "built in: iPXE is told where its script is".into(),
        (Some((arch, _)), ..) => format!("NodePool {pool}, loaders: client architecture {arch}"),
        (None, true, _) => format!(
            "NodePool {pool}, secureBoot: shim of the built-in table for its client architecture"
        ),
        (None, false, LoaderKind::Grub) => format!(
            "NodePool {pool}, loader: GRUB of the built-in table for its client architecture"
        ),
        (None, false, LoaderKind::Ipxe) => {
            "built-in table: iPXE for its client architecture".into()
        }
    }
}

/// A value as a person writes it.
fn text(code: u8, value: &[u8]) -> String {
    const ADDRESSES: [u8; 6] = [
        code::SUBNET_MASK,
        code::ROUTER,
        code::DNS,
        code::BROADCAST,
        code::NTP,
        code::SERVER_ID,
    ];
    const TIMES: [u8; 3] = [code::LEASE_TIME, code::RENEWAL_T1, code::REBINDING_T2];
    if ADDRESSES.contains(&code) && value.len().is_multiple_of(4) {
        let (addresses, _) = value.as_chunks::<4>();
        let addresses = addresses.iter().map(|octets| Ipv4Addr::from(*octets));
        return addresses
            .map(|address| address.to_string())
            .collect::<Vec<_>>()
            .join(", ");
    }
    match value {
        [a, b, c, d] if TIMES.contains(&code) => {
            format!("{} s", u32::from_be_bytes([*a, *b, *c, *d]))
        }
        [a, b] if code == code::MTU => u16::from_be_bytes([*a, *b]).to_string(),
        _ => {
            let shown = value.strip_suffix(&[0]).unwrap_or(value);
            let is_text =
                !shown.is_empty() && shown.iter().all(|byte| (b' '..=b'~').contains(byte));
            if is_text {
                String::from_utf8_lossy(shown).into_owned()
            } else {
                hex::encode(value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use boot_proto::dhcp::{Message, MessageType};
    use boot_proto::ids::MacAddr;

    use super::*;
    use crate::dhcp::responder::{Destination, Why};
    use crate::inventory::Client;
    use crate::manifests::tests::declared;

    fn inventory() -> Inventory {
        Inventory::new(
            declared(
                "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata: {name: lan}\n\
                 spec: {cidr: 10.0.0.0/24, gateway: 10.0.0.1, dhcpOptions: {ntp-servers: 10.0.0.2, '209': a}}\n---\n\
                 apiVersion: moonfarm.dev/v1alpha1\nkind: Profile\nmetadata: {name: time}\n\
                 spec: {dhcpOptions: {'42': 10.0.0.3}}\n---\n\
                 apiVersion: moonfarm.dev/v1alpha1\nkind: NodePool\nmetadata: {name: all}\n\
                 spec: {catchAll: true, image: debian, profiles: [time], loaders: {'16': own.efi}}\n",
            ),
            Vec::new(),
        )
    }

    /// An answer with some options, of which a short limit leaves out the last.
    fn reply(limit: usize) -> Reply {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let mut message = Message::request(mac, 1, MessageType::Offer);
        message.yiaddr = Ipv4Addr::new(10, 0, 0, 9);
        message.file = b"http://10.0.0.1:8080/loaders/own.efi".to_vec();
        let options = &mut message.options;
        options.put_addresses(code::ROUTER, &[Ipv4Addr::new(10, 0, 0, 1)]);
        options.put_addresses(code::NTP, &[Ipv4Addr::new(10, 0, 0, 3)]);
        options.put_number32(code::LEASE_TIME, 3600);
        options.put(code::BOOT_FILE, message.file.clone());
        options.put(code::RELAY_AGENT, [&[1, 200][..], &[7; 200]].concat());
        Reply {
            message,
            limit,
            to: Destination::Broadcast,
            refusal: None,
            nothing_to_boot: None,
        }
    }

    #[test]
    fn each_option_tells_where_it_came_from() {
        let inventory = inventory();
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let assignment = inventory.assign(&Client { mac, uuid: None }).unwrap();
        let sources = |limit| {
            let decision = Decision::Reply(Box::new(reply(limit)));
            let view = view(WallClock(1), &decision, &inventory, Some(&assignment));
            let of = |view: &OptionView| (view.code, view.value.clone(), view.source.clone());
            view.options.iter().map(of).collect::<Vec<_>>()
        };
        let found = sources(1472);
        let is = |at: usize, code: u8, value: &str, source: &str| {
            assert_eq!(found[at], (code, value.to_owned(), source.to_owned()));
        };
        is(0, 3, "10.0.0.1", "Subnet lan, gateway");
        is(1, 42, "10.0.0.3", "Profile time, dhcpOptions");
        assert_eq!(found[2].1, "3600 s");
        let url = "http://10.0.0.1:8080/loaders/own.efi";
        let named = "NodePool all, loaders: client architecture 16";
        let last = found.len() - 1;
        is(last - 1, 67, url, named);
        is(last, 82, &found[last].1, "as it was asked");
        let short = sources(400);
        assert!(short[last].2.starts_with("not sent: "), "{}", short[last].2);
    }

    #[test]
    fn what_decided_on_the_loader() {
        let inventory = inventory();
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let mut assignment = inventory.assign(&Client { mac, uuid: None }).unwrap();
        let of = |file: &str, assignment: &Assignment| loading(file.as_bytes(), Some(assignment));
        let script = of("http://10.0.0.1:8080/boot.ipxe", &assignment);
        assert!(script.contains("iPXE is told"), "{script}");
        let usual = of("snponly.efi\0", &assignment);
        assert_eq!(usual, "built-in table: iPXE for its client architecture");
        assignment.loading.kind = LoaderKind::Grub;
        assert!(of("grubx64.efi", &assignment).starts_with("NodePool all, loader: GRUB"));
        assignment.loading.secure_boot = true;
        assert!(of("shimx64.efi", &assignment).starts_with("NodePool all, secureBoot: shim"));
    }

    #[test]
    fn silence_tells_its_rule() {
        let silent = Decision::Silent(Why::UnknownLink("eth9".into()));
        let view = view(WallClock(1), &silent, &inventory(), None);
        assert_eq!(view.answer, "none");
        assert_eq!(
            view.why.as_deref(),
            Some("no Subnet is declared for interface eth9")
        );
    }
}
