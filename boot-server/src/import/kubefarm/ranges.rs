//! `nodePools[].range`: dnsmasq's `dhcp-range` becomes a Subnet.

use std::net::Ipv4Addr;

use boot_proto::quantity::Span;
use boot_proto::resources::{AddressRange, DhcpMode};
use ipnet::Ipv4Net;

/// dnsmasq's lease time where a range names none.
const DEFAULT_LEASE: Span = Span(3600);
/// On the wire, a lease of all ones has no end (RFC 2131 §3.3).
pub(super) const INFINITE: Span = Span(u32::MAX);

/// A range that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub cidr: Ipv4Net,
    pub addresses: Option<AddressRange>,
    pub mode: DhcpMode,
    pub lease_time: Span,
    /// Whether the netmask was left out, and is a guess.
    pub is_guess: bool,
    /// The broadcast address, where it is not the network's own.
    pub odd_broadcast: Option<Ipv4Addr>,
    /// Parts that say nothing here, such as `tag:x`.
    pub ignored: Vec<String>,
}

/// Reads a range: `FIRST,LAST|static|proxy[,MASK[,BROADCAST]][,LEASE]`.
pub(super) fn parse(text: &str) -> Result<Range, String> {
    let (tags, fields): (Vec<&str>, Vec<&str>) = text
        .split(',')
        .map(str::trim)
        .filter(|field| !field.is_empty())
        .partition(|field| field.contains(':') && field.parse::<std::net::Ipv6Addr>().is_err());
    if tags.iter().any(|tag| tag.starts_with("set:")) {
        return Err("set: is not allowed here, as in kubefarm".into());
    }
    let mut fields = fields.into_iter().peekable();
    let first = fields.next().ok_or("it is empty")?;
    if first.contains(':') {
        return Err("boot-server speaks DHCP for IPv4; let the router announce IPv6".into());
    }
    let first: Ipv4Addr = first
        .parse()
        .map_err(|_| format!("{first:?} is no IPv4 address"))?;
    let (mut last, mut mode, mut is_static) = (None, DhcpMode::Full, false);
    match fields.next() {
        Some("static") => is_static = true,
        Some("proxy") => mode = DhcpMode::Proxy,
        Some(text) => {
            let address = text.parse::<Ipv4Addr>();
            last = Some(address.map_err(|_| {
                format!("{text:?} is neither the last address nor static nor proxy")
            })?);
        }
        None => return Err("the last address, or static, is missing".into()),
    }
    let mask = next_address(&mut fields);
    let broadcast = mask.and_then(|_| next_address(&mut fields));
    let lease_time = fields.next().map_or(Ok(DEFAULT_LEASE), lease)?;
    if let Some(rest) = fields.next() {
        return Err(format!("{rest:?} is more than a range has"));
    }
    let cidr = network(first, last, mask)?;
    let addresses = last
        .filter(|_| !is_static)
        .map(|to| AddressRange { from: first, to });
    Ok(Range {
        cidr,
        addresses,
        mode,
        lease_time,
        is_guess: mask.is_none(),
        odd_broadcast: broadcast.filter(|it| *it != cidr.broadcast()),
        ignored: tags.into_iter().map(str::to_owned).collect(),
    })
}

fn next_address<'a>(
    fields: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> Option<Ipv4Addr> {
    let address = fields.peek()?.parse().ok()?;
    fields.next();
    Some(address)
}

fn network(
    first: Ipv4Addr,
    last: Option<Ipv4Addr>,
    mask: Option<Ipv4Addr>,
) -> Result<Ipv4Net, String> {
    let cidr = match mask {
        Some(mask) => Ipv4Net::with_netmask(first, mask)
            .map_err(|_| format!("{mask} is no netmask"))?
            .trunc(),
        None => small_network(first, last.unwrap_or(first)),
    };
    match last.filter(|last| !cidr.contains(last)) {
        Some(last) => Err(format!("{last} lies outside of {cidr}")),
        None => Ok(cidr),
    }
}

/// The smallest network of /24 or larger with both addresses in it.
pub(super) fn small_network(first: Ipv4Addr, last: Ipv4Addr) -> Ipv4Net {
    let prefix = (8..=24)
        .rev()
        .find(|prefix| Ipv4Net::new(first, *prefix).is_ok_and(|net| net.contains(&last)));
    Ipv4Net::new(first, prefix.unwrap_or(8)).map_or_else(|_| Ipv4Net::default(), |net| net.trunc())
}

/// A lease time of dnsmasq: `infinite`, or a number with s, m, h, d or w.
pub(super) fn lease(text: &str) -> Result<Span, String> {
    let wrong = || format!("{text:?} is no lease time");
    if text == "infinite" {
        return Ok(INFINITE);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        Some("w") => 604_800,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let secs = number.saturating_mul(unit);
    // dnsmasq's own least lease is two minutes.
    let secs = u32::try_from(secs).unwrap_or(u32::MAX).max(120);
    Ok(Span(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_ranges() {
        let range = |text| {
            let range = parse(text).unwrap();
            let addresses = range.addresses.map(|it| format!("{}-{}", it.from, it.to));
            format!(
                "{} {} {:?} {}",
                range.cidr,
                addresses.unwrap_or_default(),
                range.mode,
                range.lease_time
            )
        };
        for (text, expected) in [
            (
                "10.9.0.0,static,255.255.0.0,10.9.255.255,infinite",
                "10.9.0.0/16  Full 4294967295s",
            ),
            (
                "172.16.4.0,static,infinite",
                "172.16.4.0/24  Full 4294967295s",
            ),
            (
                "10.9.7.10, 10.9.7.250,255.255.0.0,10.9.255.255,12h",
                "10.9.0.0/16 10.9.7.10-10.9.7.250 Full 12h",
            ),
            (
                "192.168.0.250,192.168.1.9,1w",
                "192.168.0.0/23 192.168.0.250-192.168.1.9 Full 7d",
            ),
            ("10.1.1.0,proxy", "10.1.1.0/24  Proxy 1h"),
            (
                "10.1.1.5,10.1.1.9,255.255.255.0,45",
                "10.1.1.0/24 10.1.1.5-10.1.1.9 Full 2m",
            ),
        ] {
            assert_eq!(range(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_range() {
        for text in [
            "",
            "10.1.1.1",
            "set:x,10.1.1.1,static",
            "1234::,slaac",
            "10.1.1.1,10.2.1.1,255.255.255.0,1h",
            "10.1.1.1,10.1.1.9,255.0.255.0",
            "10.1.1.1,10.1.1.9,255.255.255.0,10.1.1.255,1h,x",
            "10.1.1.1,10.1.1.9,soon",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let odd = parse("10.1.0.0,static,255.255.0.0,10.1.0.0,infinite").unwrap();
        assert_eq!(odd.odd_broadcast, Some(Ipv4Addr::new(10, 1, 0, 0)));
    }
}
