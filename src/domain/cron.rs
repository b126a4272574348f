//! Cron expressions: their syntax, and the times at which they fire in a time zone.
//!
//! An expression has five fields, as in every crontab: minute, hour, day of month, month, day of week; or it is `@hourly`, `@daily`,
//! `@weekly`, `@monthly` or `@yearly`. There are no seconds. `croner` does the matching. This module first rejects mistakes that `croner`
//! accepts silently (empty lists, names in the wrong field, `L` for a minute), because such a schedule would never fire, or not when its
//! author expects.
//!
//! At clock changes (docs/schedules.md explains this to users):
//! - With `*` as its hour field, an expression follows elapsed hours: no hour is skipped or repeated.
//! - Any other hour field means times of day. Times that the clock skips fire once, at the end of the gap, however many there are. A
//!   time that occurs twice fires the first time only.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::offset::LocalResult;
use chrono::{DateTime, NaiveDateTime, Offset, TimeZone, Timelike, Utc};
use chrono_tz::{GapInfo, Tz};
use croner::parser::{CronParser, Seconds, Year};

use super::message::{Message, message};

/// Longest accepted expression, in bytes.
pub const MAX_LENGTH: usize = 100;

/// Edition of the IANA database of time zones in this program, such as `2025b`. Later editions compare greater.
pub const ZONE_EDITION: &str = chrono_tz::IANA_TZDB_VERSION;

/// Maximum number of candidates to check: the minutes of two days, since no clock was ever changed by more.
const MAX_CANDIDATES: usize = 2 * 24 * 60;

/// Rule that a text breaks which is no cron expression or no time zone. The message is a predicate for the field: "must be …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CronError {
    /// The text is longer than [`MAX_LENGTH`] or not ASCII.
    NotPlain,
    /// The number of fields is not five.
    Fields(usize),
    /// The text begins with `@` and is not a known name.
    Nickname,
    /// A field, or an item of its list, is invalid.
    Part {
        /// Name of the field, as a key of the catalogue.
        field: &'static str,
        /// Invalid field or list item.
        part: String,
        /// Accepted values, as a predicate: "must be …".
        rule: Message,
    },
    /// Both day fields restrict the day, and one of them begins with `*`: other crons read that as a day that matches both.
    StarredDay {
        /// Name of the field with `*`, as a key of the catalogue.
        field: &'static str,
        /// The field as it was written.
        part: String,
        /// The same values without `*`.
        instead: String,
    },
    /// No year has a matching day.
    Never,
    /// The IANA database has no such name. The value is a name that differs in case only, if there is one.
    Zone(Option<&'static str>),
}

impl CronError {
    /// Returns the text for people.
    pub fn message(&self) -> Message {
        let message = match self {
            Self::NotPlain => message!("cron.not_plain", max = MAX_LENGTH),
            Self::Fields(count) => message!("cron.fields", count = *count),
            Self::Nickname => message!("cron.nickname"),
            Self::Part { field, part, rule } => {
                message!("cron.part", field = Message::new(field), part = format!("{part:?}"), rule = rule.clone())
            }
            Self::StarredDay { field, part, instead } => {
                let part = format!("{part:?}");
                return message!("cron.starred_day", field = Message::new(field), part, instead);
            }
            Self::Never => message!("cron.never"),
            Self::Zone(None) => return message!("cron.zone"),
            Self::Zone(Some(name)) => return message!("cron.zone_near", name = *name),
        };
        message.with("example", message!("cron.example"))
    }
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}

impl std::error::Error for CronError {}

/// Validated cron expression that fires at least once.
#[derive(Clone, Debug)]
pub struct Cron {
    fields: String,
    pattern: croner::Cron,
    /// The hour field is `*`: the expression follows elapsed hours, not the time of day.
    follows_elapsed_hours: bool,
}

