//! Dates, moments and spans: as Postgres writes them, and as it adds them.
//!
//! All is in UTC, to which the sessions of this server are pinned.

use std::cmp::Ordering;

/// Microseconds in a day.
pub const DAY: i64 = 86_400_000_000;

/// The first moment that Postgres knows, in microseconds since 2000-01-01: 4714-11-24 BC.
const FIRST: i64 = -211_813_488_000_000_000;

/// The moment after the last one: 294277-01-01.
const END: i64 = 9_223_371_331_200_000_000;

/// The first date, in days since 2000-01-01.
const FIRST_DATE: i32 = -2_451_545;

/// The day after the last date: 5874898-01-01.
const END_DATE: i32 = 2_145_031_949;

/// Days from 0000-03-01 to 2000-01-01.
const EPOCH: i64 = 730_425;

/// A span of time. Equal only when all parts are; [`Interval::cmp_span`] compares as Postgres does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interval {
    /// Months, years included.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Interval {
    /// The order of Postgres: a month is 30 days, a day 24 hours.
    pub fn cmp_span(&self, other: &Self) -> Ordering {
        self.span().cmp(&other.span())
    }

    fn span(&self) -> i128 {
        let days = i128::from(self.months) * 30 + i128::from(self.days);
        days * i128::from(DAY) + i128::from(self.micros)
    }

    /// Whether later versions of Postgres take it for one of the infinities, or might after a change of sign.
    pub fn is_extreme(&self) -> bool {
        let extreme = |number: i32| number == i32::MIN || number == i32::MAX;
        extreme(self.months) || extreme(self.days) || self.micros == i64::MIN || self.micros == i64::MAX
    }

    /// The sum. `None` where Postgres overflows.
    pub fn add(&self, other: &Self) -> Option<Self> {
        let sum = Self {
            months: self.months.checked_add(other.months)?,
            days: self.days.checked_add(other.days)?,
            micros: self.micros.checked_add(other.micros)?,
        };
        (!sum.is_extreme()).then_some(sum)
    }

    /// The contrary. `None` where Postgres overflows.
    pub fn negated(&self) -> Option<Self> {
        let negated = Self {
            months: self.months.checked_neg()?,
            days: self.days.checked_neg()?,
            micros: self.micros.checked_neg()?,
        };
        (!negated.is_extreme()).then_some(negated)
    }

    /// From one moment to another, as subtraction gives it: days and the rest. `None` where it overflows or one is
    /// infinite.
    pub fn between(later: i64, earlier: i64) -> Option<Self> {
        if is_infinite(later) || is_infinite(earlier) {
            return None;
        }
        let micros = later.checked_sub(earlier)?;
        Some(Self { months: 0, days: i32::try_from(micros / DAY).ok()?, micros: micros % DAY })
    }

    /// Reads the form that `IntervalStyle` postgres writes: `-1 years +2 mons 3 days -04:05:06.7`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut interval = Self::default();
        let mut words = text.split(' ');
        let mut any = false;
        while let Some(word) = words.next() {
            any = true;
            if word.contains(':') {
                let (negative, clock) = match word.as_bytes().first()? {
                    b'-' => (true, &word[1..]),
                    b'+' => (false, &word[1..]),
                    _ => (false, word),
                };
                let micros = span_of_clock(clock)?;
                interval.micros = if negative { -micros } else { micros };
                return words.next().is_none().then_some(interval);
            }
            let number: i32 = word.parse().ok()?;
            match words.next()? {
                "year" | "years" => interval.months = interval.months.checked_add(number.checked_mul(12)?)?,
                "mon" | "mons" => interval.months = interval.months.checked_add(number)?,
                "day" | "days" => interval.days = number,
                _ => return None,
            }
        }
        any.then_some(interval)
    }
}

/// `HH…:MM:SS[.ffffff]`, with any number of hours.
fn span_of_clock(text: &str) -> Option<i64> {
    let (hours, rest) = text.split_once(':')?;
    let hours = number(hours)?;
    hours.checked_mul(3_600_000_000)?.checked_add(minutes_and_seconds(rest)?)
}

