//! Automatic switches: whether a ready deployment is switched without an approver, and from when on.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cron::{self, Cron};
use super::message::{Message, message};

/// When a ready deployment is switched without an approver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoSwitch {
    /// An approver requests each switch.
    #[default]
    Never,
    /// As soon as it is ready: the gates decide.
    WhenGatesPass,
    /// At the first such time of day after it became ready.
    At {
        /// Hour, 0 to 23.
        hour: u8,
        /// Minute, 0 to 59.
        minute: u8,
        /// Time zone of both.
        zone: Tz,
    },
}

impl AutoSwitch {
    /// Reports that nothing is switched automatically.
    pub fn is_never(&self) -> bool {
        *self == Self::Never
    }

    /// Returns when a deployment that became ready at `ready_at` is switched; none for never.
    pub fn due(&self, ready_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Never => None,
            Self::WhenGatesPass => Some(ready_at),
            // The rules of schedules decide about times that a change of the clock skips or repeats.
            Self::At { hour, minute, zone } => {
                Cron::parse(&format!("{minute} {hour} * * *")).ok()?.next_after(ready_at, *zone)
            }
        }
    }
}

impl fmt::Display for AutoSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::WhenGatesPass => f.write_str("when_gates_pass"),
            Self::At { hour, minute, zone } => write!(f, "at {hour:02}:{minute:02} {zone}"),
        }
    }
}

impl FromStr for AutoSwitch {
    type Err = Message;

    fn from_str(text: &str) -> Result<Self, Message> {
        let wrong = || message!("rule.auto_switch");
        match text {
            "never" => return Ok(Self::Never),
            "when_gates_pass" => return Ok(Self::WhenGatesPass),
            _ => {}
        }
        let (time, zone) = text.strip_prefix("at ").and_then(|at| at.split_once(' ')).ok_or_else(wrong)?;
        let (hour, minute) = time.split_once(':').ok_or_else(wrong)?;
        let number = |digits: &str, limit: u8| {
            let two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|number| two && *number < limit).ok_or_else(wrong)
        };
        let zone = cron::zone(zone).map_err(|error| error.message())?;
        Ok(Self::At { hour: number(hour, 24)?, minute: number(minute, 60)?, zone })
    }
}

impl Serialize for AutoSwitch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AutoSwitch {
    /// A word of a newer version switches nothing.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(deserializer)?.parse().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(text: &str, ready_at: &str) -> Option<String> {
        let due = text.parse::<AutoSwitch>().unwrap().due(ready_at.parse().unwrap());
        due.map(|due| due.to_rfc3339())
    }

    #[test]
    fn is_due_at_the_first_such_time_after_ready() {
        assert_eq!(due("never", "2026-11-30T09:00:00Z"), None);
        assert_eq!(due("when_gates_pass", "2026-11-30T09:00:00Z").as_deref(), Some("2026-11-30T09:00:00+00:00"));
        // 03:00 in Seoul is 18:00 of the day before.
        let seoul = |ready_at| due("at 03:00 Asia/Seoul", ready_at).unwrap();
        assert_eq!(seoul("2026-11-30T17:59:59Z"), "2026-11-30T18:00:00+00:00");
        assert_eq!(seoul("2026-11-30T18:00:01Z"), "2026-12-01T18:00:00+00:00");
    }

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        for text in ["never", "when_gates_pass", "at 03:00 Asia/Seoul", "at 23:59 UTC"] {
            assert_eq!(text.parse::<AutoSwitch>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "always",
            "at",
            "at 3:00 UTC",
            "at 24:00 UTC",
            "at 03:60 UTC",
            "at 03:00",
            "at 03:00 Mars",
            "at +1:00 UTC",
        ] {
            assert!(wrong.parse::<AutoSwitch>().is_err(), "{wrong:?}");
        }
        assert!(serde_json::from_str::<AutoSwitch>("\"sometimes\"").unwrap().is_never());
    }
}
