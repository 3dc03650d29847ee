//! What to do next: a pure function of what is known, what has happened and what time it is.
//!
//! The shell around it ([`super`]) carries the decisions out and reports back. Nothing here waits, sleeps or connects.

use super::backoff::Backoff;
use crate::limits::supervisor as limits;
use std::time::Duration;

/// The time, from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    /// A clock that never goes back, from the start of the agent.
    pub(super) up: Duration,
    /// The wall clock, in seconds since 1970, with its floors (`clock`).
    pub(super) unix: u64,
}

/// Something that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Certificates are at hand, valid until this time in seconds since 1970. `fresh`: they come from the platform just now, not
    /// from the state file. `moved`: for another relay than before, or another gateway.
    Certificates { until: u64, fresh: bool, moved: bool },
    /// The certificates could not be fetched.
    FetchFailed(Remedy),
    /// The heartbeat was accepted.
    HeartbeatDone,
    /// The heartbeat was not.
    HeartbeatFailed(Remedy),
    /// The relay accepted the gateway.
    LinkUp,
    /// Connecting failed, or the link ended.
    LinkDown(LinkEnd),
    /// Connecting has ended, to a relay that the certificates have moved away from meanwhile.
    Overtaken,
    /// The network has changed, or somebody asks for a new try: pauses end.
    Nudge,
}

/// What may help after a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Time.
    Later,
    /// So much time, says the platform.
    After(Duration),
    /// A person.
    Person,
}

/// How a link ended, or did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkEnd {
    /// Nothing answers at the relay's address: trying again costs nobody anything.
    Unreachable,
    /// The relay closed right after it accepted the gateway: it still holds an older connection.
    Occupied,
    /// Established and then lost.
    Lost,
    /// The relay does not take the certificate: new ones may help.
    Refused,
    /// The relay is not the one that the platform vouches for, or no relay at all: new certificates, with the relay's new
    /// authority, may help.
    NotTrusted,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Fetch certificates. `elsewhere`: for another relay, because this one does not answer.
    Fetch { elsewhere: bool },
    /// Tell the platform that the gateway lives.
    Heartbeat,
    /// Connect to the relay.
    Dial,
    /// Nothing until then, or until something happens.
    Wait(Duration),
    /// Nothing will help but a person: end.
    GiveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// To be dialled at this time.
    Down(Duration),
    Dialling,
    /// Since then.
    Up(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    Idle,
    Fetching,
    Heartbeat,
}

/// Everything that decisions are made from.
#[derive(Debug)]
pub(super) struct Brain {
    /// A relay was named: it is never left.
    relay_fixed: bool,
    /// Until when the certificates are valid, in seconds since 1970.
    certificates: Option<u64>,
    link: Link,
    api: Api,
    /// Not before this time.
    fetch_at: Duration,
    /// Nothing but a person brings [`Brain::fetch_at`] forward of this time.
    fetch_floor: Duration,
    heartbeat_at: Duration,
    heartbeat_done: bool,
    /// When the relay began not to answer.
    unreachable_since: Option<Duration>,
    /// The next fetch is to be for another relay.
    elsewhere: bool,
    /// A person is needed, and there is nothing left to serve with.
    hopeless: bool,
    link_pause: Backoff,
    api_pause: Backoff,
}

impl Brain {
    pub(super) fn new(relay_fixed: bool, seed: u32) -> Self {
        let backoff = |seed| Backoff::new(limits::PAUSE_LEAST, limits::PAUSE_GREATEST, seed);
        Brain {
            relay_fixed,
            certificates: None,
            link: Link::Down(Duration::ZERO),
            api: Api::Idle,
            fetch_at: Duration::ZERO,
            fetch_floor: Duration::ZERO,
            heartbeat_at: Duration::ZERO,
            heartbeat_done: false,
            unreachable_since: None,
            elsewhere: false,
            hopeless: false,
            link_pause: backoff(seed),
            api_pause: backoff(seed.rotate_left(16)),
        }
    }

