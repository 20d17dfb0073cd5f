//! What a node reads of its network: the kernel command line, the boot config,
//! and the answers to its DHCP client. The first octet says which.

#![no_main]

use std::time::Duration;

use boot_proto::boot_config::BootConfig;
use boot_proto::cmdline::BootArguments;
use boot_proto::ids::MacAddr;
use boot_proto::time::Monotonic;
use libfuzzer_sys::fuzz_target;
use moonfarm_fuzz::Messages;
use node_agent::dhcp_client::{DhcpClient, Output};

fuzz_target!(|data: &[u8]| {
    let Some((kind, input)) = data.split_first() else {
        return;
    };
    match kind % 3 {
        0 => command_line(&String::from_utf8_lossy(input)),
        1 => boot_config(input),
        _ => dhcp(Messages(input)),
    }
});

/// What we write is read as it was meant. The first time settles what is left
/// to us, such as the link that the boot goes over.
fn command_line(text: &str) {
    let arguments = BootArguments::parse(text);
    let arguments = BootArguments::parse(&arguments.render());
    let again = BootArguments::parse(&arguments.render());
    assert_eq!(again, arguments, "{}", arguments.render());
}

fn boot_config(bytes: &[u8]) {
    let Ok(config) = serde_json::from_slice::<BootConfig>(bytes) else {
        return;
    };
    let text = serde_json::to_vec(&config).expect("a boot config is JSON");
    let again: BootConfig = serde_json::from_slice(&text).expect("our own boot config is read");
    assert_eq!(again, config);
}

fn dhcp(messages: Messages<'_>) {
    let mut now = Monotonic(Duration::ZERO);
    let mac = MacAddr::new([0x94, 0x57, 0xa5, 0, 0, 1]);
    let mut client = DhcpClient::new(mac, 7, now);
    let _ = client.poll(now);
    for datagram in messages.take(16) {
        client.handle(now, datagram);
        now = now.after(Duration::from_secs(1));
        match client.poll(now) {
            Output::Bound(lease) => {
                assert!(lease.prefix <= 32 && !lease.address.is_unspecified());
                return;
            }
            Output::Send(bytes) => assert!(bytes.len() < 1472),
            Output::WaitUntil(deadline) => assert!(deadline > now),
        }
    }
    assert!(client.complaint().len() < 2048);
}