impl Cron {
    /// Parses an expression.
    ///
    /// # Errors
    /// The rule that the text breaks, with an example; also if the expression can never fire.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        if text.len() > MAX_LENGTH || !text.is_ascii() {
            return Err(CronError::NotPlain);
        }
        let text = text.trim().to_ascii_uppercase();
        let text = if text.starts_with('@') { nickname(&text)? } else { &text };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        if fields.len() != FIELDS.len() {
            return Err(CronError::Fields(fields.len()));
        }
        for (rule, field) in FIELDS.iter().zip(&fields) {
            rule.check(field)?;
        }
        check_days(&fields)?;
        let days_of_week: Vec<String> = fields[4].split(',').map(day_of_week_numbers).collect();
        let explicit = format!("{} {}", fields[..4].join(" "), days_of_week.join(","));
        let (follows_elapsed_hours, fields) = (fields[1] == "*", fields.join(" "));
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(&explicit).map_err(|error| CronError::Part {
            field: "cron.expression",
            part: fields.clone(),
            rule: message!("cron.not_understood", error = error.to_string()),
        })?;
        let cron = Self { fields, pattern, follows_elapsed_hours };
        if cron.has_a_day() { Ok(cron) } else { Err(CronError::Never) }
    }

    /// Returns the first instant after `after` at which the expression fires in the zone; none only at the end of the calendar.
    pub fn next_after(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let offset = zone.offset_from_utc_datetime(&after.naive_utc()).fix();
        let mut wall = after.naive_utc().checked_add_offset(offset)?.with_nanosecond(0)?;
        // In an hour that occurs twice, a time of the second pass may have an earlier wall time than `after`.
        if self.follows_elapsed_hours
            && let LocalResult::Ambiguous(first, second) = zone.from_local_datetime(&wall)
        {
            wall = wall.checked_sub_signed(second - first)?;
        }
        let mut soonest: Option<DateTime<Utc>> = None;
        for _ in 0..MAX_CANDIDATES {
            wall = self.pattern.find_next_occurrence(&wall.and_utc(), false).ok()?.naive_utc();
            let (first, second) = self.instants(wall, zone);
            for instant in [first, second].into_iter().flatten().filter(|instant| *instant > after) {
                soonest = Some(soonest.map_or(instant, |known| known.min(instant)));
            }
            // Later candidates have later first passes, and a second pass is later than its first.
            if first.is_some_and(|first| first > after) {
                return soonest;
            }
        }
        soonest
    }

    /// Returns the next `count` instants after `after`.
    pub fn upcoming(&self, after: DateTime<Utc>, zone: Tz, count: usize) -> Vec<DateTime<Utc>> {
        std::iter::successors(self.next_after(after, zone), |last| self.next_after(*last, zone)).take(count).collect()
    }

    /// Returns the five fields in upper case, separated by single spaces; names with `@` are expanded.
    pub fn as_str(&self) -> &str {
        &self.fields
    }

    /// Returns the instants at which a matching wall time fires: first and second pass.
    fn instants(&self, wall: NaiveDateTime, zone: Tz) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        match zone.from_local_datetime(&wall) {
            LocalResult::Single(one) => (Some(one.to_utc()), None),
            LocalResult::Ambiguous(first, second) => {
                (Some(first.to_utc()), self.follows_elapsed_hours.then(|| second.to_utc()))
            }
            LocalResult::None if self.follows_elapsed_hours => (None, None),
            LocalResult::None => (GapInfo::new(&wall, &zone).and_then(|gap| gap.end).map(|end| end.to_utc()), None),
        }
    }

    /// Returns true if any day matches. 28 years contain every possible calendar; most expressions match one of the first days.
    fn has_a_day(&self) -> bool {
        let pattern = &self.pattern.pattern;
        let fits = |year, month, day| matches!(pattern.day_match(year, month, day), Ok(true));
        (2001..=2028).any(|year| {
            (1..=12).any(|month| {
                matches!(pattern.month_match(month), Ok(true)) && (1..=31).any(|day| fits(year, month, day))
            })
        })
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fields)
    }
}

/// Looks up a time zone by its name in the IANA database that this program was built with.
///
/// # Errors
/// [`CronError::Zone`] if there is no such name; names are case-sensitive.
pub fn zone(name: &str) -> Result<Tz, CronError> {
    Tz::from_str(name).map_err(|_| {
        CronError::Zone(
            chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).find(|zone| zone.eq_ignore_ascii_case(name)),
        )
    })
}

fn nickname(text: &str) -> Result<&'static str, CronError> {
    match text {
        "@HOURLY" => Ok("0 * * * *"),
        "@DAILY" | "@MIDNIGHT" => Ok("0 0 * * *"),
        "@WEEKLY" => Ok("0 0 * * 0"),
        "@MONTHLY" => Ok("0 0 1 * *"),
        "@YEARLY" | "@ANNUALLY" => Ok("0 0 1 1 *"),
        _ => Err(CronError::Nickname),
    }
}

