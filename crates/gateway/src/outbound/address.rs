//! Which addresses a name on the Internet may stand for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who may be reached at a special-use address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// A target that is configured as internal.
    Internal,
    /// Nobody: no server answers there under its own name.
    Nobody,
}

/// A block of addresses that are not ordinary Internet addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpecialUse {
    pub(super) kind: &'static str,
    pub(super) reach: Reach,
}

/// The block that holds the address; `None` for an ordinary address on the Internet.
pub(super) fn special_use(address: IpAddr) -> Option<SpecialUse> {
    match address {
        IpAddr::V4(address) => special_use_v4(address),
        IpAddr::V6(address) => special_use_v6(address),
    }
}

/// Blocks of the [IANA IPv4 registry](https://www.iana.org/assignments/iana-ipv4-special-registry) that are not
/// globally reachable, and multicast.
const V4: &[(Ipv4Addr, u32, &str, Reach)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this-network", Reach::Nobody),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private", Reach::Internal),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "carrier-grade NAT", Reach::Internal),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback", Reach::Internal),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local", Reach::Internal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private", Reach::Internal),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignment", Reach::Nobody),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation", Reach::Nobody),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay", Reach::Nobody),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private", Reach::Internal),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking", Reach::Nobody),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation", Reach::Nobody),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation", Reach::Nobody),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast", Reach::Nobody),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved", Reach::Nobody),
];

/// The same for the [IANA IPv6 registry](https://www.iana.org/assignments/iana-ipv6-special-registry); the first match
/// counts. What embeds an IPv4 address is special as a whole: it would pass a private address in disguise.
const V6: &[(Ipv6Addr, u32, &str, Reach)] = &[
    (Ipv6Addr::LOCALHOST, 128, "loopback", Reach::Internal),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "IPv4-mapped", Reach::Nobody),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "NAT64", Reach::Internal),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "NAT64", Reach::Internal),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignment", Reach::Nobody),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation", Reach::Nobody),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4", Reach::Nobody),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation", Reach::Nobody),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique-local", Reach::Internal),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local", Reach::Internal),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast", Reach::Nobody),
];

fn special_use_v4(address: Ipv4Addr) -> Option<SpecialUse> {
    let bits = address.to_bits();
    V4.iter()
        .find(|(block, prefix, ..)| (bits ^ block.to_bits()) >> (32 - prefix) == 0)
        .map(|(.., kind, reach)| SpecialUse { kind, reach: *reach })
}

fn special_use_v6(address: Ipv6Addr) -> Option<SpecialUse> {
    let bits = address.to_bits();
    let listed = V6
        .iter()
        .find(|(block, prefix, ..)| (bits ^ block.to_bits()) >> (128 - prefix) == 0)
        .map(|(.., kind, reach)| SpecialUse { kind, reach: *reach });
    // Only 2000::/3 is assigned for ordinary use (RFC 4291 §2.4).
    let unassigned = SpecialUse { kind: "unassigned", reach: Reach::Nobody };
    listed.or_else(|| (bits >> 125 != 1).then_some(unassigned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str) -> Option<(&'static str, Reach)> {
        special_use(address.parse().unwrap()).map(|special| (special.kind, special.reach))
    }

    #[test]
    fn ordinary_addresses_are_not_special() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2600::1",
            "2001:200::1",
            "2a00:1450:4001:81b::200e",
        ] {
            assert_eq!(kind(address), None, "{address}");
        }
    }

    #[test]
    fn inside_addresses_are_for_internal_targets_alone() {
        for (address, expected) in [
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("169.254.169.254", "link-local"),
            ("100.64.0.1", "carrier-grade NAT"),
            ("100.127.255.255", "carrier-grade NAT"),
            ("::1", "loopback"),
            ("fd00:ec2::254", "unique-local"),
            ("fe80::1", "link-local"),
            ("64:ff9b::7f00:1", "NAT64"),
            ("64:ff9b:1::7f00:1", "NAT64"),
        ] {
            assert_eq!(kind(address), Some((expected, Reach::Internal)), "{address}");
        }
    }

    #[test]
    fn addresses_where_no_server_can_be_are_for_nobody() {
        for (address, expected) in [
            ("0.0.0.0", "this-network"),
            ("0.1.2.3", "this-network"),
            ("192.0.0.8", "protocol assignment"),
            ("192.0.2.1", "documentation"),
            ("198.51.100.1", "documentation"),
            ("203.0.113.1", "documentation"),
            ("192.88.99.1", "6to4 relay"),
            ("198.18.0.1", "benchmarking"),
            ("198.19.255.255", "benchmarking"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "unassigned"),
            ("::7f00:1", "unassigned"),
            ("::ffff:127.0.0.1", "IPv4-mapped"),
            ("::ffff:8.8.8.8", "IPv4-mapped"),
            ("100::1", "unassigned"),
            ("2001::1", "protocol assignment"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "6to4"),
            ("3fff::1", "documentation"),
            ("5f00::1", "unassigned"),
            ("fec0::1", "unassigned"),
            ("ff02::1", "multicast"),
        ] {
            assert_eq!(kind(address), Some((expected, Reach::Nobody)), "{address}");
        }
    }
}
