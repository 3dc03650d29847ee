//! The life of the agent: enrol, connect, serve, renew, beat, back off, fail over, stop.
//!
//! [`brain`] decides, this shell carries out: it runs API calls on their own thread, dials and serves links as tasks, listens to
//! signals, and reports everything back to the brain.

mod backoff;
mod brain;
mod dialling;
mod identity;
mod platform;
mod relays;
mod reload;
mod signals;
mod tunnels;

use crate::api::{Client, NextStep};
use crate::budget::Budget;
use crate::bundle::Bundle;
use crate::calendar::{Seconds, Utc};
use crate::clock::{Clock, Source};
use crate::config::Config;
use crate::exit::Exit;
use crate::limits::RESOLVER_STACK;
use crate::limits::supervisor as limits;
use crate::pool;
use crate::relay::{Link, LinkError, dial};
use crate::sdnotify::Notifier;
use crate::ssh::error::Error;
use crate::state;
use crate::target::{Context, Kubernetes, TargetPolicy};
use crate::tls::Acceptor;
use crate::wheel;
use brain::{Action, Brain, Event, LinkEnd, Now, Remedy};
use dialling::DialFailure;
use identity::{Identity, Place};
use platform::{Platform, PlatformError};
use ring::rand::{SecureRandom, SystemRandom};
use signals::{Asked, Signals, hold};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tunnels::Serving;

/// Carries the settings out until a signal or a refusal ends it.
pub(crate) fn run(config: Config) -> Exit {
    wheel::begin();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(limits::RESOLVER_THREADS)
        .thread_stack_size(RESOLVER_STACK)
        .thread_keep_alive(limits::RESOLVER_KEEP)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("the system refuses an event loop: {error}");
            return Exit::Os;
        }
    };
    let exit = runtime.block_on(async {
        let (exit, pause) = live(config).await;
        hold(exit, pause).await;
        exit
    });
    // A name that still resolves, or a call that is still out, must not hold up the end.
    runtime.shutdown_background();
    exit
}

/// Enrols, stores the result, and ends.
pub(crate) fn enroll(config: &Config) -> Exit {
    let (client, mut platform, _clock) = match prepare(config) {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    match platform.enroll(&client) {
        Ok(true) => Exit::Ok,
        Ok(false) => {
            log::info!("already enrolled with this token");
            Exit::Ok
        }
        Err(error) => {
            log::error!("{error}");
            error.exit()
        }
    }
}

/// How it ended, and how long to wait before that is acted on.
async fn live(mut config: Config) -> (Exit, Duration) {
    let notifier = Notifier::new(|name| std::env::var_os(name));
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            log::error!("the system refuses signal handlers: {error}");
            return (Exit::Os, config.exit_pause);
        }
    };
    loop {
        let pause = config.exit_pause;
        let mut supervisor = match Supervisor::new(config, &notifier) {
            Ok(supervisor) => supervisor,
            Err(exit) => return (exit, pause),
        };
        let ending = supervisor.run(&mut signals).await;
        supervisor.stop(&ending).await;
        match ending {
            Ending::Exit(exit) => return (exit, supervisor.config.exit_pause),
            Ending::Restart(changed) => config = *changed,
        }
    }
}

/// Opens the state and makes a client; what fails is logged.
fn prepare(config: &Config) -> Result<(Arc<Client>, Platform, Arc<Clock>), Exit> {
    let opened = state::open(&config.state_dir).map_err(|error| {
        log::error!("{error}");
        Exit::CantCreate
    })?;
    if let Some(loss) = opened.found.loss(&config.state_dir) {
        log::error!("{loss}");
    }
    for warning in &opened.warnings {
        log::warn!("{warning}");
    }
    let clock = Arc::new(Clock::new(opened.record.passing.last_good_time));
    let reading = clock.now();
    if reading.source != Source::System {
        log::warn!("this box's clock is in the past; certificates are checked against {}", Utc(reading.unix));
    }
    let client = Client::of(config, clock.clone()).map_err(|(exit, why)| {
        log::error!("{why}");
        exit
    })?;
    let platform = Platform::new(config, clock.clone(), opened.store, opened.record);
    Ok((Arc::new(client), platform, clock))
}

