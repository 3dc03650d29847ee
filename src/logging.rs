//! The log: one line per event on standard error, for a person, a syslog or the journal.
//!
//! What peers say is escaped, a line is bounded, and an event that repeats is counted instead of printed: a relay that
//! is down for a night leaves a few lines a minute, not a full flash.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use heapless::{String, Vec};
use log::{Level, Record};

use crate::calendar::Utc;
use crate::clock;
use crate::escape::write_escaped;
use crate::limits::{LOG_HEAD_BYTES, LOG_LINE_BYTES, LOG_REPEATS, LOG_WINDOW};

/// What stands before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `warning: `, for log collectors that add the time themselves (procd, Docker).
    Plain,
    /// `2026-03-01T04:05:06Z warning: `, for a terminal or a file.
    Time,
    /// `<4>`, the priority prefix that the journal and `logger --prio-prefix` read (`sd-daemon(3)`).
    Syslog,
}

impl Style {
    /// The journal gets priorities, a terminal gets times, everything else gets plain lines.
    ///
    /// `journal_stream` is the variable `JOURNAL_STREAM`: device and inode of the journal's socket. They must be those
    /// of standard error, or this process inherited the variable and was redirected (`systemd.exec(5)`).
    pub fn detect(journal_stream: Option<&str>) -> Self {
        let stderr = std::fs::metadata("/proc/self/fd/2").map(|file| format!("{}:{}", file.dev(), file.ino()));
        if journal_stream.is_some() && stderr.ok().as_deref() == journal_stream {
            Style::Syslog
        } else if io::stderr().is_terminal() {
            Style::Time
        } else {
            Style::Plain
        }
    }
}

static REPEATS: Mutex<Repeats> = Mutex::new(Repeats::new());
static STARTED: OnceLock<Instant> = OnceLock::new();
static STANDING: RwLock<Option<Standing>> = RwLock::new(None);

/// How the log is kept until [`init`] is called again.
struct Standing {
    logger: env_logger::Logger,
    style: Style,
}

/// The `log` crate takes one logger for good: this one, which looks up how things stand.
struct Replaceable;

impl log::Log for Replaceable {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        let standing = STANDING.read().unwrap_or_else(PoisonError::into_inner);
        standing.as_ref().is_some_and(|standing| standing.logger.enabled(metadata))
    }

    fn log(&self, record: &Record) {
        let standing = STANDING.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = &*standing {
            standing.logger.log(record);
        }
    }

    fn flush(&self) {}
}

/// Starts logging, or goes on otherwise. `filter` is a level, or a list of `module=level` (checked by the configuration). Other crates'
/// messages are held at warnings unless they are named: at `debug` an HTTP library prints what it sends.
pub fn init(filter: &str, style: Style) {
    let started = *STARTED.get_or_init(Instant::now);
    let mut builder = env_logger::Builder::new();
    builder.filter_level(log::LevelFilter::Warn);
    builder.filter_module(env!("CARGO_CRATE_NAME"), log::LevelFilter::Info);
    for part in filter.split(',').map(str::trim) {
        match part.parse() {
            Ok(level) => builder.filter_module(env!("CARGO_CRATE_NAME"), level),
            Err(_) => builder.parse_filters(part),
        };
    }
    builder.format(move |out, record| event(out, style, started.elapsed(), record));
    let logger = builder.build();
    log::set_max_level(logger.filter());
    *STANDING.write().unwrap_or_else(PoisonError::into_inner) = Some(Standing { logger, style });
    // It is an error that there is one already: this one.
    let _ = log::set_logger(&Replaceable);
}

/// Prints the counts of repeats that are still held back. To be called before the process ends.
pub fn flush() {
    let standing = STANDING.read().unwrap_or_else(PoisonError::into_inner);
    let Some(Standing { style, .. }) = *standing else { return };
    let mut repeats = REPEATS.lock().unwrap_or_else(PoisonError::into_inner);
    repeats.expire(Duration::MAX, |held| {
        // Standard error is all there is to complain to.
        let _ = print_held(&mut io::stderr(), style, held);
    });
}

