//! Clients as they are rather than as the RFCs have them.

use super::*;

/// RFC 951: no option at all behind the cookie.
fn bootp(of: &str) -> Message {
    let mut message = discover(of);
    message.options = boot_proto::dhcp::Options::default();
    message
}

#[test]
fn bootp_gets_the_reserved_address_and_nothing_of_dhcp() {
    let mut lab = Lab::usual();
    let mut message = bootp(DECLARED);
    message.file = b"boot/u-boot.img\0rest".to_vec();
    let reply = lab.reply(&message);
    assert_eq!(reply.message.yiaddr, ip("10.0.0.50"));
    assert_eq!(reply.message.siaddr, SERVER);
    assert_eq!(reply.message.file, b"boot/u-boot.img");
    let codes: Vec<u8> = reply.message.options.iter().map(|(code, _)| code).collect();
    assert!(codes.contains(&code::SUBNET_MASK) && codes.contains(&code::ROUTER));
    for code in [53, 54, 51, 58, 59] {
        assert!(!codes.contains(&code), "option {code}");
    }
    // BOOTP's own length, not a byte more (RFC 951 §3).
    assert_eq!(reply.message.encode(reply.limit).len(), 300);
    assert_eq!(lab.leases.iter().count(), 0);

    assert_eq!(lab.silence(&bootp(DYNAMIC)), Why::Bootp);
    assert_eq!(lab.silence(&bootp(STRANGER)), Why::Bootp);
    let mut odd = bootp(DECLARED);
    odd.file = vec![b'/', 7, 8];
    assert!(lab.reply(&odd).message.file.is_empty());
}

#[test]
fn bootp_is_not_given_an_address_that_is_held() {
    let mut lab = Lab::usual();
    lab.lease(&pxe(SECOND_NIC, 0));
    assert_eq!(lab.silence(&bootp(DECLARED)), Why::Bootp);
    let mut proxy = usual();
    proxy["subnets"]["lan"]["mode"] = json!("proxy");
    assert_eq!(Lab::new(&proxy).silence(&bootp(DECLARED)), Why::Bootp);
}

#[test]
fn a_renewal_that_names_the_server_is_a_renewal() {
    let mut lab = Lab::usual();
    let address = lab.lease(&discover(STRANGER));
    let mut renewal = renewing(STRANGER, address);
    renewal.options.put_addresses(code::SERVER_ID, &[SERVER]);
    let ack = lab.reply(&renewal);
    assert_eq!(ack.message.message_type(), Some(MessageType::Ack));
    assert_eq!(ack.message.yiaddr, address);
    // One that names another server is not for us.
    let other = ip("10.0.0.77");
    renewal.options.put_addresses(code::SERVER_ID, &[other]);
    assert_eq!(lab.silence(&renewal), Why::OtherServer(other));
    // One that selects and says its old address too, selects.
    let mut request = selecting(&discover(STRANGER), address, SERVER);
    request.ciaddr = ip("10.0.0.99");
    assert_eq!(lab.reply(&request).message.yiaddr, address);
}

#[test]
fn an_inform_is_answered_at_its_address_whatever_it_leaves_out() {
    let mut lab = Lab::usual();
    let mut message = discover(STRANGER);
    message
        .options
        .put(code::MESSAGE_TYPE, vec![MessageType::Inform.into()]);
    assert_eq!(lab.silence(&message), Why::Incomplete);
    lab.ingress.source = SocketAddrV4::new(ip("10.0.0.52"), 68);
    message.set_broadcast();
    let reply = lab.reply(&message);
    assert_eq!(
        reply.to,
        Destination::Client(SocketAddrV4::new(ip("10.0.0.52"), 68))
    );
    assert_eq!(reply.message.yiaddr, Ipv4Addr::UNSPECIFIED);
    assert!(!reply.message.options.has(code::LEASE_TIME));
}

