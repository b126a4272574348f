//! Due times of a schedule: which to start, which to skip as missed, and when the next one is.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::cron::Cron;
use super::message::{Message, message};

/// Tolerance for a late start: a due time no older than this counts as on time. A takeover by another replica or a clock adjustment is no
/// concern of users.
pub const ON_TIME: TimeDelta = TimeDelta::minutes(1);

/// Maximum number of missed times that are counted: iterating over every minute of a month takes long, and a larger number has no use.
pub const MAX_COUNTED: usize = 1_000;

/// Policy for due times that were missed because no replica was running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "snake_case", parse_err_ty = Message, parse_err_fn = unknown_policy)]
pub enum Missed {
    /// Start one run for all missed times.
    #[default]
    RunOnce,
    /// Skip all missed times.
    Skip,
}

impl Missed {
    /// Returns the name used on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn unknown_policy(text: &str) -> Message {
    message!("rule.missed", value = format!("{text:?}"))
}

/// Due times that are handled together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueTimes {
    /// First of the due times.
    pub due: DateTime<Utc>,
    /// Number of due times, up to [`MAX_COUNTED`].
    pub count: i32,
}

/// Actions for a due schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Missed times to record as skipped.
    pub skip: Option<DueTimes>,
    /// Times to start one run for.
    pub start: Option<DueTimes>,
    /// Next due time; none at the end of the calendar.
    pub next: Option<DateTime<Utc>>,
}

/// Plans the actions at `now` for a schedule that has been due since `due`.
pub fn plan(cron: &Cron, zone: Tz, missed: Missed, due: DateTime<Utc>, now: DateTime<Utc>) -> Plan {
    let next = cron.next_after(now, zone);
    let times = |until: DateTime<Utc>| {
        let more = std::iter::successors(Some(due), |last| cron.next_after(*last, zone));
        let count = more.take(MAX_COUNTED).take_while(|time| *time <= until).count();
        DueTimes { due, count: i32::try_from(count).unwrap_or(i32::MAX) }
    };
    let earliest = now - ON_TIME;
    if due >= earliest || missed == Missed::RunOnce {
        return Plan { skip: None, start: Some(times(now)), next };
    }
    let on_time = cron.next_after(earliest, zone).filter(|time| *time <= now);
    Plan { skip: Some(times(earliest)), start: on_time.map(|due| DueTimes { due, count: 1 }), next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-11-24T{text}Z").parse().unwrap()
    }

    /// Plan at `now` for `cron` that has been due since `due`: skipped, started (first time and count), next.
    fn planned(cron: &str, missed: Missed, due: &str, now: &str) -> [String; 3] {
        let plan = plan(&Cron::parse(cron).unwrap(), Tz::UTC, missed, at(due), at(now));
        let shown = |times: Option<DueTimes>| {
            times.map_or_else(|| "-".to_owned(), |times| format!("{} x{}", times.due.format("%H:%M"), times.count))
        };
        [
            shown(plan.skip),
            shown(plan.start),
            plan.next.map_or_else(String::new, |next| next.format("%H:%M").to_string()),
        ]
    }

    #[test]
    fn starts_a_due_time() {
        for missed in [Missed::RunOnce, Missed::Skip] {
            assert_eq!(planned("0 * * * *", missed, "10:00:00", "10:00:00.2"), ["-", "10:00 x1", "11:00"]);
            assert_eq!(planned("0 * * * *", missed, "10:00:00", "10:00:59"), ["-", "10:00 x1", "11:00"]);
        }
    }

    #[test]
    fn missed_times_follow_the_policy() {
        assert_eq!(planned("0 * * * *", Missed::RunOnce, "07:00:00", "10:30:00"), ["-", "07:00 x4", "11:00"]);
        assert_eq!(planned("0 * * * *", Missed::Skip, "07:00:00", "10:30:00"), ["07:00 x4", "-", "11:00"]);
    }

    #[test]
    fn starts_a_time_that_is_on_time_after_missed_ones() {
        assert_eq!(planned("0 * * * *", Missed::RunOnce, "07:00:00", "10:00:10"), ["-", "07:00 x4", "11:00"]);
        assert_eq!(planned("0 * * * *", Missed::Skip, "07:00:00", "10:00:10"), ["07:00 x3", "10:00 x1", "11:00"]);
        assert_eq!(planned("* * * * *", Missed::Skip, "09:00:00", "10:00:10"), ["09:00 x60", "10:00 x1", "10:01"]);
    }

    #[test]
    fn stops_counting_missed_times_at_the_maximum() {
        assert_eq!(planned("* * * * *", Missed::RunOnce, "00:00:00", "23:00:30"), ["-", "00:00 x1000", "23:01"]);
    }
}
