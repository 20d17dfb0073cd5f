//! The first inputs of the fuzz targets: made by our own encoders, or taken from
//! our own examples and fixtures.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use boot_proto::dhcp::{Message, MessageType, code};
use boot_proto::ids::MacAddr;
use boot_proto::tftp::{self, Mode, Request};

use crate::cache;

/// An input too long to be worth changing octet by octet.
const LONGEST: u64 = 8192;

/// Writes the first inputs of `target` into `folder`.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write(target: &str, folder: &Path) -> Result<()> {
    let inputs = match target {
        "dhcp" => dhcp(),
        "tftp" => transfers(),
        "http" => http(),
        "manifest" => files(&["deploy/examples", "fuzz/farm.yaml"], "yaml", None)?,
        "node" => node(),
        _ => bmc()?,
    };
    for (at, input) in inputs.iter().enumerate() {
        let path = folder.join(format!("seed-{at:03}"));
        fs::write(&path, input).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Messages as `fuzz/src/lib.rs` takes them apart.
fn message(input: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    input.extend_from_slice(&length.to_le_bytes());
    input.extend_from_slice(bytes);
}

const MACS: [[u8; 6]; 3] = [
    [0x94, 0x57, 0xa5, 0, 0, 1],
    [0x94, 0x57, 0xa5, 0, 0, 3],
    [2, 0, 0, 0, 0, 9],
];

/// Every client on every link: DISCOVER, REQUEST and what may come after it.
fn dhcp() -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for (flags, giaddr) in [
        (0, [0; 4]),
        (1, [0; 4]),
        (4 + 64, [10, 1, 0, 1]),
        (8 + 1, [0; 4]),
    ] {
        for mac in MACS {
            for arch in [0_u16, 7, 16] {
                inputs.push(exchange(flags, giaddr.into(), MacAddr::new(mac), arch));
            }
        }
    }
    inputs
}

fn exchange(flags: u8, giaddr: Ipv4Addr, mac: MacAddr, arch: u16) -> Vec<u8> {
    let is_relayed = !giaddr.is_unspecified();
    let server = Ipv4Addr::new(10, 0, 0, 1);
    let address = Ipv4Addr::new(10, u8::from(is_relayed), 0, 51);
    let mut input = Vec::new();
    for kind in [
        MessageType::Discover,
        MessageType::Request,
        MessageType::Inform,
        MessageType::Decline,
        MessageType::Release,
    ] {
        let mut own = Message::request(mac, 7, kind);
        own.giaddr = giaddr;
        let class = format!("PXEClient:Arch:{arch:05}:UNDI:003001");
        own.options.put(code::VENDOR_CLASS, class.into_bytes());
        own.options
            .put(code::CLIENT_ARCH, arch.to_be_bytes().to_vec());
        own.options
            .put(code::CLIENT_UUID, [&[0][..], &[7; 16]].concat());
        own.options
            .put(code::PARAMETER_LIST, vec![1, 3, 6, 43, 60, 66, 67, 175]);
        own.options
            .put(code::MAX_MESSAGE_SIZE, 1472_u16.to_be_bytes().to_vec());
        if arch == 16 {
            own.options.put(code::USER_CLASS, b"iPXE".to_vec());
        }
        if is_relayed {
            let agent = [1, 4, b'p', b'o', b'r', b't', 2, 2, 8, 8, 5, 4, 10, 1, 0, 0];
            own.options.put(code::RELAY_AGENT, agent.to_vec());
        }
        if matches!(kind, MessageType::Request | MessageType::Decline) {
            own.options
                .put_addresses(code::REQUESTED_ADDRESS, &[address]);
            own.options.put_addresses(code::SERVER_ID, &[server]);
        } else if kind != MessageType::Discover {
            own.ciaddr = address;
        }
        input.push(flags);
        message(&mut input, &own.encode(1472));
    }
    input
}

fn transfers() -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    let options = [
        vec![],
        vec![("blksize", "1468"), ("tsize", "0")],
        vec![("windowsize", "16"), ("blksize", "512"), ("timeout", "2")],
    ];
    for (at, options) in options.into_iter().enumerate() {
        let has_options = !options.is_empty();
        let request = Request {
            file: "ipxe.efi".into(),
            mode: Mode::Octet,
            options: options
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        };
        // 4,000 octets, some of them many times over, and the usual MTU.
        let mut input = [
            &4000_u16.to_le_bytes()[..],
            &[at as u8 * 7],
            &1500_u16.to_le_bytes(),
        ]
        .concat();
        message(&mut input, &request.encode_read());
        for block in u16::from(!has_options)..12 {
            input.extend_from_slice(&5_u16.to_le_bytes());
            message(&mut input, &tftp::ack(block));
        }
        input.extend_from_slice(&3000_u16.to_le_bytes());
        message(
            &mut input,
            &tftp::error(tftp::ErrorCode::Undefined, "enough"),
        );
        inputs.push(input);
    }
    inputs
}

