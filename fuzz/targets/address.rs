//! URLs of upstream servers: where a request may go is one place, and outside unless it was said otherwise.
#![no_main]

use std::{net::IpAddr, sync::OnceLock};

use gateway::outbound::{Limits, Origin, Outbound, Scheme};
use libfuzzer_sys::fuzz_target;

fn outbound() -> &'static Outbound {
    static OUTBOUND: OnceLock<Outbound> = OnceLock::new();
    OUTBOUND.get_or_init(|| Outbound::with_roots(Limits::default(), Vec::new()))
}

/// The address in an origin's one spelling, where its host is one.
fn address(origin: &str) -> Option<IpAddr> {
    let (_, authority) = origin.split_once("://")?;
    match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next()?.parse().ok(),
        None => authority.split(':').next()?.parse().ok(),
    }
}

fn is_outside(address: IpAddr) -> bool {
    let special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    !special
        && match address {
            IpAddr::V4(address) => {
                !address.is_private() && !address.is_link_local() && !address.is_broadcast()
            }
            IpAddr::V6(address) => {
                address.to_ipv4().is_none()
                    && !address.is_unique_local()
                    && !address.is_unicast_link_local()
            }
        }
}

fuzz_target!(|data: &[u8]| {
    let Ok(url) = std::str::from_utf8(data) else { return };
    let Ok(origin) = url.parse::<Origin>() else {
        assert!(outbound().target(url, true).is_err());
        return;
    };
    let shown = origin.to_string();
    assert_eq!(shown.parse::<Origin>().as_ref(), Ok(&origin));
    assert!(url.len() <= 2048 && !url.contains(['#', '\\', ' ']));
    if let Ok(target) = outbound().target(url, false) {
        assert_eq!((target.origin(), target.is_internal()), (&origin, false));
        assert_eq!(origin.scheme(), Scheme::Https);
        assert!(address(&shown).is_none_or(is_outside), "{shown}");
    }
    if let Ok(target) = outbound().target(url, true) {
        // The URL that is written from the target is the same place.
        let again = format!("{shown}{}", target.path());
        let again = outbound().target(&again, true).map_err(|_| ()).expect("it can be read again");
        assert_eq!(
            (again.origin(), again.path().to_string()),
            (&origin, target.path().to_string())
        );
    }
});
