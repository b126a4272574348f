//! Cron expressions: which texts are one, and when they fire in a time zone.
//!
//! Five fields, as in every crontab: minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`,
//! `@yearly`. There are no seconds. `croner` does the matching; what it would take silently (empty lists, names in the wrong field, `L`
//! for a minute) is refused here first, because such a schedule would never fire, or not when its maker thinks.
//!
//! Where clocks change (docs/schedules.md says it to users):
//! - An hour field of `*` runs through: by the hours that pass, nothing is left out and nothing comes twice too early.
//! - Any other hour means a time of day. One that the clock leaps over fires once, at the end of the leap, however many there are. One that
//!   comes twice fires the first time.

use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::offset::LocalResult;
use chrono::{DateTime, NaiveDateTime, Offset, TimeZone, Timelike, Utc};
use chrono_tz::{GapInfo, Tz};
use croner::parser::{CronParser, Seconds, Year};

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 100;

/// A good one, for whoever wrote another.
pub const EXAMPLE: &str = "30 6 * * MON-FRI (half past six on workdays)";

/// Two days of minutes: no clock was ever put back or forth by more.
const MOST_LOOKED_AT: usize = 2 * 24 * 60;

/// Why a text is no cron expression or no time zone: a sentence for the field that it came in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// More than [`MAX_LENGTH`], or not plain ASCII.
    #[error("must be at most {MAX_LENGTH} characters of ASCII, such as {EXAMPLE}")]
    NotPlain,
    /// Another number of fields.
    #[error(
        "must have 5 fields (minute, hour, day of month, month, day of week) and has {0}; seconds and years are not supported; such as {EXAMPLE}"
    )]
    Fields(usize),
    /// A name with `@` that there is not.
    #[error("must be one of @hourly, @daily, @weekly, @monthly, @yearly, or 5 fields such as {EXAMPLE}")]
    Nickname,
    /// A field, or an item of its list, means nothing.
    #[error("{field}: {part:?} {rule}; such as {EXAMPLE}")]
    Part {
        /// Which of the five.
        field: &'static str,
        /// What stands there.
        part: String,
        /// What may.
        rule: String,
    },
    /// No calendar has such a day.
    #[error("never fires: there is no such day in these months (30 February is none); such as {EXAMPLE}")]
    Never,
    /// The IANA database has no such name; perhaps another spelling of it.
    #[error("is no time zone; must be a name of the IANA database such as Europe/Berlin, Asia/Seoul or UTC{}", near(.0.as_deref()))]
    Zone(Option<&'static str>),
}