/// Refuses `*` with more behind it in one day field while the other is restricted too. A day matches when either field does; crontab means both
/// then, because it looks only at the first character.
fn check_days(fields: &[&str]) -> Result<(), CronError> {
    let days = [(2, "1-31"), (4, "0-6")];
    if days.iter().any(|&(at, _)| fields[at] == "*") {
        return Ok(());
    }
    match days.iter().find(|&&(at, _)| fields[at].starts_with('*')) {
        None => Ok(()),
        Some(&(at, all)) => Err(CronError::StarredDay {
            field: FIELDS[at].name,
            part: fields[at].to_owned(),
            instead: fields[at].replace('*', all),
        }),
    }
}

/// Writes a step or a range of the day of week as the numbers it means, 0 to 6. 7 is a name of Sunday and no eighth day: croner would count it as the
/// end of `MON/2`. Any other item is returned unchanged.
fn day_of_week_numbers(item: &str) -> String {
    let field = &FIELDS[4];
    let (base, step) = item.split_once('/').map_or((item, None), |(base, step)| (base, Some(step)));
    let range = match (base.split_once('-'), step) {
        (Some((from, to)), _) => field.value(from).zip(field.value(to)),
        (None, Some(_)) if base == "*" => Some((0, 6)),
        (None, Some(_)) => field.value(base).map(|from| (from % 7, 6)),
        (None, None) => None,
    };
    let Some((from, to)) = range else { return item.to_owned() };
    // FRI-SUN: the Sunday at the week's end.
    let to = if to < from { to + 7 } else { to };
    let days = (from..=to).step_by(usize::from(step.and_then(number).unwrap_or(1)).max(1));
    let days: BTreeSet<u8> = days.map(|day| day % 7).collect();
    days.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

/// Syntax of one field.
struct Field {
    name: &'static str,
    range: RangeInclusive<u8>,
    /// Names of the numbers, from the start of the range.
    names: &'static [&'static str],
    /// Accepts further forms of an item.
    also: fn(&Field, &str) -> bool,
    /// Description of those forms in error messages, as a key of the catalogue.
    also_described: &'static str,
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [Field; 5] = [
    Field { name: "cron.minute", range: 0..=59, names: &[], also: |_, _| false, also_described: "cron.no_more" },
    Field { name: "cron.hour", range: 0..=23, names: &[], also: |_, _| false, also_described: "cron.no_more" },
    Field {
        name: "cron.day_of_month",
        range: 1..=31,
        names: &[],
        also: |field, item| item == "L" || item.strip_suffix('W').is_some_and(|day| field.value(day).is_some()),
        also_described: "cron.more_days_of_month",
    },
    Field { name: "cron.month", range: 1..=12, names: MONTHS, also: |_, _| false, also_described: "cron.more_months" },
    Field {
        name: "cron.day_of_week",
        range: 0..=7,
        names: DAYS,
        also: |field, item| match item.split_once('#') {
            Some((day, which)) => field.value(day).is_some() && matches!(which, "1" | "2" | "3" | "4" | "5"),
            // croner accepts 7 as Sunday everywhere except before `L`.
            None => item.strip_suffix('L').is_some_and(|day| field.value(day).is_some_and(|day| day < 7)),
        },
        also_described: "cron.more_days_of_week",
    },
];

impl Field {
    fn check(&self, field: &str) -> Result<(), CronError> {
        match field.split(',').find(|item| !self.takes(item)) {
            None => Ok(()),
            Some(item) => Err(CronError::Part {
                field: self.name,
                part: item.to_owned(),
                rule: message!(
                    "cron.values",
                    first = *self.range.start(),
                    last = *self.range.end(),
                    also = Message::new(self.also_described),
                ),
            }),
        }
    }

    fn takes(&self, item: &str) -> bool {
        let (base, step) = item.split_once('/').map_or((item, None), |(base, step)| (base, Some(step)));
        let step_fits =
            step.is_none_or(|step| number(step).is_some_and(|step| (1..=*self.range.end()).contains(&step)));
        let base_fits = base == "*"
            || self.value(base).is_some()
            || base.split_once('-').is_some_and(|(from, to)| match (self.value(from), self.value(to)) {
                (Some(from), Some(to)) => from <= to || (to == 0 && self.names == DAYS && !base.ends_with('0')),
                _ => false,
            });
        (base_fits && step_fits) || (self.also)(self, item)
    }

    fn value(&self, text: &str) -> Option<u8> {
        let named =
            self.names.iter().zip(*self.range.start()..).find(|(name, _)| **name == text).map(|(_, value)| value);
        named.or_else(|| number(text)).filter(|value| self.range.contains(value))
    }
}

/// Parses one or two digits, without a sign, so that nothing can overflow.
fn number(text: &str) -> Option<u8> {
    (matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
#[path = "cron_tests.rs"]
mod tests;