    /// The next thing to do. An action counts as begun once it is returned; its end must be reported.
    pub(super) fn decide(&mut self, now: Now) -> Action {
        if self.hopeless {
            return Action::GiveUp;
        }
        let valid = self.certificates.is_some_and(|until| now.unix < until);
        if self.api == Api::Idle && now.up >= self.fetch_at {
            self.api = Api::Fetching;
            return Action::Fetch { elsewhere: self.elsewhere };
        }
        if let Link::Down(at) = self.link
            && valid
            && now.up >= at
        {
            self.link = Link::Dialling;
            return Action::Dial;
        }
        if self.api == Api::Idle && matches!(self.link, Link::Up(_)) && now.up >= self.heartbeat_at {
            self.api = Api::Heartbeat;
            return Action::Heartbeat;
        }
        let fetch = (self.api == Api::Idle).then_some(self.fetch_at);
        let heartbeat = (self.api == Api::Idle && matches!(self.link, Link::Up(_))).then_some(self.heartbeat_at);
        let dial = match self.link {
            Link::Down(at) if valid => Some(at),
            _ => None,
        };
        let next = [fetch, heartbeat, dial].into_iter().flatten().min();
        Action::Wait(next.unwrap_or(now.up + limits::IDLE_LOOK))
    }

    /// Takes in what has happened.
    pub(super) fn handle(&mut self, event: Event, now: Now) {
        match event {
            Event::Certificates { until, fresh, moved } => self.certificates(until, fresh, moved, now),
            Event::FetchFailed(remedy) => {
                self.api = Api::Idle;
                let valid = self.certificates.is_some_and(|until| now.unix < until);
                self.hopeless = remedy == Remedy::Person && !valid && !matches!(self.link, Link::Up(_));
                self.fetch_at = now.up + self.pause_after(remedy);
                self.fetch_floor = self.fetch_at;
            }
            Event::HeartbeatDone => {
                self.api = Api::Idle;
                self.heartbeat_done = true;
                self.heartbeat_at = now.up + limits::HEARTBEAT;
                self.api_pause.reset();
            }
            Event::HeartbeatFailed(remedy) => {
                self.api = Api::Idle;
                let pause = match remedy {
                    Remedy::After(pause) => pause.max(limits::HEARTBEAT_FIRST),
                    _ if self.heartbeat_done => limits::HEARTBEAT,
                    _ => limits::HEARTBEAT_FIRST,
                };
                self.heartbeat_at = now.up + pause;
            }
            Event::LinkUp => {
                self.link = Link::Up(now.up);
                self.unreachable_since = None;
                self.elsewhere = false;
                // The platform learns at once that the gateway is back, but a flapping link does not become a flood.
                self.heartbeat_at = self
                    .heartbeat_at
                    .min(now.up + if self.heartbeat_done { limits::HEARTBEAT_FIRST } else { Duration::ZERO });
                self.heartbeat_done = false;
            }
            Event::LinkDown(end) => self.link_down(end, now),
            Event::Overtaken => self.link = Link::Down(now.up),
            Event::Nudge => {
                if let Link::Down(at) = &mut self.link {
                    *at = now.up;
                }
                if self.certificates.is_none_or(|until| now.unix >= until) {
                    self.fetch_at = now.up;
                }
                self.link_pause.reset();
                self.api_pause.reset();
            }
        }
    }

    fn certificates(&mut self, until: u64, fresh: bool, moved: bool, now: Now) {
        self.certificates = Some(until);
        if !fresh {
            // From the state file: dial at once, and ask the platform behind it.
            return;
        }
        self.api = Api::Idle;
        self.api_pause.reset();
        self.fetch_at = now.up + renewal_in(until, now.unix);
        // The platform knows no better relay than the one that does not answer: it need not be asked as often as the relay.
        let pause = if self.elsewhere && !moved { limits::PAUSE_GREATEST } else { Duration::ZERO };
        self.fetch_floor = now.up + pause;
        if moved {
            self.unreachable_since = None;
            self.link_pause.reset();
            self.link = match self.link {
                Link::Dialling => Link::Dialling,
                _ => Link::Down(now.up),
            };
        } else if let Link::Down(at) = &mut self.link
            && self.unreachable_since.is_none()
        {
            // The relay answered before, and did not like what it saw: the new certificates deserve a try now.
            *at = (*at).min(now.up + limits::PAUSE_LEAST);
        }
    }

