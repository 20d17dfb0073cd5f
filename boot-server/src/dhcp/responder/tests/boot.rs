//! What clients that boot are told.

use super::*;

fn text(option: Option<&[u8]>) -> String {
    String::from_utf8(option.unwrap_or_default().to_vec()).unwrap()
}

#[test]
fn a_bios_rom_takes_the_boot_file_without_a_menu() {
    let mut lab = Lab::usual();
    let mut message = pxe(DECLARED, 0);
    let uuid = [&[0][..], b"0123456789abcdef"].concat();
    message.options.put(code::CLIENT_UUID, uuid.clone());
    let outcome = lab.handle(&message);
    let Decision::Reply(reply) = outcome.decision else {
        panic!()
    };
    let reply = reply.message;
    assert_eq!(
        (reply.siaddr, reply.file.as_slice()),
        (SERVER, b"undionly.kpxe".as_slice())
    );
    assert_eq!(text(reply.options.get(code::VENDOR_CLASS)), "PXEClient");
    assert_eq!(text(reply.options.get(code::BOOT_FILE)), "undionly.kpxe\0");
    assert_eq!(text(reply.options.get(code::TFTP_SERVER)), "10.0.0.1");
    assert_eq!(
        reply.options.get(code::VENDOR),
        Some([6, 1, 8, 255].as_slice())
    );
    assert_eq!(reply.options.get(code::CLIENT_UUID), Some(uuid.as_slice()));
    assert_eq!(
        outcome.event,
        Some(BootEvent::Offered {
            mac: mac(DECLARED),
            address: Some(ip("10.0.0.50")),
            firmware: crate::events::Firmware::Bios,
            uuid: Some("33323130-3534-3736-3839-616263646566".into()),
            machine: Some("n1".into()),
            boot_file: Ok("undionly.kpxe".into()),
        })
    );
}

#[test]
fn what_boots_and_gets_no_answer_is_told_of() {
    let mut resources = usual();
    resources["subnets"]["lan"]["ranges"] = json!([]);
    let mut lab = Lab::new(&resources);
    let unanswered = lab.handle(&pxe(STRANGER, 7)).event;
    assert_eq!(
        unanswered,
        Some(BootEvent::Unanswered {
            mac: mac(STRANGER),
            firmware: crate::events::Firmware::Uefi,
            reason: Why::NoRange("lan".into()).to_string(),
        })
    );
    // A running system that asks in vain does not boot.
    assert_eq!(lab.handle(&discover(STRANGER)).event, None);
}

#[test]
fn uefi_http_boot_and_ipxe_get_urls() {
    let mut lab = Lab::usual();
    let mut http = pxe(STRANGER, 16);
    http.options.put(
        code::VENDOR_CLASS,
        b"HTTPClient:Arch:00016:UNDI:003001".to_vec(),
    );
    let reply = lab.reply(&http).message;
    assert_eq!(
        text(reply.options.get(code::BOOT_FILE)),
        "http://10.0.0.1:8080/loaders/snponly.efi"
    );
    assert_eq!(text(reply.options.get(code::VENDOR_CLASS)), "HTTPClient");
    assert!(!reply.options.has(code::VENDOR));

    let mut ipxe = pxe(STRANGER, 7);
    ipxe.options.put(code::USER_CLASS, b"iPXE".to_vec());
    ipxe.options.put(code::IPXE, vec![19, 1, 1]);
    let reply = lab.reply(&ipxe).message;
    assert_eq!(reply.file, b"http://10.0.0.1:8080/boot.ipxe");
    assert_eq!(reply.options.get(code::IPXE), Some([176, 1, 1].as_slice()));
    // With the class of a PXE server iPXE would look for a proxyDHCP.
    assert!(!reply.options.has(code::VENDOR_CLASS));
}

#[test]
fn running_systems_and_machines_without_a_pool_get_no_boot_file() {
    let mut resources = usual();
    resources["pools"]["all"]["catchAll"] = json!(false);
    resources["machines"]["n2"] = json!({ "macs": [DYNAMIC] });
    let mut lab = Lab::new(&resources);
    for message in [discover(DECLARED), pxe(DYNAMIC, 7), pxe(DECLARED, 999)] {
        let reply = lab.reply(&message).message;
        assert!(
            reply.file.is_empty()
                && !reply.options.has(code::BOOT_FILE)
                && !reply.options.has(code::VENDOR)
        );
        assert!(!reply.yiaddr.is_unspecified());
    }
}

#[test]
fn a_node_agent_is_told_from_a_running_system_when_it_discovers() {
    let mut lab = Lab::new(&usual());
    let mut message = discover(DECLARED);
    message
        .options
        .put(code::VENDOR_CLASS, boot_proto::dhcp::AGENT_CLASS.to_vec());
    let asked = BootEvent::AgentAsked {
        mac: mac(DECLARED),
        machine: Some("n1".into()),
    };
    let outcome = lab.handle(&message);
    assert_eq!(outcome.event, Some(asked.clone()));
    let Decision::Reply(reply) = outcome.decision else {
        panic!("an address");
    };
    assert!(reply.message.file.is_empty() && reply.nothing_to_boot.is_none());
    // Beside another server, too.
    let mut resources = usual();
    resources["subnets"]["lan"]["mode"] = json!("proxy");
    let outcome = Lab::new(&resources).handle(&message);
    assert_eq!(outcome.event, Some(asked));
    assert_eq!(outcome.decision, Decision::Silent(Why::ProxyOnly));
}

