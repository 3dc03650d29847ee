//! Dates: seconds since 1970-01-01T00:00:00Z (`unix`) to and from the texts that people and HTTP use. Proleptic
//! Gregorian calendar, no leap seconds, years 1970 to 9999.

use std::fmt;
use std::time::Duration;

const DAY: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01. Counting years from March puts the leap day at the end of a year.
const EPOCH: u64 = 719_468;
/// Days in 400 years, the calendar's period.
const ERA: u64 = 146_097;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Shows a `unix` time as RFC 3339: `2026-03-01T04:05:06Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc(
    /// Seconds since 1970.
    pub u64,
);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / DAY, self.0 % DAY);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Shows a duration as seconds with one decimal, rounded down: `2.5`. Without floating point, whose formatting takes 8 KB of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(
    /// The duration.
    pub Duration,
);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.as_secs(), self.0.subsec_millis() / 100) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, tenths) => write!(f, "{whole}.{tenths}"),
        }
    }
}

/// An RFC 3339 time with `Z` or a numeric offset; a fraction of a second is dropped. `None` when malformed or before 1970.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let date = date.as_bytes();
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let days = days(number(&date[..4])?, number(&date[5..7])?, number(&date[8..])?)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, mut zone) = (rest.get(..8)?, rest.get(8..)?);
    if let Some(fraction) = zone.strip_prefix('.') {
        let end = fraction.find(|c: char| !c.is_ascii_digit())?;
        if end == 0 {
            return None;
        }
        zone = &fraction[end..];
    }
    let local = days * DAY + seconds(clock)?;
    match zone.as_bytes() {
        b"Z" | b"z" => Some(local),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'+' { local.checked_sub(offset) } else { Some(local + offset) }
        }
        _ => None,
    }
}

/// An HTTP date in the one form that senders may use (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn parse_http_date(text: &str) -> Option<u64> {
    let (_weekday, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year, clock, zone) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if zone != "GMT" || parts.next().is_some() || day.len() != 2 || year.len() != 4 {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    Some(days(number(year.as_bytes())?, month, number(day.as_bytes())?)? * DAY + seconds(clock)?)
}

/// `HH:MM:SS` in seconds of the day. A leap second (`:60`) counts as the second before it.
fn seconds(clock: &str) -> Option<u64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *clock.as_bytes() else {
        return None;
    };
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second.min(59))
}

/// A decimal number of a few ASCII digits.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

/// Days since 1970 of a calendar date, `None` when there is no such date.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let from_march = (month + 9) % 12;
    let year_from_march = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let count = 365 * year_from_march + year_from_march / 4 - year_from_march / 100 + year_from_march / 400 + of_year;
    let days = count.checked_sub(EPOCH)?;
    (civil(days) == (year, month, day)).then_some(days)
}

/// Year, month (1 to 12) and day (1 to 31) of a count of days since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH;
    let (era, of_era) = (days / ERA, days % ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_a_decimal_where_it_says_something() {
        for (millis, text) in [(0, "0"), (99, "0"), (100, "0.1"), (2_550, "2.5"), (60_000, "60")] {
            assert_eq!(Seconds(Duration::from_millis(millis)).to_string(), text);
        }
    }

    #[test]
    fn known_dates_both_ways() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_772_337_906, "2026-03-01T04:05:06Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(unix).to_string(), text);
            assert_eq!(parse_rfc3339(text), Some(unix), "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_round_trips() {
        let mut last = (1969, 12, 31);
        for day in 0..ERA {
            let date = civil(day);
            assert!(date > last, "{date:?} after {last:?}");
            assert_eq!(days(date.0, date.1, date.2), Some(day));
            last = date;
        }
    }

    #[test]
    fn rfc3339_fractions_and_offsets() {
        assert_eq!(parse_rfc3339("2026-03-01T04:05:06.789Z"), Some(1_772_337_906));
        assert_eq!(parse_rfc3339("2026-03-01T06:05:06+02:00"), Some(1_772_337_906));
        assert_eq!(parse_rfc3339("2026-02-28T22:35:06-05:30"), Some(1_772_337_906));
    }

    #[test]
    fn http_dates() {
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_http_date("Sun, 01 Mar 2026 04:05:06 GMT"), Some(1_772_337_906));
        for bad in [
            "",
            "soon",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 6 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn impossible_dates_are_refused() {
        for bad in [
            "2025-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2026-01-01T00:00:00+99:00",
            "2026-01-01 00:00",
            "2026\u{2011}01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }
}
