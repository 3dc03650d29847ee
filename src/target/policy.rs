//! What the owner of the box lets clients reach, whatever the platform says.

use core::ops::RangeInclusive;
use std::net::IpAddr;

use crate::escape::Escaped;
use crate::limits::POLICY_RULES;
use crate::tls::Host;

/// Two lists of hosts and ports. A target is refused when a deny rule matches, or when there are
/// allow rules and none matches. Rules are held against the name and against the address that is
/// connected to, so a name that resolves to a denied network is no way around.
#[derive(Clone, Debug, Default)]
pub struct TargetPolicy {
    allow: Option<Vec<Rule>>,
    deny: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    hosts: Hosts,
    ports: RangeInclusive<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// `*`
    Any,
    /// `db.lan`, in lower case
    Name(String),
    /// `*.corp.example` as `.corp.example`: any name below it
    Below(String),
    /// `10.0.0.0/8`, a single address as its whole length
    Network(IpAddr, u8),
}

impl TargetPolicy {
    /// Reads two comma-separated lists of `host[:ports]`: the host is a name, `*.name`, `*`, an
    /// address or a network (IPv6 in brackets); the ports are one, a range `a-b`, or `*` (the same
    /// as none). Without an allow list everything is allowed that is not denied.
    ///
    /// # Errors
    /// Names the list and the rule, with an example.
    pub fn parse(allow: Option<&str>, deny: Option<&str>) -> Result<Self, String> {
        let list = |name, text| {
            rules(text).map_err(|why| {
                format!("{name}: {why}; an example: 10.0.0.0/8:5432,db.lan:*,*.corp.example:443,[fd00::]/8")
            })
        };
        Ok(Self {
            allow: allow.map(|text| list("EDGE_GATEWAY_ALLOW", text)).transpose()?,
            deny: deny.map_or(Ok(Vec::new()), |text| list("EDGE_GATEWAY_DENY", text))?,
        })
    }

    /// Whether this address, reached by this name, may be connected to.
    pub fn allows(&self, host: &Host, address: IpAddr, port: u16) -> bool {
        let matches = |rule: &Rule| rule.matches(host, Some(address.to_canonical()), port);
        !self.deny.iter().any(matches) && self.allow.as_ref().is_none_or(|rules| rules.iter().any(matches))
    }

    /// Whether no address of this name could be allowed, so that it need not be looked up.
    pub fn refuses_name(&self, host: &Host, port: u16) -> bool {
        let hopeful = |rule: &Rule| {
            matches!(rule.hosts, Hosts::Network(..)) && rule.ports.contains(&port) || rule.matches(host, None, port)
        };
        self.deny.iter().any(|rule| rule.matches(host, None, port))
            || self.allow.as_ref().is_some_and(|rules| !rules.iter().any(hopeful))
    }
}

impl Rule {
    fn matches(&self, host: &Host, address: Option<IpAddr>, port: u16) -> bool {
        self.ports.contains(&port)
            && match &self.hosts {
                Hosts::Any => true,
                Hosts::Name(name) => written(host).is_some_and(|host| host.eq_ignore_ascii_case(name)),
                Hosts::Below(suffix) => written(host).is_some_and(|host| {
                    host.len().checked_sub(suffix.len()).is_some_and(|start| {
                        start > 0 && host.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
                    })
                }),
                Hosts::Network(network, length) => address.is_some_and(|address| contains(*network, *length, address)),
            }
    }
}

/// The name as written, without the dot of the root.
fn written(host: &Host) -> Option<&str> {
    match host {
        Host::Name(name) => Some(name.strip_suffix('.').unwrap_or(name)),
        Host::Ip(_) => None,
    }
}

fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.leading_zeros() >= u32::from(length)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.leading_zeros() >= u32::from(length)
        }
        _ => false,
    }
}

fn rules(text: &str) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        if rules.len() == POLICY_RULES {
            return Err(format!("over {POLICY_RULES} rules"));
        }
        rules.push(rule(entry).map_err(|why| format!("\"{}\": {why}", Escaped::new(entry, 80)))?);
    }
    if rules.is_empty() {
        return Err("the list is empty (leave it unset, or write * for everything)".into());
    }
    Ok(rules)
}

fn rule(entry: &str) -> Result<Rule, &'static str> {
    let (hosts, ports) = if let Some(rest) = entry.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        let (length, ports) = after.split_once(':').unwrap_or((after, "*"));
        if !inside.contains(':') || !(length.is_empty() || length.starts_with('/')) {
            return Err("brackets hold an IPv6 address");
        }
        (network(&[inside, length].concat())?, ports)
    } else {
        let (host, ports) = entry.split_once(':').unwrap_or((entry, "*"));
        if ports.contains(':') {
            return Err("an IPv6 address needs brackets");
        }
        (hosts(host)?, ports)
    };
    Ok(Rule { hosts, ports: port_range(ports)? })
}

fn hosts(host: &str) -> Result<Hosts, &'static str> {
    if host == "*" {
        return Ok(Hosts::Any);
    }
    if host.contains('/') {
        return network(host);
    }
    let suffix = host.strip_prefix("*.");
    match Host::parse(suffix.unwrap_or(host)) {
        Some(Host::Ip(_)) if suffix.is_none() => network(host),
        Some(name @ Host::Name(_)) => {
            let name = written(&name).unwrap_or_default().to_ascii_lowercase();
            // A name of digits and dots is a mistyped address, and would never match.
            if name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                return Err("not an IP address");
            }
            Ok(if suffix.is_some() { Hosts::Below(format!(".{name}")) } else { Hosts::Name(name) })
        }
        _ => Err("not a host name, an address or a network"),
    }
}