fn http() -> Vec<Vec<u8>> {
    let digest = boot_proto::ids::Digest::of(b"0123456789").hex();
    let ranged = "Range: bytes=2-5\r\nIf-Range: \"x\"\r\nIf-None-Match: W/\"a\", \"b\"\r\n";
    let dated = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\nRange: bytes=-3\r\n";
    let report = r#"{"version":1,"mac":"94:57:a5:00:00:01","phase":"image","progress":"running","percent":40,"uptimeMs":9000,"elapsedMs":100,"message":"m","facts":{"macs":["94:57:a5:00:00:01"],"uuid":"07070707-0707-0707-0707-070707070707","cpus":4,"memoryBytes":1024},"phases":[{"phase":"links","startedMs":1,"elapsedMs":2}]}"#;
    let token = r#"{"mac":"94:57:a5:00:00:01"}"#;
    let requests = [
        ("GET", "/boot.ipxe".to_owned(), "", ""),
        ("GET", "/ipxe?mac=94-57-a5-00-00-01&uuid=07070707-0707-0707-0707-070707070707&serial=%20x&buildarch=x86_64".into(), "", ""),
        ("GET", "/grub.cfg?mac=94:57:a5:00:00:01".into(), "", ""),
        ("GET", format!("/blobs/sha256/{digest}"), ranged, ""),
        ("HEAD", format!("/blobs/sha256/{digest}"), dated, ""),
        ("GET", "/loaders/ipxe.efi".into(), ranged, ""),
        ("GET", "/loaders/..%2fstate.redb".into(), "", ""),
        ("GET", "/v1/boot-config?mac=94:57:a5:00:00:01".into(), "", ""),
        ("POST", "/v1/report".into(), "", report),
        ("POST", "/v1/join-token".into(), "", token),
        ("GET", "/healthz".into(), "Connection: close\r\n", ""),
    ];
    let mut inputs = Vec::new();
    for (at, (method, path, headers, body)) in requests.iter().enumerate() {
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        let text = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{headers}{length}\r\n{body}");
        inputs.push([&[at as u8 % 4], text.as_bytes()].concat());
    }
    inputs
}

fn node() -> Vec<Vec<u8>> {
    let lines = [
        "quiet moonfarm.server=http://10.0.0.1:8080 moonfarm.machine=n1 BOOTIF=01-94-57-a5-00-00-01",
        "ip=10.0.0.50::10.0.0.254:255.255.255.0:n1:eth0:off moonfarm.failures=2 moonfarm.debug",
        "ip=dhcp bond=bond0:eth0,eth1:mode=802.3ad,miimon=100 vlan=bond0.7:bond0",
    ];
    let digest = boot_proto::ids::Digest::of(b"");
    let config = format!(
        r#"{{"version":1,"machine":"n1","hostname":"n1","macs":["94:57:a5:00:00:01"],"server":"http://10.0.0.1:8080",
"image":{{"name":"debian","digest":"{digest}","kernelRelease":"6.12","url":"http://a/b","size":7,"rootDigest":"{digest}"}},
"network":{{"address":"10.0.0.50","prefix":24,"gateway":"10.0.0.254","dns":["10.0.0.1"],"dhcp":true,"mtu":1500}},
"system":{{"overlaySize":"1Gi","tmpfs":[],"hosts":{{"10.0.0.1":["a"]}},"files":[],"units":[],"sshAuthorizedKeys":["ssh-ed25519 A"]}}}}"#
    );
    let mut inputs: Vec<Vec<u8>> = lines
        .iter()
        .map(|line| [&[0], line.as_bytes()].concat())
        .collect();
    inputs.push([&[1], config.as_bytes()].concat());
    let mac = MacAddr::new(MACS[0]);
    let mut answers = vec![2];
    for kind in [MessageType::Offer, MessageType::Ack] {
        // The transaction number is the seed that the target gives its client.
        let mut reply = Message::request(mac, 7, MessageType::Discover).reply(kind);
        reply.yiaddr = Ipv4Addr::new(10, 0, 0, 50);
        let server = [Ipv4Addr::new(10, 0, 0, 1)];
        for own in [code::SERVER_ID, code::ROUTER, code::DNS] {
            reply.options.put_addresses(own, &server);
        }
        reply
            .options
            .put_addresses(code::SUBNET_MASK, &[Ipv4Addr::new(255, 255, 255, 0)]);
        reply.options.put_number32(code::LEASE_TIME, 3600);
        reply.options.put(code::MTU, vec![5, 220]);
        reply
            .options
            .put(121, vec![0, 10, 0, 0, 1, 24, 10, 2, 0, 10, 0, 0, 1]);
        message(&mut answers, &reply.encode(1472));
    }
    inputs.push(answers);
    inputs
}