/// How the loop ends.
enum Ending {
    Exit(Exit),
    /// Other settings, for which the agent starts over.
    Restart(Box<Config>),
}

/// What tasks and API calls report to the loop.
enum Report {
    Fetched(Result<Bundle, PlatformError>),
    Beaten(Result<(), PlatformError>),
    Dialled(Place, Result<Link, DialFailure>),
    Ended { link: u32, served: bool, error: LinkError },
}

/// A link that is up.
struct Current {
    number: u32,
    link: Arc<Link>,
    place: Place,
    since: Instant,
}

struct Supervisor<'a> {
    config: Config,
    notifier: &'a Notifier,
    client: Arc<Client>,
    platform: Arc<Mutex<Platform>>,
    clock: Arc<Clock>,
    budget: Arc<Budget>,
    brain: Brain,
    started: Instant,
    identity: Option<Identity>,
    /// Exists from the first certificates on.
    serving: Option<Arc<Serving>>,
    current: Option<Current>,
    dialling: bool,
    /// An API call is out. It holds the platform, and with it the state folder.
    calling: bool,
    /// A one-time token has yet to be exchanged.
    enrolling: bool,
    /// Other settings, which wait for the call that is out.
    changed: Option<Box<Config>>,
    links: u32,
    /// The last refusal of the platform: the code to end with when nothing else helps.
    refusal: Exit,
    announced: bool,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
}

impl<'a> Supervisor<'a> {
    fn new(config: Config, notifier: &'a Notifier) -> Result<Self, Exit> {
        let (client, platform, clock) = prepare(&config)?;
        let mut seed = [0; 4];
        if SystemRandom::new().fill(&mut seed).is_err() {
            log::error!("the operating system's random source failed");
            return Err(Exit::Os);
        }
        let wanted = config.max_tunnels;
        let budget = Arc::new(Budget::new(config.memory, wanted));
        pool::set_memory(config.memory);
        if budget.tunnels() < wanted {
            log::warn!(
                "EDGE_GATEWAY_MEMORY is {} KiB: {} tunnels are served at one time, not {wanted}",
                config.memory / 1024,
                budget.tunnels()
            );
        }
        let (reporter, reports) = mpsc::channel(limits::REPORTS);
        let mut supervisor = Supervisor {
            enrolling: platform.is_to_enroll(),
            brain: Brain::new(config.relay_name.is_some(), u32::from_be_bytes(seed)),
            config,
            budget,
            notifier,
            client,
            platform: Arc::new(Mutex::new(platform)),
            clock,
            started: Instant::now(),
            identity: None,
            serving: None,
            current: None,
            dialling: false,
            calling: false,
            changed: None,
            links: 0,
            refusal: Exit::Config,
            announced: false,
            reports,
            reporter,
        };
        if let Err(why) = supervisor.context() {
            log::error!("{why}");
            return Err(Exit::Config);
        }
        supervisor.use_stored_certificates();
        Ok(supervisor)
    }

    fn now(&self) -> Now {
        Now { up: self.started.elapsed(), unix: self.clock.unix() }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        self.brain.handle(event, now);
    }

    /// What tunnels are served by, from the settings.
    fn context(&self) -> Result<Context, String> {
        let policy = TargetPolicy::parse(self.config.allow.as_deref(), self.config.deny.as_deref());
        Ok(Context {
            policy: policy.map_err(|error| error.to_string())?,
            gateway_name: self.config.gateway_name.clone().unwrap_or_default(),
            kubernetes: Kubernetes::from_env(),
            clock: identity::tls_clock(&self.clock),
        })
    }