#[test]
fn the_order_and_the_padding_of_options_do_not_matter() {
    let mut lab = Lab::usual();
    let mut datagram = pxe(STRANGER, 7).encode(1472)[..240].to_vec();
    // The message type last, pads between, no end mark, less than 300 bytes.
    for option in [
        &[0, 0, 60, 9][..],
        b"PXEClient",
        &[0, 93, 2, 0, 7, 0, 0],
        &[55, 3, 1, 3, 6],
        &[53, 1, 1],
    ] {
        datagram.extend_from_slice(option);
    }
    assert!(datagram.len() < 300);
    let Decision::Reply(reply) = lab.handle_bytes(&datagram).decision else {
        panic!("silent");
    };
    assert_eq!(reply.message.file, b"snponly.efi");
    // An option that says it is longer than the packet takes nothing with it.
    datagram.extend_from_slice(&[12, 200, b'x']);
    assert!(matches!(
        lab.handle_bytes(&datagram).decision,
        Decision::Reply(_)
    ));
}

#[test]
fn rubbish_in_sname_and_file_is_left_alone() {
    let mut lab = Lab::usual();
    let mut message = pxe(STRANGER, 0);
    message.sname = vec![0xff; 64];
    message.file = vec![0xee; 128];
    let reply = lab.reply(&message).message;
    assert_eq!(reply.file, b"undionly.kpxe");
    assert!(reply.sname.is_empty());
    // They are said to hold options, and hold none that can be read.
    message.options.put(code::OVERLOAD, vec![3]);
    message.file = vec![53, 200, 1];
    assert_eq!(lab.reply(&message).message.file, b"undionly.kpxe");
}

#[test]
fn each_kind_of_firmware_gets_an_address_and_what_it_can_load() {
    let mut lab = Lab::usual();
    for (class, arch, file) in [
        ("PXEClient:Arch:00000:UNDI:002001", 0, "undionly.kpxe"),
        ("PXEClient:Arch:00006:UNDI:003016", 6, "snponly-i386.efi"),
        ("PXEClient:Arch:00007:UNDI:003016", 7, "snponly.efi"),
        ("PXEClient:Arch:00009:UNDI:003016", 9, "snponly.efi"),
        ("PXEClient:Arch:00011:UNDI:003000", 11, "snponly-arm64.efi"),
        (
            "PXEClient:Arch:00027:UNDI:003000",
            27,
            "snponly-riscv64.efi",
        ),
        (
            "HTTPClient:Arch:00015:UNDI:003001",
            15,
            "http://10.0.0.1:8080/loaders/snponly-i386.efi",
        ),
        (
            "HTTPClient:Arch:00016:UNDI:003001",
            16,
            "http://10.0.0.1:8080/loaders/snponly.efi",
        ),
        (
            "HTTPClient:Arch:00018:UNDI:003000",
            18,
            "http://10.0.0.1:8080/loaders/snponly-arm32.efi",
        ),
        (
            "HTTPClient:Arch:00019:UNDI:003000",
            19,
            "http://10.0.0.1:8080/loaders/snponly-arm64.efi",
        ),
        // U-Boot without UEFI, Petitboot: no loader of ours runs there.
        ("U-Boot.armv8", 22, ""),
        ("ppc64", 14, ""),
        ("PXEClient:Arch:00041:UNDI:002001", 41, ""),
    ] {
        let mut message = discover(STRANGER);
        message
            .options
            .put(code::VENDOR_CLASS, class.as_bytes().to_vec());
        message
            .options
            .put(code::CLIENT_ARCH, u16::to_be_bytes(arch).to_vec());
        let reply = lab.reply(&message).message;
        assert!(!reply.yiaddr.is_unspecified(), "{class}");
        assert_eq!(String::from_utf8_lossy(&reply.file), file, "{class}");
    }
}

#[test]
fn hardware_that_is_no_ethernet_is_told_apart_and_left_alone() {
    let mut lab = Lab::usual();
    for (htype, hlen) in [(32, 0), (32, 20), (1, 0), (1, 16), (6, 6), (7, 1)] {
        let mut message = discover(STRANGER);
        (message.htype, message.hlen) = (htype, hlen);
        let datagram = message.encode(1472);
        let why = match lab.handle_bytes(&datagram).decision {
            Decision::Silent(why) => why,
            Decision::Reply(reply) => panic!("{htype} {hlen}: {reply:?}"),
        };
        let is_told = matches!(
            why,
            Why::NoMac { .. } | Why::Malformed(Malformed::HardwareLength(20))
        );
        assert!(is_told, "{htype} {hlen}: {why:?}");
    }
}