    fn link_down(&mut self, end: LinkEnd, now: Now) {
        if let Link::Up(since) = self.link
            && now.up.saturating_sub(since) >= limits::HEALTHY
        {
            self.link_pause.reset();
        }
        if end != LinkEnd::Unreachable {
            self.unreachable_since = None;
        }
        let pause = match end {
            LinkEnd::Unreachable => {
                let since = *self.unreachable_since.get_or_insert(now.up);
                let pause = self.link_pause.next();
                // A relay that restarts is found again within seconds; one that stays away is asked ever more rarely.
                if now.up.saturating_sub(since) < limits::PROBE_FOR { pause.min(limits::PROBE_PAUSE) } else { pause }
            }
            LinkEnd::Occupied => self.link_pause.next().min(limits::OCCUPIED_PAUSE),
            LinkEnd::Lost => self.link_pause.next(),
            LinkEnd::Refused | LinkEnd::NotTrusted => {
                // Only the platform can say what has changed. Its answer comes first, the pause bounds how often it is asked.
                let pause = self.link_pause.next().max(limits::PAUSE_LEAST);
                self.bring_fetch_forward(now.up + pause / 2);
                pause
            }
        };
        self.link = Link::Down(now.up + pause);
        let gone_for = self.unreachable_since.map_or(Duration::ZERO, |since| now.up.saturating_sub(since));
        // One that does not answer has its time; one that answers and does not serve has its number of chances.
        let failed = end != LinkEnd::Unreachable && self.link_pause.failures() >= limits::FAILOVER_FAILURES;
        if !self.relay_fixed && (failed || gone_for >= limits::FAILOVER_AFTER) {
            self.elsewhere = true;
            self.bring_fetch_forward(now.up);
        }
    }

    fn bring_fetch_forward(&mut self, to: Duration) {
        self.fetch_at = self.fetch_at.min(to.max(self.fetch_floor));
    }

    fn pause_after(&mut self, remedy: Remedy) -> Duration {
        match remedy {
            Remedy::Later => self.api_pause.next(),
            Remedy::After(pause) => pause.max(limits::PAUSE_LEAST),
            Remedy::Person => limits::PAUSE_PERSON,
        }
    }

    /// Whether the link is up.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    /// When the next attempt to reach the relay is due, for a log line; `None` while nothing is planned.
    pub(super) fn next_dial(&self) -> Option<Duration> {
        match self.link {
            Link::Down(at) => Some(at),
            _ => None,
        }
    }
}