fn event(out: &mut impl io::Write, style: Style, now: Duration, record: &Record) -> io::Result<()> {
    let mut line = Line::default();
    // A line takes any write: it cuts what is too long.
    let _ = write!(line, "{}", record.args());
    if record.level() <= Level::Info {
        let mut result = Ok(());
        let mut repeats = REPEATS.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = repeats.admit(now, record.level(), line.text(), |held| result = print_held(out, style, held));
        drop(repeats);
        result?;
        if !fresh {
            return Ok(());
        }
    }
    print(out, style, record.level(), format_args!("{}", line.text()))
}

fn print(out: &mut impl io::Write, style: Style, level: Level, message: fmt::Arguments) -> io::Result<()> {
    let name = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    match style {
        Style::Plain => writeln!(out, "{name}: {message}"),
        Style::Time => writeln!(out, "{} {name}: {message}", Utc(clock::system())),
        Style::Syslog => {
            // syslog(3): 3 LOG_ERR, 4 LOG_WARNING, 6 LOG_INFO, 7 LOG_DEBUG.
            let priority = match level {
                Level::Error => 3,
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            };
            writeln!(out, "<{priority}>{message}")
        }
    }
}

fn print_held(out: &mut impl io::Write, style: Style, held: &Held) -> io::Result<()> {
    print(
        out,
        style,
        held.level,
        format_args!("{} more times within {} s: {}", held.extra, LOG_WINDOW.as_secs(), held.head),
    )
}

/// A message of bounded length in the making, without control characters.
#[derive(Default)]
struct Line {
    text: String<LOG_LINE_BYTES>,
    cut: bool,
}

impl Line {
    fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            // Room for the longest escape, `\u{10ffff}`, and the `…`.
            if self.text.capacity() - self.text.len() < 13 {
                if !self.cut {
                    self.cut = true;
                    let _ = self.text.push('…');
                }
                break;
            }
            write_escaped(&mut self.text, c)?;
        }
        Ok(())
    }
}

/// A message that was printed, and how often it was held back since.
struct Held {
    since: Duration,
    hash: u64,
    extra: u32,
    level: Level,
    head: String<LOG_HEAD_BYTES>,
}

/// The messages of the last minute. Times are durations since some start.
struct Repeats {
    held: Vec<Held, LOG_REPEATS>,
}

impl Repeats {
    const fn new() -> Self {
        Self { held: Vec::new() }
    }

    /// Whether to print this message: it is the first of its kind within the window. Counts that are complete go to
    /// `summary` before.
    fn admit(&mut self, now: Duration, level: Level, text: &str, mut summary: impl FnMut(&Held)) -> bool {
        self.expire(now, &mut summary);
        let hash = fnv1a(level, text);
        if let Some(held) = self.held.iter_mut().find(|held| held.hash == hash) {
            held.extra = held.extra.saturating_add(1);
            return false;
        }
        if self.held.is_full() {
            // The oldest is the first: entries are added at the end and keep their order.
            let oldest = self.held.remove(0);
            if oldest.extra > 0 {
                summary(&oldest);
            }
        }
        let mut head = String::new();
        for c in text.chars() {
            if head.push(c).is_err() {
                break;
            }
        }
        // There is room: the table is not full here.
        let _ = self.held.push(Held { since: now, hash, extra: 0, level, head });
        true
    }

    /// Forgets what is older than the window at `now`.
    fn expire(&mut self, now: Duration, mut summary: impl FnMut(&Held)) {
        self.held.retain(|held| {
            let fresh = now.saturating_sub(held.since) < LOG_WINDOW;
            if !fresh && held.extra > 0 {
                summary(held);
            }
            fresh
        });
    }
}

