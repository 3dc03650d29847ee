//! Which relay, when none is named: those that live, the organization's own first, the nearest of them by TCP.

use crate::api;
use crate::limits::supervisor as limits;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The relays worth measuring, in groups that are tried one after the other: the organization's own, then the operator's.
/// `unix` is the time in seconds since 1970; `avoid` is a relay that does not answer, left out unless it is the only one.
pub(super) fn candidates<'a>(relays: &'a [api::Relay], unix: u64, avoid: Option<&str>) -> [Vec<&'a api::Relay>; 2] {
    let lives = |relay: &&api::Relay| {
        relay.heartbeat.is_some_and(|heard| unix.saturating_sub(heard) < limits::RELAY_HEARD_WITHIN.as_secs())
    };
    let others = relays.iter().filter(lives).any(|relay| avoid != Some(relay.name.as_str()));
    let group = |is_org: bool| {
        relays
            .iter()
            .filter(lives)
            .filter(|relay| relay.is_org == is_org && !(others && avoid == Some(relay.name.as_str())))
            .take(limits::RELAYS_MEASURED)
            .collect()
    };
    [group(true), group(false)]
}

/// The nearest of the first group that has one, and the next nearest.
pub(super) fn nearest(
    groups: [Vec<&api::Relay>; 2],
    mut measure: impl FnMut(&api::Relay) -> Option<Duration>,
) -> Option<(&api::Relay, Option<&api::Relay>)> {
    groups.into_iter().find_map(|group| {
        let mut measured: Vec<_> =
            group.into_iter().filter_map(|relay| measure(relay).map(|latency| (latency, relay))).collect();
        measured.sort_by_key(|(latency, _)| *latency);
        let mut order = measured.into_iter().map(|(_, relay)| relay);
        order.next().map(|first| (first, order.next()))
    })
}

/// How long a TCP connection to the relay's SSH port takes; `None` when no address answers in time. Blocks.
pub(super) fn connect_time(relay: &api::Relay, port: u16) -> Option<Duration> {
    let addresses = (relay.host.as_str(), port).to_socket_addrs().ok()?;
    // One of each family, because one family may lead nowhere.
    let mut seen = [false; 2];
    let mut addresses = addresses.filter(|address| !std::mem::replace(&mut seen[usize::from(address.is_ipv6())], true));
    addresses.find_map(|address| {
        let started = Instant::now();
        TcpStream::connect_timeout(&address, limits::RELAY_CONNECT).ok().map(|_| started.elapsed())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn relay(name: &str, is_org: bool, heard_ago: Option<u64>) -> api::Relay {
        api::Relay {
            name: name.to_owned(),
            host: format!("{name}.example"),
            is_org,
            heartbeat: heard_ago.map(|ago| NOW - ago),
        }
    }

    fn names(group: &[&api::Relay]) -> Vec<String> {
        group.iter().map(|relay| relay.name.clone()).collect()
    }

    #[test]
    fn only_relays_that_live_and_the_organizations_own_first() {
        let relays = [
            relay("near", false, Some(10)),
            relay("own", true, Some(3599)),
            relay("dead", true, Some(3600)),
            relay("never", true, None),
        ];
        let [own, operators] = candidates(&relays, NOW, None);
        assert_eq!((names(&own), names(&operators)), (vec!["own".into()], vec!["near".into()]));
    }

    #[test]
    fn a_relay_that_does_not_answer_is_avoided_unless_it_is_the_only_one() {
        let relays = [relay("a", true, Some(1)), relay("b", true, Some(1))];
        assert_eq!(names(&candidates(&relays, NOW, Some("a"))[0]), ["b"]);
        assert_eq!(names(&candidates(&relays[..1], NOW, Some("a"))[0]), ["a"]);
    }

    #[test]
    fn the_nearest_of_the_first_group_that_answers() {
        let relays = [relay("own", true, Some(1)), relay("far", false, Some(1)), relay("near", false, Some(1))];
        let latency = |own: Option<u64>| {
            move |relay: &api::Relay| match relay.name.as_str() {
                "own" => own.map(Duration::from_millis),
                "far" => Some(Duration::from_millis(90)),
                _ => Some(Duration::from_millis(20)),
            }
        };
        let choose = |own| {
            nearest(candidates(&relays, NOW, None), latency(own))
                .map(|(first, second)| (first.name.clone(), second.map(|relay| relay.name.clone())))
        };
        assert_eq!(choose(Some(500)), Some(("own".into(), None)));
        assert_eq!(choose(None), Some(("near".into(), Some("far".into()))));
        assert_eq!(nearest(candidates(&relays, NOW, None), |_| None), None);
    }
}