fn network(text: &str) -> Result<Hosts, &'static str> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| "not an IP address")?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length =
        length.map_or(Ok(longest), |length| length.parse().map_err(|_| "the prefix length is not a number"))?;
    if length > longest {
        return Err("the prefix length is over the address's");
    }
    Ok(Hosts::Network(address, length))
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, &'static str> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or("not a port (1-65535)");
    match text.split_once('-') {
        _ if text == "*" => Ok(1..=u16::MAX),
        None => port(text).map(|port| port..=port),
        Some((first, last)) => {
            let range = port(first)?..=port(last)?;
            if range.is_empty() { Err("the port range is the wrong way round") } else { Ok(range) }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(allow: Option<&str>, deny: Option<&str>) -> TargetPolicy {
        TargetPolicy::parse(allow, deny).expect("a good policy")
    }

    fn allows(policy: &TargetPolicy, host: &str, address: &str, port: u16) -> bool {
        let host = Host::parse(host).expect("a host");
        let allowed = policy.allows(&host, address.parse().expect("an address"), port);
        // The early answer may only be "no" where the late one is.
        assert!(!(allowed && policy.refuses_name(&host, port)), "{host}:{port}");
        allowed
    }

    #[test]
    fn everything_is_allowed_by_default() {
        assert!(allows(&TargetPolicy::default(), "anything", "169.254.169.254", 80));
    }

    #[test]
    fn rules_match_names_networks_and_ports() {
        let policy =
            policy(Some("10.0.0.0/8:5432, db.lan:*,*.corp.example:443,[fd00::]/8,web:8000-8099,[fe80::1]:22"), None);
        for (host, address, port) in [
            ("10.1.2.3", "10.1.2.3", 5432),
            ("postgres", "10.1.2.3", 5432),
            ("::ffff:10.1.2.3", "::ffff:10.1.2.3", 5432),
            ("DB.lan.", "192.168.0.1", 9),
            ("a.b.corp.EXAMPLE", "192.168.0.1", 443),
            ("fd12::1", "fd12::1", 1),
            ("web", "192.168.0.1", 8099),
            ("fe80::1", "fe80::1", 22),
        ] {
            assert!(allows(&policy, host, address, port), "{host} {address} {port}");
        }
        for (host, address, port) in [
            ("10.1.2.3", "10.1.2.3", 5433),
            ("11.1.2.3", "11.1.2.3", 5432),
            ("db.lan.evil", "192.168.0.1", 9),
            ("corp.example", "192.168.0.1", 443),
            ("xcorp.example", "192.168.0.1", 443),
            ("fe80::2", "fe80::2", 22),
            ("web", "192.168.0.1", 8100),
        ] {
            assert!(!allows(&policy, host, address, port), "{host} {address} {port}");
        }
    }

    #[test]
    fn deny_wins_on_the_name_and_on_the_address() {
        let policy = policy(Some("*"), Some("169.254.0.0/16,*.internal:*,db.lan:5432"));
        assert!(allows(&policy, "db.lan", "10.0.0.1", 80));
        assert!(!allows(&policy, "db.lan", "10.0.0.1", 5432));
        assert!(!allows(&policy, "harmless.example", "169.254.169.254", 80));
        assert!(!allows(&policy, "harmless.example", "::ffff:169.254.169.254", 80));
        assert!(!allows(&policy, "x.internal", "10.0.0.1", 80));
    }

    #[test]
    fn names_that_no_rule_can_allow_are_not_looked_up() {
        let by_name = policy(Some("db.lan:5432"), None);
        let by_network = policy(Some("10.0.0.0/8:5432"), None);
        let host = Host::parse("other.lan").expect("a host");
        assert!(by_name.refuses_name(&host, 5432));
        assert!(!by_network.refuses_name(&host, 5432));
        assert!(by_network.refuses_name(&host, 80));
    }

    #[test]
    fn bad_rules_are_named() {
        for (list, why) in [
            ("", "the list is empty"),
            (" , ", "the list is empty"),
            ("10.0.0.0/33", "prefix length is over"),
            ("10.0.0.0/x", "prefix length is not a number"),
            ("10.0.0", "not an IP address"),
            ("fd00::1:80", "needs brackets"),
            ("[fd00::1", "bracket is not closed"),
            ("[10.0.0.1]:80", "brackets hold an IPv6"),
            ("[fd00::1]x:80", "brackets hold an IPv6"),
            ("db.lan:0", "not a port"),
            ("db.lan:99999", "not a port"),
            ("db.lan:90-80", "wrong way round"),
            ("a..b", "not a host name"),
            ("*.10.0.0.1", "not a host name"),
            ("*x:1", "not a host name"),
        ] {
            let error = TargetPolicy::parse(None, Some(list)).expect_err(list);
            assert!(error.starts_with("EDGE_GATEWAY_DENY: ") && error.contains(why), "{error}");
            assert!(TargetPolicy::parse(Some(list), None).is_err());
        }
        let long = vec!["a"; POLICY_RULES + 1].join(",");
        assert!(TargetPolicy::parse(Some(&long), None).expect_err("long").contains("over 64 rules"));
    }

    proptest! {
        #[test]
        fn no_list_panics(list in "[a-z0-9.:*/\\[\\], -]{0,60}", port: u16) {
            if let Ok(policy) = TargetPolicy::parse(Some(&list), None) {
                let host = Host::parse("db.lan").expect("a host");
                let _ = policy.allows(&host, [10, 0, 0, 1].into(), port);
            }
        }

        #[test]
        fn a_network_holds_exactly_what_shares_its_prefix(network: u32, address: u32, length in 0u8..=32) {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            prop_assert_eq!(
                contains(IpAddr::V4(network.into()), length, IpAddr::V4(address.into())),
                network & mask == address & mask
            );
        }
    }
}