fn near(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// When something is to happen, again and again.
#[derive(Clone, Debug)]
pub struct Cron {
    fields: String,
    pattern: croner::Cron,
    /// The hour is `*`: by the hours that pass, not by the time of day.
    runs_through: bool,
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// The rule that it breaks, with an example; also when it can never fire.
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
        let (runs_through, fields) = (fields[1] == "*", fields.join(" "));
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(&fields).map_err(|error| CronError::Part {
            field: "expression",
            part: fields.clone(),
            rule: format!("is not understood ({error})"),
        })?;
        let cron = Self { fields, pattern, runs_through };
        if cron.has_a_day() { Ok(cron) } else { Err(CronError::Never) }
    }

    /// The first instant after `after` at which it fires in the zone; none only at the end of the calendar.
    pub fn next_after(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let offset = zone.offset_from_utc_datetime(&after.naive_utc()).fix();
        let mut wall = after.naive_utc().checked_add_offset(offset)?.with_nanosecond(0)?;
        // In an hour that comes twice, what fires in its second pass may stand before `after` on the clock's face.
        if self.runs_through
            && let LocalResult::Ambiguous(first, second) = zone.from_local_datetime(&wall)
        {
            wall = wall.checked_sub_signed(second - first)?;
        }
        let mut soonest: Option<DateTime<Utc>> = None;
        for _ in 0..MOST_LOOKED_AT {
            wall = self.pattern.find_next_occurrence(&wall.and_utc(), false).ok()?.naive_utc();
            let (first, second) = self.instants(wall, zone);
            for instant in [first, second].into_iter().flatten().filter(|instant| *instant > after) {
                soonest = Some(soonest.map_or(instant, |known| known.min(instant)));
            }
            // First passes only grow from here on, and second ones are later than their first.
            if first.is_some_and(|first| first > after) {
                return soonest;
            }
        }
        soonest
    }

    /// The next `count` of them.
    pub fn upcoming(&self, after: DateTime<Utc>, zone: Tz, count: usize) -> Vec<DateTime<Utc>> {
        std::iter::successors(self.next_after(after, zone), |last| self.next_after(*last, zone)).take(count).collect()
    }

    /// The five fields, in capitals and with one space between them; names with `@` as what they stand for.
    pub fn as_str(&self) -> &str {
        &self.fields
    }

    /// The instants of a time of day that the expression names.
    fn instants(&self, wall: NaiveDateTime, zone: Tz) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        match zone.from_local_datetime(&wall) {
            LocalResult::Single(one) => (Some(one.to_utc()), None),
            LocalResult::Ambiguous(first, second) => (Some(first.to_utc()), self.runs_through.then(|| second.to_utc())),
            LocalResult::None if self.runs_through => (None, None),
            LocalResult::None => (GapInfo::new(&wall, &zone).and_then(|gap| gap.end).map(|end| end.to_utc()), None),
        }
    }

    /// Whether any day fits. 28 years have every calendar there is; most expressions fit on the first days that are looked at.
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

/// As it is stored and shown.
impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fields)
    }
}

/// A time zone by its name in the IANA database, as this program was built with it.
///
/// # Errors
/// There is none of that name; names are told apart by case.
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

/// What may stand in a field.
struct Field {
    name: &'static str,
    range: RangeInclusive<u8>,
    /// Names for the numbers from the range's start on.
    names: &'static [&'static str],
    /// What else an item may be.
    also: fn(&Field, &str) -> bool,
    also_said: &'static str,
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", range: 0..=59, names: &[], also: |_, _| false, also_said: "" },
    Field { name: "hour", range: 0..=23, names: &[], also: |_, _| false, also_said: "" },
    Field {
        name: "day of month",
        range: 1..=31,
        names: &[],
        also: |field, item| item == "L" || item.strip_suffix('W').is_some_and(|day| field.value(day).is_some()),
        also_said: ", L (the last day), 15W (the workday nearest the 15th)",
    },
    Field { name: "month", range: 1..=12, names: MONTHS, also: |_, _| false, also_said: ", JAN to DEC" },
    Field {
        name: "day of week",
        range: 0..=7,
        names: DAYS,
        also: |field, item| match item.split_once('#') {
            Some((day, which)) => field.value(day).is_some() && matches!(which, "1" | "2" | "3" | "4" | "5"),
            // 7 is a Sunday for croner everywhere but here.
            None => item.strip_suffix('L').is_some_and(|day| field.value(day).is_some_and(|day| day < 7)),
        },
        also_said: ", SUN to SAT (0 and 7 are Sunday), MON#1 (the month's first Monday), FRIL (its last Friday)",
    },
];

impl Field {
    fn check(&self, field: &str) -> Result<(), CronError> {
        match field.split(',').find(|item| !self.takes(item)) {
            None => Ok(()),
            Some(item) => Err(CronError::Part {
                field: self.name,
                part: item.to_owned(),
                rule: format!(
                    "must be *, {0} to {1}, a range such as {0}-{1}, a step such as */2{2}, or a list of these with commas",
                    self.range.start(),
                    self.range.end(),
                    self.also_said
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

/// One or two digits: no sign, and nothing that overflows.
fn number(text: &str) -> Option<u8> {
    (matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
#[path = "cron_tests.rs"]
mod tests;