#[test]
fn firmware_that_is_named_nothing_is_told_why() {
    let mut resources = usual();
    resources["pools"]["all"]["secureBoot"] = json!(true);
    let mut lab = Lab::new(&resources);
    let mut message = pxe(DECLARED, 16);
    message
        .options
        .put(code::VENDOR_CLASS, b"HTTPClient:Arch:00016".to_vec());
    let outcome = lab.handle(&message);
    let Decision::Reply(reply) = outcome.decision else {
        panic!("an address");
    };
    // Without the class an address is all that it offers: firmware goes on.
    assert!(!reply.message.options.has(code::VENDOR_CLASS));
    let why = crate::arch::NoLoader::NotSecure(16);
    assert_eq!(reply.nothing_to_boot, Some(why));
    let Some(BootEvent::Offered { boot_file, .. }) = outcome.event else {
        panic!("an event");
    };
    assert_eq!(boot_file, Err(why.to_string()));
}

#[test]
fn machines_of_matchbox_need_no_pool() {
    let mut resources = usual();
    resources["pools"] = json!({});
    resources["machines"] = json!({ "n1": { "macs": [DECLARED], "address": "10.0.0.50" } });
    resources["matchboxProfiles"] = json!({ "p": {} });
    resources["matchboxGroups"] = json!({
        "g": { "profile": "p", "selector": { "mac": STRANGER } },
    });
    let mut lab = Lab::new(&resources);
    for mac in [DECLARED, STRANGER] {
        let reply = lab.reply(&pxe(mac, 7)).message;
        assert_eq!(reply.file, b"snponly.efi", "{mac}");
        assert!(!reply.yiaddr.is_unspecified(), "{mac}");
    }
    // No group takes that one before it has said more.
    let decision = lab.handle(&pxe(DYNAMIC, 7)).decision;
    assert!(matches!(decision, Decision::Silent(Why::UnknownClient(_))));
    resources["matchboxGroups"]["all"] = json!({ "profile": "p" });
    let mut lab = Lab::new(&resources);
    let reply = lab.reply(&pxe(DYNAMIC, 0)).message;
    assert_eq!(reply.file, b"undionly.kpxe");
}

fn proxy() -> Lab {
    let mut resources = usual();
    resources["subnets"]["lan"]["mode"] = json!("proxy");
    Lab::new(&resources)
}

#[test]
fn proxy_dhcp_gives_boot_information_and_no_address() {
    let mut lab = proxy();
    let mut message = pxe(STRANGER, 7);
    message.set_broadcast();
    let reply = lab.reply(&message);
    assert_eq!(reply.message.yiaddr, Ipv4Addr::UNSPECIFIED);
    assert_eq!(
        text(reply.message.options.get(code::VENDOR_CLASS)),
        "PXEClient"
    );
    assert_eq!(reply.message.file, b"snponly.efi");
    assert!(
        !reply.message.options.has(code::LEASE_TIME)
            && !reply.message.options.has(code::SUBNET_MASK)
    );
    assert_eq!(reply.to, Destination::Broadcast);
    assert_eq!(lab.leases.offered_to(ip("10.0.0.51"), START), None);
    // Addresses are the other server's business.
    assert_eq!(lab.silence(&discover(STRANGER)), Why::ProxyOnly);
    assert_eq!(
        lab.silence(&selecting(&message, ip("10.0.0.51"), SERVER)),
        Why::ProxyOnly
    );
    assert_eq!(lab.silence(&pxe(STRANGER, 999)), Why::NoBootFile(Some(999)));
}

#[test]
fn the_second_step_of_proxy_dhcp() {
    for mut lab in [proxy(), Lab::usual()] {
        lab.ingress.port = PXE_PORT;
        lab.ingress.local = Some(SERVER);
        lab.ingress.source = SocketAddrV4::new(ip("10.0.0.52"), 4011);
        let mut message = pxe(STRANGER, 0);
        message
            .options
            .put(code::MESSAGE_TYPE, vec![MessageType::Request.into()]);
        message
            .options
            .put(code::VENDOR, vec![71, 4, 0x80, 0, 0, 0, 255]);
        message.ciaddr = ip("10.0.0.52");
        let reply = lab.reply(&message);
        assert_eq!(reply.message.message_type(), Some(MessageType::Ack));
        assert_eq!(reply.message.file, b"undionly.kpxe");
        assert_eq!(reply.to, Destination::Client(lab.ingress.source));
        assert_eq!(
            reply.message.options.get(code::VENDOR),
            Some([6, 1, 8, 71, 4, 0x80, 0, 0, 0, 255].as_slice())
        );
        assert_eq!(lab.leases.iter().count(), 0);
    }
}
