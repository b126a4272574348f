//! When a schedule starts something: which times are due, and what becomes of those at which nobody was there.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::cron::Cron;

/// What is no older than this is on time: a replica that took over, or a clock that was nudged, is none of a person's business.
pub const ON_TIME: TimeDelta = TimeDelta::minutes(1);

/// Up to how many missed times are counted: every minute of a month is a long walk, and nobody reads the number.
pub const MOST_COUNTED: usize = 1_000;

/// What to do about times at which nobody was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Start once for all of them.
    #[default]
    RunOnce,
    /// Leave them out.
    Skip,
}

impl Missed {
    /// As on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunOnce => "run_once",
            Self::Skip => "skip",
        }
    }
}

impl FromStr for Missed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::RunOnce, Self::Skip].into_iter().find(|missed| missed.as_str() == text);
        known.ok_or_else(|| format!("unknown policy {text:?}: use run_once or skip"))
    }
}

/// Times that are dealt with as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The first of them.
    pub due: DateTime<Utc>,
    /// How many, up to [`MOST_COUNTED`].
    pub count: i32,
}

/// What there is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Left out.
    pub skip: Option<Times>,
    /// To be started, once.
    pub start: Option<Times>,
    /// When to look again; none when no time is left.
    pub next: Option<DateTime<Utc>>,
}

/// What to do at `now` about a schedule that has been due since `due`.
pub fn plan(cron: &Cron, zone: Tz, missed: Missed, due: DateTime<Utc>, now: DateTime<Utc>) -> Plan {
    let next = cron.next_after(now, zone);
    let times = |until: DateTime<Utc>| {
        let more = std::iter::successors(Some(due), |last| cron.next_after(*last, zone));
        let count = more.take(MOST_COUNTED).take_while(|time| *time <= until).count();
        Times { due, count: i32::try_from(count).unwrap_or(i32::MAX) }
    };
    let earliest = now - ON_TIME;
    if due >= earliest || missed == Missed::RunOnce {
        return Plan { skip: None, start: Some(times(now)), next };
    }
    let on_time = cron.next_after(earliest, zone).filter(|time| *time <= now);
    Plan { skip: Some(times(earliest)), start: on_time.map(|due| Times { due, count: 1 }), next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-11-24T{text}Z").parse().unwrap()
    }

    /// At `now`, of `cron` that has been due since `due`: skipped, started (first time and count), next.
    fn planned(cron: &str, missed: Missed, due: &str, now: &str) -> [String; 3] {
        let plan = plan(&Cron::parse(cron).unwrap(), Tz::UTC, missed, at(due), at(now));
        let shown = |times: Option<Times>| {
            times.map_or_else(|| "-".to_owned(), |times| format!("{} x{}", times.due.format("%H:%M"), times.count))
        };
        [
            shown(plan.skip),
            shown(plan.start),
            plan.next.map_or_else(String::new, |next| next.format("%H:%M").to_string()),
        ]
    }

    #[test]
    fn what_is_due_is_started() {
        for missed in [Missed::RunOnce, Missed::Skip] {
            assert_eq!(planned("0 * * * *", missed, "10:00:00", "10:00:00.2"), ["-", "10:00 x1", "11:00"]);
            assert_eq!(planned("0 * * * *", missed, "10:00:00", "10:00:59"), ["-", "10:00 x1", "11:00"]);
        }
    }

    #[test]
    fn missed_times_start_once_or_are_skipped_as_the_schedule_says() {
        assert_eq!(planned("0 * * * *", Missed::RunOnce, "07:00:00", "10:30:00"), ["-", "07:00 x4", "11:00"]);
        assert_eq!(planned("0 * * * *", Missed::Skip, "07:00:00", "10:30:00"), ["07:00 x4", "-", "11:00"]);
    }

    #[test]
    fn one_that_is_on_time_is_started_even_when_others_were_missed() {
        assert_eq!(planned("0 * * * *", Missed::RunOnce, "07:00:00", "10:00:10"), ["-", "07:00 x4", "11:00"]);
        assert_eq!(planned("0 * * * *", Missed::Skip, "07:00:00", "10:00:10"), ["07:00 x3", "10:00 x1", "11:00"]);
        assert_eq!(planned("* * * * *", Missed::Skip, "09:00:00", "10:00:10"), ["09:00 x60", "10:00 x1", "10:01"]);
    }

    #[test]
    fn a_long_downtime_is_not_counted_to_its_end() {
        assert_eq!(planned("* * * * *", Missed::RunOnce, "00:00:00", "23:00:30"), ["-", "00:00 x1000", "23:01"]);
    }
}