/// FNV-1a, 64 bits: small, and nobody gains by a collision in a log.
fn fnv1a(level: Level, text: &str) -> u64 {
    let bytes = text.bytes().chain([level as u8]);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(style: Style, level: Level, message: &str) -> std::string::String {
        let mut out = std::vec::Vec::new();
        let mut line = Line::default();
        write!(line, "{message}").unwrap();
        print(&mut out, style, level, format_args!("{}", line.text())).unwrap();
        std::string::String::from_utf8(out).unwrap()
    }

    #[test]
    fn styles() {
        assert_eq!(line(Style::Plain, Level::Warn, "relay gone"), "warning: relay gone\n");
        assert_eq!(line(Style::Syslog, Level::Error, "x"), "<3>x\n");
        assert_eq!(line(Style::Syslog, Level::Trace, "x"), "<7>x\n");
        let timed = line(Style::Time, Level::Info, "x");
        assert!(timed.ends_with("Z info: x\n") && timed.starts_with("20"), "{timed}");
    }

    #[test]
    fn peers_cannot_forge_lines_nor_flood() {
        assert_eq!(line(Style::Plain, Level::Info, "a\n<0>b\u{1b}[2J"), "info: a\\n<0>b\\u{1b}[2J\n");
        let long = line(Style::Plain, Level::Info, &"é\n".repeat(5_000));
        assert!(long.len() <= "info: ".len() + LOG_LINE_BYTES + 1, "{}", long.len());
        assert!(long.ends_with("…\n"), "{long}");
    }

    /// Feeds `(second, text)` and returns what is printed.
    fn feed(repeats: &mut Repeats, events: &[(u64, &str)]) -> std::vec::Vec<std::string::String> {
        let mut printed = std::vec::Vec::new();
        for (second, text) in events {
            let mut summaries = std::vec::Vec::new();
            let fresh = repeats.admit(Duration::from_secs(*second), Level::Warn, text, |held| {
                summaries.push(format!("+{} {}", held.extra, held.head))
            });
            printed.extend(summaries);
            if fresh {
                printed.push((*text).to_owned());
            }
        }
        printed
    }

    #[test]
    fn repeats_are_counted_and_told_when_the_window_ends() {
        let window = LOG_WINDOW.as_secs();
        let events = [
            (0, "down"),
            (1, "down"),
            (2, "up"),
            (3, "down"),
            (window, "down"),
            (window + 1, "down"),
            (3 * window, "up"),
        ];
        assert_eq!(feed(&mut Repeats::new(), &events), ["down", "up", "+2 down", "down", "+1 down", "up"]);
    }

    #[test]
    fn the_table_is_bounded_and_loses_no_count() {
        let mut repeats = Repeats::new();
        assert_eq!(feed(&mut repeats, &[(0, "first"), (0, "first")]), ["first"]);
        let mut printed = std::vec::Vec::new();
        for i in 0..LOG_REPEATS {
            printed.extend(feed(&mut repeats, &[(1, &format!("other {i}"))]));
        }
        assert!(printed.contains(&"+1 first".to_owned()), "{printed:?}");
        assert_eq!(repeats.held.len(), LOG_REPEATS);
    }

    #[test]
    fn a_level_is_part_of_the_message() {
        let mut repeats = Repeats::new();
        assert!(repeats.admit(Duration::ZERO, Level::Warn, "x", |_| ()));
        assert!(repeats.admit(Duration::ZERO, Level::Error, "x", |_| ()));
    }

    #[test]
    fn the_journal_is_believed_only_when_it_is_our_stderr() {
        let file = std::fs::metadata("/proc/self/fd/2").unwrap();
        assert_eq!(Style::detect(Some(&format!("{}:{}", file.dev(), file.ino()))), Style::Syslog);
        assert_ne!(Style::detect(Some("1:1")), Style::Syslog);
        assert_ne!(Style::detect(None), Style::Syslog);
    }

    #[test]
    fn the_ram_it_costs() {
        assert!(size_of::<Repeats>() <= 2_700, "{}", size_of::<Repeats>());
    }
}
