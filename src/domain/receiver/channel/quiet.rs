//! Quiet hours: a daily time in which deliveries wait. Afterwards the newest state of each deployment is sent.

use chrono::{DateTime, Days, NaiveTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::domain::catalogue::EventType;
use crate::domain::message::message;
use crate::domain::receiver::filter;
use crate::domain::validate::BrokenRule;

/// Daily hours in a time zone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct QuietHours {
    /// Begin of the hours, `HH:MM`.
    pub from: String,
    /// End, `HH:MM`; on the next day where it is before the begin.
    pub to: String,
    /// IANA name of the time zone.
    pub time_zone: String,
    /// Types and codes of events that are sent nevertheless.
    pub except: Vec<String>,
}

impl QuietHours {
    /// Checks times, time zone and exceptions.
    ///
    /// # Errors
    /// One of them is invalid, or the times are equal.
    pub fn check(&self) -> Result<(), BrokenRule> {
        let (from, to) = (time(&self.from), time(&self.to));
        if from.is_none() || to.is_none() || from == to {
            return Err(message!("rule.quiet_times"));
        }
        self.time_zone.parse::<Tz>().map_err(|_| message!("rule.quiet_zone"))?;
        if self.except.is_empty() { Ok(()) } else { filter::events(&self.except) }
    }

    /// Returns the end of the quiet hours that hold `now`; none outside of them.
    pub fn until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (from, to) = (time(&self.from)?, time(&self.to)?);
        let zone: Tz = self.time_zone.parse().ok()?;
        let local = now.with_timezone(&zone).naive_local();
        let clock = local.time();
        let (quiet, tomorrow) =
            if from < to { (from <= clock && clock < to, false) } else { (clock >= from || clock < to, clock >= from) };
        if !quiet {
            return None;
        }
        let date = if tomorrow { local.date().checked_add_days(Days::new(1))? } else { local.date() };
        // A time that a change of the clock skips: an hour later exists.
        let end = [0, 1].into_iter().find_map(|hour| {
            zone.from_local_datetime(&(date.and_time(to) + chrono::TimeDelta::hours(hour))).latest()
        })?;
        Some(end.with_timezone(&Utc)).filter(|end| *end > now)
    }

    /// Reports that an event is sent in quiet hours, too.
    pub fn excepts(&self, event_type: EventType, code: &str) -> bool {
        self.except.iter().any(|one| one == code || one == event_type.as_str())
    }
}

fn time(text: &str) -> Option<NaiveTime> {
    if text.len() == 5 { NaiveTime::parse_from_str(text, "%H:%M").ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(from: &str, to: &str) -> QuietHours {
        let except = vec!["fail".to_owned()];
        QuietHours { from: from.to_owned(), to: to.to_owned(), time_zone: "Asia/Seoul".to_owned(), except }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn ends_on_the_same_or_the_next_day() {
        let night = quiet("22:00", "08:00");
        night.check().unwrap();
        // 23:30 and 07:59 in Seoul.
        assert_eq!(night.until(at("2026-05-01T14:30:00Z")), Some(at("2026-05-01T23:00:00Z")));
        assert_eq!(night.until(at("2026-05-01T22:59:59Z")), Some(at("2026-05-01T23:00:00Z")));
        assert_eq!(night.until(at("2026-05-01T23:00:00Z")), None);
        let noon = quiet("12:00", "13:00");
        assert_eq!(noon.until(at("2026-05-01T03:10:00Z")), Some(at("2026-05-01T04:00:00Z")));
        assert_eq!(noon.until(at("2026-05-01T04:00:00Z")), None);
    }

    #[test]
    fn a_skipped_end_is_an_hour_later() {
        let mut spring = quiet("22:00", "02:30");
        spring.time_zone = "Europe/Berlin".to_owned();
        assert_eq!(spring.until(at("2026-03-29T00:00:00Z")), Some(at("2026-03-29T01:30:00Z")));
    }

    #[test]
    fn refuses_invalid_times() {
        for (from, to) in [("22:00", "22:00"), ("24:00", "08:00"), ("8:00", "09:00"), ("", "09:00")] {
            quiet(from, to).check().unwrap_err();
        }
        let mut zone = quiet("22:00", "08:00");
        zone.time_zone = "Seoul".to_owned();
        zone.check().unwrap_err();
        let mut except = quiet("22:00", "08:00");
        except.except = vec!["finished".to_owned()];
        except.check().unwrap_err();
        assert!(quiet("22:00", "08:00").excepts(EventType::Fail, "build_failed"));
    }
}