    fn use_stored_certificates(&mut self) {
        let stored = self.lock_platform().stored_bundle().cloned();
        let Some(bundle) = stored else { return };
        match Identity::new(&bundle, &self.config, &self.budget, &self.clock) {
            Ok(identity) if identity.until > self.clock.unix() => {
                log::info!(
                    "certificates from the state file are valid for {} s more",
                    identity.until - self.clock.unix()
                );
                self.adopt(identity, false);
            }
            Ok(_) => log::info!("the certificates in the state file have expired"),
            Err(error) => log::warn!("the certificates in the state file are of no use: {error}"),
        }
    }

    fn lock_platform(&self) -> std::sync::MutexGuard<'_, Platform> {
        self.platform.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves new tunnels, and dials, with these certificates.
    fn adopt(&mut self, identity: Identity, fresh: bool) {
        match &self.serving {
            Some(serving) => serving.acceptor.replace(&identity.tls),
            None => {
                // The settings were checked at the start.
                let Ok(context) = self.context() else { return };
                self.serving = Some(Arc::new(Serving::new(Acceptor::new(&identity.tls), context)));
            }
        }
        let moved = self.identity.as_ref().is_some_and(|before| before.place != identity.place);
        if moved {
            log::info!("moving to relay {} as gateway {}", identity.place.host, identity.place.gateway_id);
        }
        let until = identity.until;
        self.identity = Some(identity);
        self.handle(Event::Certificates { until, fresh, moved });
    }

    async fn run(&mut self, signals: &mut Signals) -> Ending {
        let watchdog = self.notifier.watchdog_interval();
        loop {
            self.notifier.watchdog();
            if !self.calling
                && let Some(changed) = self.changed.take()
            {
                return Ending::Restart(changed);
            }
            let until = match self.brain.decide(self.now()) {
                Action::Fetch { elsewhere } => {
                    self.fetch(elsewhere);
                    continue;
                }
                Action::Heartbeat => {
                    self.heartbeat();
                    continue;
                }
                Action::Dial => {
                    self.dial();
                    continue;
                }
                Action::GiveUp => return Ending::Exit(self.refusal),
                Action::Wait(until) => until,
            };
            let mut wake = self.started + until;
            if let Some(interval) = watchdog {
                wake = wake.min(Instant::now() + interval);
            }
            tokio::select! {
                report = self.reports.recv() => {
                    if let Some(report) = report {
                        self.take(report);
                    }
                }
                () = sleep_until(wheel::set(wake).into()) => {}
                signal = signals.next() => match signal {
                    Asked::Stop => return Ending::Exit(Exit::Ok),
                    Asked::Reload => self.reload(),
                    Asked::Nudge => self.nudge(),
                },
            }
        }
    }