/// A number of digits only.
fn number(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// `MM:SS[.ffffff]`
fn minutes_and_seconds(text: &str) -> Option<i64> {
    let (minutes, seconds) = text.split_once(':')?;
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if minutes.len() != 2 || seconds.len() != 2 || fraction.len() > 6 {
        return None;
    }
    let (minutes, seconds) = (number(minutes)?, number(seconds)?);
    let mut micros = number(fraction)?;
    for _ in fraction.len()..6 {
        micros *= 10;
    }
    (minutes < 60 && seconds < 60).then_some((minutes * 60 + seconds) * 1_000_000 + micros)
}

/// `HH:MM:SS[.ffffff]` → microseconds since midnight; up to 24:00:00.
pub fn parse_time(text: &str) -> Option<i64> {
    let (hours, rest) = text.split_once(':')?;
    if hours.len() != 2 {
        return None;
    }
    let micros = number(hours)? * 3_600_000_000 + minutes_and_seconds(rest)?;
    (micros <= DAY).then_some(micros)
}

/// `YYYY-MM-DD` → days since 2000-01-01, without a look at the bounds of `date`.
fn parse_day(text: &str, before_christ: bool) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if !(4..=7).contains(&year.len()) || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    let year = if before_christ { 1 - year } else { year };
    let valid = (year != 0 || before_christ) && (1..=12).contains(&month) && day >= 1;
    (valid && day <= month_length(year, month)).then(|| days_of(year, month, day))
}

/// Without the mark of years before Christ, and whether it was there.
fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

/// Reads a `date` in ISO form → days since 2000-01-01.
pub fn parse_date(text: &str) -> Option<i32> {
    match text {
        "infinity" => return Some(i32::MAX),
        "-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let (text, before_christ) = era(text);
    date_within(parse_day(text, before_christ)?)
}

/// Reads a `timestamp` in ISO form → microseconds since 2000-01-01.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    parse_moment(text, |clock| Some((clock, 0)))
}

/// Reads a `timestamptz` in ISO form, as a session in UTC writes it.
pub fn parse_timestamptz(text: &str) -> Option<i64> {
    parse_moment(text, |clock| Some((clock.strip_suffix("+00")?, 0)))
}

fn parse_moment(text: &str, zone: fn(&str) -> Option<(&str, i64)>) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, before_christ) = era(text);
    let (day, clock) = text.split_once(' ')?;
    let (clock, offset) = zone(clock)?;
    let day = parse_day(day, before_christ)?.checked_mul(DAY)?;
    within(day.checked_add(parse_time(clock)?)?.checked_sub(offset)?)
}

/// Reads a moment as programs write it: `2024-02-29T12:34:56.789Z`, with `T` or a blank, with a fraction of up to six
/// digits or without, and with a zone in hours and minutes. `zoned`: a moment without a zone is one in UTC, and a date
/// alone its midnight; if not, a zone is not read. `None` for what Postgres may read otherwise.
pub fn read_moment(text: &str, zoned: bool) -> Option<i64> {
    let (day, clock) = match text.len() {
        10 => (text, "00:00:00"),
        _ => text.split_once(['T', ' '])?,
    };
    if day.len() != 10 {
        return None;
    }
    let (clock, offset) = match clock.find(['Z', '+', '-']) {
        Some(at) if zoned => (&clock[..at], zone_offset(&clock[at..])?),
        Some(_) => return None,
        None => (clock, 0),
    };
    let micros = parse_time(clock).filter(|micros| *micros < DAY)?;
    within(parse_day(day, false)?.checked_mul(DAY)?.checked_add(micros)?.checked_sub(offset)?)
}

/// `Z`, `+HH`, `+HHMM`, `+HH:MM` → microseconds east of UTC.
fn zone_offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = match rest.len() {
        2 => (rest, "00"),
        4 => rest.split_at_checked(2)?,
        5 => rest.split_once(':')?,
        _ => return None,
    };
    if hours.len() != 2 {
        return None;
    }
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let offset = (hours * 60 + minutes) * 60_000_000;
    (hours <= 14 && minutes < 60 && sign != "Z").then_some(if sign == "-" { -offset } else { offset })
}

