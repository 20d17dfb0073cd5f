//! Reading and writing messages, real ones and broken ones.

use proptest::prelude::*;

use super::*;

fn mac() -> MacAddr {
    "94:57:a5:d3:ec:f2".parse().unwrap()
}

fn discover() -> Message {
    let mut message = Message::request(mac(), 7, MessageType::Discover);
    message.options.put(
        code::VENDOR_CLASS,
        b"PXEClient:Arch:00007:UNDI:003001".to_vec(),
    );
    message
}

#[test]
fn what_an_answer_had_no_room_for() {
    let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
    let mut message = Message::request(mac, 1, MessageType::Offer);
    message.options.put(code::RELAY_AGENT, vec![7; 255]);
    message.options.put(code::NTP, vec![7; 40]);
    assert!(message.encode_telling(1472).1.is_empty());
    let (bytes, omitted) = message.encode_telling(530);
    assert!(bytes.len() <= 530);
    assert_eq!(omitted, [code::NTP]);
    let (bytes, omitted) = message.encode_telling(400);
    assert_eq!(bytes, message.encode(400));
    assert_eq!(omitted, [code::RELAY_AGENT]);
}

#[test]
fn a_message_survives_the_wire() {
    let mut message = discover();
    message.set_broadcast();
    message
        .options
        .put(code::RELAY_AGENT, vec![1, 2, 0xaa, 0xbb, 5, 4, 10, 0, 0, 0]);
    message.options.put(200, vec![9; 300]);
    let bytes = message.encode(1472);
    assert_eq!(Message::parse(&bytes).unwrap(), message);
    assert_eq!(
        message
            .options
            .sub_option(code::RELAY_AGENT, relay::LINK_SELECTION),
        Some([10, 0, 0, 0].as_slice())
    );
    // Relay agent information is the last option.
    let end = bytes.iter().rposition(|b| *b == 255).unwrap();
    assert_eq!(
        bytes[end - 12..end],
        [82, 10, 1, 2, 0xaa, 0xbb, 5, 4, 10, 0, 0, 0]
    );
}

#[test]
fn replies_are_at_least_300_bytes_and_at_most_what_the_client_takes() {
    let mut message = discover();
    assert_eq!(message.encode(548).len(), MIN_REPLY_BYTES);
    for code in 128..160 {
        message.options.put(code, vec![1; 60]);
    }
    message.options.put(code::RELAY_AGENT, vec![1, 1, 7]);
    let bytes = message.encode(548);
    assert!(bytes.len() <= 548, "{}", bytes.len());
    let back = Message::parse(&bytes).unwrap();
    assert_eq!(back.message_type(), Some(MessageType::Discover));
    assert!(
        back.options.has(code::VENDOR_CLASS)
            && back.options.has(code::RELAY_AGENT)
            && !back.options.has(159)
    );
}

#[test]
fn the_size_a_client_takes_is_bounded() {
    for (option, payload) in [
        (None, 548),
        (Some(100), 548),
        (Some(1260), 1232),
        (Some(65_535), 1472),
    ] {
        let mut message = discover();
        if let Some(size) = option {
            message
                .options
                .put(code::MAX_MESSAGE_SIZE, u16::to_be_bytes(size).to_vec());
        }
        assert_eq!(message.max_payload_bytes(), payload, "{option:?}");
    }
}

#[test]
fn overloaded_fields_are_options() {
    let mut message = discover();
    message.options.put(code::OVERLOAD, vec![3]);
    // Host name begun in `file`, ended in `sname`: one option in two parts.
    message.file = vec![code::HOSTNAME, 2, b'a', b'b', 255];
    message.sname = vec![code::HOSTNAME, 1, b'c', 255];
    let back = Message::parse(&message.encode(548)).unwrap();
    assert_eq!(back.options.get(code::HOSTNAME), Some(b"abc".as_slice()));
    assert!(back.file.is_empty() && back.sname.is_empty());
}

#[test]
fn what_is_no_message_is_named() {
    let good = discover().encode(548);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        Message::parse(&bytes).unwrap_err()
    };
    assert_eq!(
        Message::parse(&good[..239]).unwrap_err(),
        Malformed::Short(239)
    );
    assert_eq!(
        Message::parse(&vec![0; 20_000]).unwrap_err(),
        Malformed::Long(20_000)
    );
    assert_eq!(with(236, 0), Malformed::Cookie);
    assert_eq!(with(2, 17), Malformed::HardwareLength(17));
    assert_eq!(with(0, 9), Malformed::Op(9));
}

#[test]
fn only_ethernet_addresses_of_one_nic_are_macs() {
    let mut message = discover();
    assert_eq!(message.mac(), Some(mac()));
    message.htype = 32;
    assert_eq!(message.mac(), None);
    message = discover();
    message.hlen = 16;
    assert_eq!(message.mac(), None);
    message = discover();
    message.chaddr = [0xff; 16];
    assert_eq!(message.mac(), None);
}