fn bmc() -> Result<Vec<Vec<u8>>> {
    let mut inputs = files(&["tests/fixtures/moonshot"], "raw", Some(0))?;
    inputs.push([&[1], SERVICE.as_bytes()].concat());
    for text in files(&["tests/fixtures/redfish/devices"], "yaml", None)? {
        let device: serde_json::Value = serde_yaml_ng::from_slice(&text)?;
        inputs.push([&[1], device["resources"].to_string().as_bytes()].concat());
    }
    inputs.extend(files(&["tests/fixtures/redfish/typical"], "json", Some(1))?);
    inputs.push(
        [
            &[2, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..],
            &[1, 2, 0, 0xfd, 0xff, b'{', b'}'],
        ]
        .concat(),
    );
    Ok(inputs)
}

/// A service of one system, with what the walk looks at.
const SERVICE: &str = r##"{"/redfish/v1/":{"RedfishVersion":"1.6.0","Vendor":"HPE","Product":"ProLiant",
"ProtocolFeaturesSupported":{"ExpandQuery":{"NoLinks":true}},"Systems":{"@odata.id":"/redfish/v1/Systems"},
"Chassis":{"@odata.id":"/redfish/v1/Chassis"},"Managers":{"@odata.id":"/redfish/v1/Managers"}},
"/redfish/v1/Systems":{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}],"Members@odata.nextLink":"/redfish/v1/Systems?$skip=1"},
"/redfish/v1/Systems?$skip=1":{"Members":[]},
"/redfish/v1/Systems/1":{"Id":"1","UUID":"07070707-0707-0707-0707-070707070707","PowerState":"On","SerialNumber":"S",
"Boot":{"BootOptions":{"@odata.id":"/redfish/v1/Systems/1/BootOptions"}},"Bios":{"@odata.id":"/redfish/v1/Systems/1/Bios"},
"EthernetInterfaces":{"@odata.id":"/redfish/v1/Systems/1/EthernetInterfaces"},"Links":{"Chassis":[{"@odata.id":"/redfish/v1/Chassis/1"}]}},
"/redfish/v1/Systems/1/EthernetInterfaces":{"Members":[{"@odata.id":"/redfish/v1/Systems/1/EthernetInterfaces/1"}]},
"/redfish/v1/Systems/1/EthernetInterfaces/1":{"MACAddress":"94:57:A5:00:00:01","LinkStatus":"LinkUp","UefiDevicePath":"PciRoot(0x0)/Pci(0x1,0x0)/MAC(9457A5000001,0x0)"},
"/redfish/v1/Chassis/1":{"NetworkAdapters":{"@odata.id":"/redfish/v1/Chassis/1/NetworkAdapters"}},
"/redfish/v1/Chassis/1/NetworkAdapters":{"Members":[{"@odata.id":"/redfish/v1/Chassis/1/NetworkAdapters/1"}]},
"/redfish/v1/Chassis/1/NetworkAdapters/1":{"NetworkPorts":{"@odata.id":"/p"},"Controllers":[{"Links":{"NetworkPorts":[{"@odata.id":"/p/1"}]}}]},
"/p":{"Members":[{"@odata.id":"/p/1"}]},"/p/1":{"AssociatedNetworkAddresses":["94:57:a5:00:00:02"]}}"##;

/// Files of the checkout that end so, each behind an octet where one is given.
fn files(roots: &[&str], ending: &str, first: Option<u8>) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for root in roots {
        collect(&cache::checkout().join(root), ending, &mut found)
            .with_context(|| format!("reading {root}"))?;
    }
    found.sort();
    for input in &mut found {
        input.splice(0..0, first);
    }
    Ok(found)
}

fn collect(path: &Path, ending: &str, found: &mut Vec<Vec<u8>>) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), ending, found)?;
        }
    } else if path.extension().is_some_and(|own| own == ending) && path.metadata()?.len() < LONGEST
    {
        found.push(fs::read(path)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_inputs() {
        for target in super::super::TARGETS {
            let folder = tempfile::tempdir().unwrap();
            write(target, folder.path()).unwrap();
            let count = fs::read_dir(folder.path()).unwrap().count();
            assert!(count >= 3, "{target}: {count}");
            let source = cache::checkout().join(format!("fuzz/fuzz_targets/{target}.rs"));
            assert!(source.is_file(), "{}", source.display());
        }
    }
}