/// Whether a moment is before or after all others.
pub fn is_infinite(moment: i64) -> bool {
    moment == i64::MIN || moment == i64::MAX
}

fn within(moment: i64) -> Option<i64> {
    (FIRST..END).contains(&moment).then_some(moment)
}

/// A date of this many days since 2000-01-01; `None` beyond the bounds of `date`.
pub fn date_within(days: i64) -> Option<i32> {
    i32::try_from(days).ok().filter(|days| (FIRST_DATE..END_DATE).contains(days))
}

/// The midnight at which a date begins; `None` if no timestamp has it.
pub fn midnight(date: i32) -> Option<i64> {
    match date {
        i32::MAX => Some(i64::MAX),
        i32::MIN => Some(i64::MIN),
        _ => within(i64::from(date).checked_mul(DAY)?),
    }
}

/// The date of a moment.
pub fn date_of(moment: i64) -> Option<i32> {
    match moment {
        i64::MAX => Some(i32::MAX),
        i64::MIN => Some(i32::MIN),
        _ => date_within(moment.div_euclid(DAY)),
    }
}

/// The moment that comes after an interval; `None` where Postgres overflows.
pub fn shifted(moment: i64, interval: &Interval) -> Option<i64> {
    if interval.is_extreme() {
        return None;
    }
    if is_infinite(moment) {
        return Some(moment);
    }
    let mut moment = moment;
    if interval.months != 0 {
        let (year, month, day) = civil(moment.div_euclid(DAY));
        let months = year * 12 + month - 1 + i64::from(interval.months);
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        // The last day of a month stands for those that it lacks.
        let day = day.min(month_length(year, month));
        moment = within(days_of(year, month, day).checked_mul(DAY)?.checked_add(moment.rem_euclid(DAY))?)?;
    }
    if interval.days != 0 {
        moment = within(moment.checked_add(i64::from(interval.days).checked_mul(DAY)?)?)?;
    }
    within(moment.checked_add(interval.micros)?)
}

/// Days since 2000-01-01 of a date in the Gregorian calendar; year 0 is 1 BC.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - EPOCH
}

/// Year, month and day of days since 2000-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    match month {
        10.. => (year + 1, month - 9, day),
        _ => (year, month + 3, day),
    }
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_a_thousand_years_is_the_next_one() {
        assert_eq!(days_of(2000, 1, 1), 0);
        let (mut year, mut month, mut day) = (1500, 1, 1);
        for days in days_of(1500, 1, 1)..days_of(2500, 1, 1) {
            assert_eq!(civil(days), (year, month, day));
            assert_eq!(days_of(year, month, day), days);
            day += 1;
            if day > month_length(year, month) {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn months_clamp_to_their_end() {
        let from = parse_timestamp("2024-01-31 12:00:00").unwrap();
        let month = |months| Interval { months, ..Interval::default() };
        assert_eq!(shifted(from, &month(1)), parse_timestamp("2024-02-29 12:00:00"));
        assert_eq!(shifted(from, &month(-2)), parse_timestamp("2023-11-30 12:00:00"));
        assert_eq!(shifted(i64::MAX, &month(1)), Some(i64::MAX));
    }

    #[test]
    fn moments_of_programs_are_read() {
        let expected = parse_timestamptz("2024-02-29 11:04:05.25+00");
        for text in ["2024-02-29T11:04:05.25Z", "2024-02-29 12:34:05.250+01:30", "2024-02-29T11:04:05.25"] {
            assert_eq!(read_moment(text, true), expected, "{text}");
        }
        for text in
            ["", "now", "2024-02-30", "24-02-03", "2024-02-29T24:00:00Z", "2024-02-29T11:04:05.1234567Z"]
        {
            assert_eq!(read_moment(text, true), None, "{text}");
        }
        assert_eq!(read_moment("2024-02-29T11:04:05Z", false), None);
    }
}