/// Certificates are renewed every [`limits::RENEWAL`], and always before a third of their remaining life has passed.
fn renewal_in(until: u64, unix: u64) -> Duration {
    let third = Duration::from_secs(until.saturating_sub(unix)) / 3;
    third.min(limits::RENEWAL).max(limits::PAUSE_LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(up: u64) -> Now {
        Now { up: Duration::from_secs(up), unix: 1_000_000 + up }
    }

    fn fresh(until: u64) -> Event {
        Event::Certificates { until, fresh: true, moved: false }
    }

    #[test]
    fn a_dial_that_was_overtaken_is_followed_by_the_right_one() {
        let mut brain = Brain::new(false, 1);
        brain.handle(Event::Certificates { until: 1_000_000 + DAY, fresh: false, moved: false }, at(0));
        let begun = [brain.decide(at(0)), brain.decide(at(0))];
        assert_eq!(begun, [Action::Fetch { elsewhere: false }, Action::Dial]);
        brain.handle(Event::Certificates { until: 1_000_000 + DAY, fresh: true, moved: true }, at(1));
        assert!(matches!(brain.decide(at(1)), Action::Wait(_)), "one dial at a time");
        brain.handle(Event::Overtaken, at(2));
        assert_eq!(brain.decide(at(2)), Action::Dial);
        brain.handle(Event::LinkUp, at(3));
        assert!(brain.is_up());
    }

    /// A brain with fresh certificates for a day and a link, at second 0.
    fn served(relay_fixed: bool) -> Brain {
        let mut brain = Brain::new(relay_fixed, 1);
        assert_eq!(brain.decide(at(0)), Action::Fetch { elsewhere: false });
        brain.handle(fresh(1_000_000 + DAY), at(0));
        assert_eq!(brain.decide(at(0)), Action::Dial);
        brain.handle(Event::LinkUp, at(0));
        assert_eq!(brain.decide(at(0)), Action::Heartbeat);
        brain.handle(Event::HeartbeatDone, at(0));
        brain
    }

    fn wait(brain: &mut Brain, now: Now) -> Duration {
        match brain.decide(now) {
            Action::Wait(until) => until,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn cached_certificates_dial_while_the_platform_is_asked() {
        let mut brain = Brain::new(true, 1);
        brain.handle(Event::Certificates { until: 1_000_000 + DAY, fresh: false, moved: false }, at(0));
        assert_eq!(brain.decide(at(0)), Action::Fetch { elsewhere: false });
        assert_eq!(brain.decide(at(0)), Action::Dial, "without waiting for the answer");
        brain.handle(Event::LinkUp, at(0));
        for failure in 1..20 {
            brain.handle(Event::FetchFailed(Remedy::Later), at(failure * 100));
            assert!(brain.is_up(), "the platform may be down for as long as the certificates live");
            loop {
                match brain.decide(at(failure * 100 + 99)) {
                    Action::Heartbeat => brain.handle(Event::HeartbeatFailed(Remedy::Later), at(failure * 100 + 99)),
                    Action::Fetch { .. } => break,
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn heartbeats_every_ten_seconds_until_the_first_success_then_every_three_minutes() {
        let mut brain = served(true);
        assert_eq!(wait(&mut brain, at(1)), Duration::from_secs(180));
        assert_eq!(brain.decide(at(180)), Action::Heartbeat);
        brain.handle(Event::HeartbeatFailed(Remedy::Later), at(180));
        assert_eq!(wait(&mut brain, at(181)), Duration::from_secs(360));
        let mut brain = Brain::new(true, 1);
        brain.decide(at(0));
        brain.handle(fresh(1_000_000 + DAY), at(0));
        brain.decide(at(0));
        brain.handle(Event::LinkUp, at(0));
        for beat in 0..5 {
            assert_eq!(brain.decide(at(beat * 10)), Action::Heartbeat);
            brain.handle(Event::HeartbeatFailed(Remedy::Later), at(beat * 10));
        }
        assert_eq!(brain.decide(at(50)), Action::Heartbeat);
        brain.handle(Event::HeartbeatFailed(Remedy::After(Duration::from_secs(77))), at(50));
        assert_eq!(wait(&mut brain, at(51)), Duration::from_secs(127), "Retry-After counts");
    }

    #[test]
    fn renewal_every_six_hours_and_before_a_third_of_the_remaining_life() {
        assert_eq!(renewal_in(1000 + DAY, 1000), Duration::from_secs(6 * 3600));
        assert_eq!(renewal_in(1000 + 3600, 1000), Duration::from_secs(1200));
        assert_eq!(renewal_in(1000, 2000), limits::PAUSE_LEAST, "not a busy loop with expired ones");
        let mut brain = served(true);
        for beat in 1..120 {
            assert_eq!(brain.decide(at(beat * 180)), Action::Heartbeat);
            brain.handle(Event::HeartbeatDone, at(beat * 180));
        }
        assert_eq!(brain.decide(at(6 * 3600)), Action::Fetch { elsewhere: false });
        brain.handle(fresh(1_000_000 + 2 * DAY), at(6 * 3600));
        assert!(brain.is_up(), "open tunnels are not cut");
    }

    #[test]
    fn a_relay_that_restarts_is_found_within_three_seconds_of_its_return() {
        for seed in 0..50 {
            let mut brain = served(true);
            brain.link_pause = Backoff::new(limits::PAUSE_LEAST, limits::PAUSE_GREATEST, seed);
            brain.handle(Event::LinkDown(LinkEnd::Lost), at(10));
            let mut now = Duration::from_secs(10);
            while now < Duration::from_secs(100) {
                let next = brain.next_dial().unwrap();
                assert!(next - now <= Duration::from_secs(2), "{:?}", next - now);
                now = next;
                let unix = 1_000_000 + now.as_secs();
                assert_eq!(brain.decide(Now { up: now, unix }), Action::Dial);
                brain.handle(Event::LinkDown(LinkEnd::Unreachable), Now { up: now, unix });
            }
        }
    }

    #[test]
    fn a_relay_that_stays_away_is_asked_ever_more_rarely_and_never_given_up() {
        let mut brain = served(true);
        let mut now = 0.0;
        brain.handle(Event::LinkDown(LinkEnd::Unreachable), at(0));
        let mut dials = 0;
        while now < 3600.0 {
            let up = brain.next_dial().unwrap();
            now = up.as_secs_f32();
            let now = Now { up, unix: 1_000_000 + up.as_secs() };
            while brain.decide(now) != Action::Dial {
                brain.handle(Event::HeartbeatDone, now);
            }
            brain.handle(Event::LinkDown(LinkEnd::Unreachable), now);
            dials += 1;
        }
        assert!((60..300).contains(&dials), "{dials} attempts in an hour");
    }

    #[test]
    fn a_link_that_breaks_soon_waits_longer_each_time_and_a_healthy_minute_forgets_it() {
        let mut brain = served(true);
        for failure in 0..10 {
            brain.handle(Event::LinkDown(LinkEnd::Lost), at(failure));
            brain.link = Link::Up(at(failure).up);
        }
        brain.handle(Event::LinkDown(LinkEnd::Lost), at(20));
        assert!(brain.next_dial().unwrap() > Duration::from_secs(49));
        brain.link = Link::Up(at(100).up);
        brain.handle(Event::LinkDown(LinkEnd::Lost), at(161));
        assert!(brain.next_dial().unwrap() <= Duration::from_secs(162));
    }

    #[test]
    fn an_occupied_relay_is_asked_again_within_ten_seconds() {
        let mut brain = served(true);
        for failure in 0..20 {
            brain.link = Link::Up(at(failure).up);
            brain.handle(Event::LinkDown(LinkEnd::Occupied), at(failure));
            assert!(brain.next_dial().unwrap() <= at(failure).up + limits::OCCUPIED_PAUSE);
        }
    }

    #[test]
    fn a_named_relay_is_never_left_and_another_one_is() {
        for relay_fixed in [true, false] {
            let mut brain = served(relay_fixed);
            let mut fetched = false;
            brain.handle(Event::LinkDown(LinkEnd::Unreachable), at(0));
            for second in 1..60 {
                match brain.decide(at(second)) {
                    Action::Dial => brain.handle(Event::LinkDown(LinkEnd::Unreachable), at(second)),
                    Action::Fetch { elsewhere } => {
                        assert!(elsewhere && at(second).up >= limits::FAILOVER_AFTER);
                        fetched = true;
                        break;
                    }
                    Action::Wait(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(fetched, !relay_fixed);
            if fetched {
                brain.handle(Event::Certificates { until: 1_000_000 + DAY, fresh: true, moved: true }, at(60));
                assert_eq!(brain.decide(at(60)), Action::Dial, "the new relay is tried at once");
            }
        }
    }

    /// A relay without a name that is the only one, and stays away: how often the platform is asked for another in five minutes.
    fn fetches_elsewhere(mut answer: impl FnMut() -> Event) -> usize {
        let mut brain = served(false);
        brain.handle(Event::LinkDown(LinkEnd::Lost), at(0));
        let mut fetches = 0;
        for second in 1..300 {
            match brain.decide(at(second)) {
                Action::Dial => brain.handle(Event::LinkDown(LinkEnd::Unreachable), at(second)),
                Action::Fetch { elsewhere } => {
                    assert!(elsewhere);
                    fetches += 1;
                    brain.handle(answer(), at(second));
                }
                _ => {}
            }
        }
        fetches
    }

    #[test]
    fn a_platform_that_has_no_other_relay_is_not_asked_at_every_attempt() {
        assert!((4..=6).contains(&fetches_elsewhere(|| fresh(1_000_000 + DAY))));
        let busy = || Event::FetchFailed(Remedy::After(Duration::from_secs(120)));
        assert!((2..=3).contains(&fetches_elsewhere(busy)), "Retry-After counts, whatever the relay does");
    }

    #[test]
    fn what_the_relay_refuses_is_asked_of_the_platform() {
        let mut brain = served(true);
        brain.handle(Event::LinkDown(LinkEnd::Refused), at(10));
        assert_eq!(brain.decide(at(12)), Action::Fetch { elsewhere: false });
        brain.handle(fresh(1_000_000 + DAY), at(12));
        assert!(brain.next_dial().unwrap() <= at(13).up);
    }

    #[test]
    fn without_certificates_only_a_person_can_end_it() {
        let mut brain = Brain::new(true, 1);
        brain.decide(at(0));
        brain.handle(Event::FetchFailed(Remedy::Later), at(0));
        assert!(wait(&mut brain, at(0)) <= Duration::from_secs(1));
        assert_eq!(brain.decide(at(2)), Action::Fetch { elsewhere: false });
        brain.handle(Event::FetchFailed(Remedy::Person), at(2));
        assert_eq!(brain.decide(at(2)), Action::GiveUp);

        let mut brain = served(true);
        assert_eq!(brain.decide(at(7 * 3600)), Action::Fetch { elsewhere: false });
        brain.handle(Event::FetchFailed(Remedy::Person), at(7 * 3600));
        assert_ne!(brain.decide(at(7 * 3600)), Action::GiveUp, "while the certificates live it serves");
    }

    #[test]
    fn expired_certificates_are_not_shown_to_a_relay() {
        let mut brain = served(true);
        brain.handle(Event::LinkDown(LinkEnd::Lost), at(DAY + 1));
        let mut seen = Vec::new();
        for second in 2..10 {
            seen.push(brain.decide(at(DAY + second)));
        }
        assert!(seen.contains(&Action::Fetch { elsewhere: false }));
        assert!(!seen.contains(&Action::Dial));
    }

    #[test]
    fn a_nudge_ends_pauses() {
        let mut brain = served(true);
        brain.handle(Event::LinkDown(LinkEnd::Lost), at(10));
        brain.handle(Event::Nudge, at(10));
        assert_eq!(brain.decide(at(10)), Action::Dial);
    }
}