#[test]
fn clients() {
    let facts = |options: &[(u8, &[u8])]| {
        let mut message = Message::request(mac(), 1, MessageType::Discover);
        for (code, value) in options {
            message.options.put(*code, value.to_vec());
        }
        ClientFacts::of(&message)
    };
    let rfc3004 = facts(&[(code::USER_CLASS, b"\x04iPXE\x03foo")]);
    assert_eq!(rfc3004.ipxe, Some(IpxeFeatures { http: true }));
    let bare = facts(&[(code::USER_CLASS, b"iPXE")]);
    assert_eq!(bare.ipxe, Some(IpxeFeatures { http: true }));
    let features = facts(&[
        (code::USER_CLASS, b"iPXE"),
        (code::IPXE, &[177, 2, 1, 26, 19, 1, 1]),
    ]);
    assert_eq!(features.ipxe, Some(IpxeFeatures { http: true }));
    let without_http = facts(&[(code::USER_CLASS, b"iPXE"), (code::IPXE, &[33, 1, 1])]);
    assert_eq!(without_http.ipxe, Some(IpxeFeatures { http: false }));
    assert_eq!(facts(&[(code::USER_CLASS, b"other")]).ipxe, None);

    let class = facts(&[(code::VENDOR_CLASS, b"PXEClient:Arch:00009:UNDI:003016")]);
    assert!(class.is_pxe && !class.is_http && class.is_booting());
    assert_eq!(class.arch, Some(9));
    let http = facts(&[
        (code::VENDOR_CLASS, b"HTTPClient:Arch:00016"),
        (code::CLIENT_ARCH, &[0, 16, 0, 7]),
    ]);
    assert!(http.is_http && !http.is_pxe);
    assert_eq!(
        (http.arch, http.further_archs),
        (Some(16), vec![7]),
        "in its order"
    );
    for (class, option, first, further) in [
        (&b"PXEClient"[..], None, Some(0), &[][..]),
        (b"PXEClient", Some(&[11][..]), Some(11), &[]),
        (b"PXEClient", Some(&[0, 11, 0]), Some(11), &[]),
        (b"PXEClient", Some(&[]), Some(0), &[]),
        (b"PXEClient:Arch:00007:UNDI:003016\0", None, Some(7), &[]),
        (b"PXEClient:Arch:7", None, Some(7), &[]),
        (b"PXEClient:Arch:99999999999", None, Some(0), &[]),
        (b"HTTPClient:Arch:00016", Some(&[0, 7]), Some(7), &[16]),
        (b"HTTPClient", None, None, &[]),
        (b"\xff\xfe:Arch:00011", None, Some(11), &[]),
        (b"U-Boot.armv8", Some(&[0, 22]), Some(22), &[]),
        (b"udhcp 1.35.0", None, None, &[]),
    ] {
        let mut options = vec![(code::VENDOR_CLASS, class)];
        options.extend(option.map(|value| (code::CLIENT_ARCH, value)));
        let facts = facts(&options);
        assert_eq!(facts.arch, first, "{class:?} {option:?}");
        assert_eq!(facts.further_archs, further, "{class:?} {option:?}");
    }
    assert!(!facts(&[(code::VENDOR_CLASS, b"udhcp 1.35.0")]).is_booting());
}

#[test]
fn uuids_are_spelt_as_dmi_spells_them() {
    // SMBIOS bytes of a ProLiant whose serial number is readable in them.
    let bytes = hex::decode("00363739313539 4d585137343630314d58".replace(' ', "")).unwrap();
    assert_eq!(bytes.len(), 17);
    assert_eq!(
        uuid_text(&bytes).unwrap(),
        "31393736-3935-584d-5137-343630314d58"
    );
    assert_eq!(uuid_text(&[0; 16]), None);
    assert_eq!(uuid_text(&[1; 17]), None);
}

#[test]
fn relay_information_that_does_not_fit_is_left_out() {
    for (bytes, is_echoed) in [(250, true), (300, false), (2000, false)] {
        let mut message = discover();
        message.options.put(code::RELAY_AGENT, vec![0x52; bytes]);
        message
            .options
            .put_addresses(code::SERVER_ID, &[Ipv4Addr::LOCALHOST]);
        message.options.put(code::MESSAGE, vec![b'x'; 100]);
        let sent = message.encode(548);
        assert!(sent.len() <= 548, "{bytes}: {} bytes", sent.len());
        let read = Message::parse(&sent).unwrap();
        assert_eq!(read.options.has(code::RELAY_AGENT), is_echoed, "{bytes}");
        assert!(read.options.has(code::SERVER_ID), "{bytes}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        if let Ok(message) = Message::parse(&bytes) {
            let _ = (ClientFacts::of(&message), message.mac(), message.max_payload_bytes());
        }
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(
        edits in proptest::collection::vec((0usize..400, any::<u8>()), 0..12),
        cut in 0usize..400,
        overload in 0u8..4,
    ) {
        let mut message = discover();
        message.options.put(code::OVERLOAD, vec![overload]);
        message.options.put(code::CLIENT_UUID, vec![0; 17]);
        message.options.put(code::IPXE, vec![19, 1, 1, 33, 9]);
        message.options.put(code::USER_CLASS, b"\x09iPXE".to_vec());
        let mut bytes = message.encode(548);
        for (at, value) in edits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut.min(60));
        if let Ok(message) = Message::parse(&bytes) {
            let _ = ClientFacts::of(&message);
            // What was read can be written, and read again.
            let again = Message::parse(&message.encode(1472));
            prop_assert!(again.is_ok());
        }
    }
}