    /// Runs `work` on the API client's thread and reports its result.
    fn call<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Client, &mut Platform) -> Result<T, PlatformError> + Send + 'static,
        report: fn(Result<T, PlatformError>) -> Report,
    ) -> bool {
        let (platform, reporter) = (self.platform.clone(), self.reporter.clone());
        let spawned = self.client.spawn(
            move |client| work(client, &mut platform.lock().unwrap_or_else(PoisonError::into_inner)),
            // When the loop is gone there is nobody left to tell.
            move |result| drop(reporter.blocking_send(report(result))),
        );
        if let Err(error) = &spawned {
            log::error!("the system refuses a thread: {error}");
        }
        self.calling = spawned.is_ok();
        self.calling
    }

    fn fetch(&mut self, elsewhere: bool) {
        if !self.call(move |client, platform| platform.fetch(client, elsewhere), Report::Fetched) {
            self.handle(Event::FetchFailed(Remedy::Later));
        }
    }

    fn heartbeat(&mut self) {
        if !self.call(|client, platform| platform.heartbeat(client), Report::Beaten) {
            self.handle(Event::HeartbeatFailed(Remedy::Later));
        }
    }

    fn dial(&mut self) {
        let Some(identity) = &self.identity else { return };
        if self.current.as_ref().is_some_and(|current| current.place == identity.place) {
            // The certificates moved away and came back before the other relay was reached.
            let host = &identity.place.host;
            log::info!("relay {host} was never left");
            self.notifier.status(&format!("connected to relay {host}"));
            return self.handle(Event::LinkUp);
        }
        let (place, ssh, reporter) = (identity.place.clone(), identity.ssh.clone(), self.reporter.clone());
        let (proxy, port, clock) = (self.config.relay_proxy.clone(), self.config.relay_port, self.clock.clone());
        self.dialling = true;
        log::debug!("connecting to relay {}:{port}", place.host);
        tokio::spawn(async move {
            let result = match dial(proxy.as_ref(), &place.host, port, limits::DIAL).await {
                Ok(stream) => {
                    Link::establish(stream, ssh, Arc::new(move || clock.unix())).await.map_err(DialFailure::Link)
                }
                Err(error) => Err(DialFailure::Dial(error)),
            };
            drop(reporter.send(Report::Dialled(place, result)).await);
        });
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Dialled(..) => self.dialling = false,
            Report::Fetched(_) | Report::Beaten(_) => {
                self.calling = false;
                let enrolling = self.enrolling && self.lock_platform().is_to_enroll();
                self.enrolling = enrolling;
            }
            Report::Ended { .. } => {}
        }
        match report {
            Report::Fetched(Ok(bundle)) => match Identity::new(&bundle, &self.config, &self.budget, &self.clock) {
                Ok(identity) => {
                    log::info!(
                        "certificates for gateway {} on relay {}, valid for {} s",
                        bundle.gateway_id,
                        bundle.relay_host,
                        identity.until.saturating_sub(self.clock.unix())
                    );
                    self.adopt(identity, true);
                }
                Err(error) => {
                    log::error!("the platform's certificates are of no use: {error}; trying again");
                    self.handle(Event::FetchFailed(Remedy::Later));
                }
            },
            Report::Fetched(Err(error)) => {
                log::error!("{error}");
                self.refusal = error.exit();
                self.handle(Event::FetchFailed(remedy(&error)));
                self.announce("waiting for the platform");
            }
            Report::Beaten(Ok(())) => {
                log::debug!("heartbeat accepted");
                self.handle(Event::HeartbeatDone);
            }
            Report::Beaten(Err(error)) => {
                log::warn!("{error}");
                self.handle(Event::HeartbeatFailed(remedy(&error)));
            }
            Report::Dialled(place, result)
                if self.identity.as_ref().is_some_and(|identity| identity.place != place) =>
            {
                // The certificates moved meanwhile. Nothing is known of the new relay yet.
                log::info!("relay {} is no longer wanted", place.host);
                if let Ok(link) = result {
                    tokio::spawn(async move { link.disconnect().await });
                }
                self.handle(Event::Overtaken);
            }
            Report::Dialled(place, Ok(link)) => self.link_up(place, link),
            Report::Dialled(place, Err(failure)) => {
                self.link_down(&place.host, &failure.to_string(), failure.end());
            }
            Report::Ended { link, served, error } => {
                let Some(current) = self.current.take_if(|current| current.number == link) else { return };
                let short = current.since.elapsed() < limits::OCCUPIED_WITHIN && !served;
                let closed =
                    matches!(error, LinkError::Ssh(Error::LinkClosed(_) | Error::Disconnected(..)) | LinkError::Io(_));
                let end = if short && closed { LinkEnd::Occupied } else { LinkEnd::Lost };
                if self.dialling {
                    // The relay before a move went first; the brain waits for the new one.
                    log::info!("relay {}: {error}", current.place.host);
                    return;
                }
                self.link_down(&current.place.host, &error.to_string(), end);
            }
        }
    }

    fn link_up(&mut self, place: Place, link: Link) {
        let Some(serving) = &self.serving else { return };
        let link = Arc::new(link);
        self.links += 1;
        let current = Current { number: self.links, link: link.clone(), place, since: Instant::now() };
        log::info!("connected to relay {}:{}; tunnels are served", current.place.host, self.config.relay_port);
        let (serving, reporter, number) = (serving.clone(), self.reporter.clone(), current.number);
        tokio::spawn(async move {
            let (served, error) = serving.serve(&link).await;
            drop(reporter.send(Report::Ended { link: number, served, error }).await);
        });
        self.announced = true;
        self.notifier.ready(&format!("connected to relay {}", current.place.host));
        if let Some(old) = self.current.replace(current) {
            // The relay before a move: its tunnels may end in peace.
            tokio::spawn(async move {
                let patience = Instant::now() + limits::DRAIN;
                while old.link.channels() > 0 && Instant::now() < patience {
                    tokio::time::sleep(limits::DRAIN_LOOK).await;
                }
                old.link.disconnect().await;
            });
        }
        self.handle(Event::LinkUp);
    }

    fn link_down(&mut self, host: &str, error: &str, end: LinkEnd) {
        self.handle(Event::LinkDown(end));
        let pause = self.brain.next_dial().map_or(Duration::ZERO, |at| at.saturating_sub(self.started.elapsed()));
        let (port, pause) = (self.config.relay_port, Seconds(pause));
        match end {
            LinkEnd::Occupied => log::warn!(
                "relay {host}:{port} accepted this gateway and closed at once ({error}): it probably still holds an older connection of this gateway; trying again in {pause} s"
            ),
            LinkEnd::Refused | LinkEnd::NotTrusted => {
                log::error!(
                    "relay {host}:{port}: {error}; asking the platform for new certificates, then trying again in {pause} s"
                );
            }
            LinkEnd::Unreachable | LinkEnd::Lost => {
                log::warn!("relay {host}:{port}: {error}; trying again in {pause} s");
            }
        }
        self.announce(&format!("relay {host} is not connected: {error}"));
    }

    /// Tells the service manager how things stand; the first time also that the agent has started: it is usefully trying.
    fn announce(&mut self, status: &str) {
        if self.brain.is_up() {
            return;
        }
        if std::mem::replace(&mut self.announced, true) {
            self.notifier.status(status);
        } else {
            self.notifier.ready(status);
        }
    }

    fn nudge(&mut self) {
        log::info!("the network may have changed: looking after the relay now");
        if let Some(current) = &self.current {
            current.link.probe(limits::PROBE_ANSWER);
        }
        self.handle(Event::Nudge);
    }

    /// Ends tunnels in peace, says goodbye to the relay, saves.
    async fn stop(&mut self, ending: &Ending) {
        if let Ending::Exit(_) = ending {
            self.notifier.stopping("stopping");
        }
        if let Some(current) = self.current.take() {
            if let Some(serving) = &self.serving {
                let open = serving.open();
                if open > 0 {
                    log::info!("stopping: waiting up to {} s for {open} tunnels", limits::DRAIN.as_secs());
                }
                let _all_ended = timeout(limits::DRAIN, serving.drain()).await;
            }
            current.link.disconnect().await;
        }
        if self.enrolling && self.calling {
            // The answer is the only copy of the lasting token, and the call saves it before it reports.
            log::info!("stopping: waiting up to {} s for the answer to the enrolment", limits::DRAIN.as_secs());
            let _answer = timeout(limits::DRAIN, self.reports.recv()).await;
        }
        // A call that is still out holds the platform.
        if let Ok(mut platform) = self.platform.try_lock() {
            platform.save_all();
        }
        log::info!("stopped");
    }
}

fn remedy(error: &PlatformError) -> Remedy {
    match error.next() {
        None => Remedy::Person,
        Some(NextStep::RetryAfter(pause)) => Remedy::After(pause),
        Some(next) if next.is_final() => Remedy::Person,
        Some(_) => Remedy::Later,
    }
}
