//! Parses the times of `panda report`: a date, a time, or a time relative to now.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};

/// A point in time, absolute or relative to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointInTime {
    /// This long before now.
    Ago(TimeDelta),
    /// A date or RFC 3339 time, sent to the API unchanged.
    Fixed(String),
}

impl PointInTime {
    /// Formats the point in time for the API.
    pub fn at(&self, now: DateTime<Utc>) -> String {
        match self {
            Self::Ago(delta) => {
                now.checked_sub_signed(*delta).unwrap_or(now).to_rfc3339_opts(SecondsFormat::Secs, true)
            }
            Self::Fixed(text) => text.clone(),
        }
    }
}

impl FromStr for PointInTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fixed = text.parse::<NaiveDate>().is_ok() || DateTime::parse_from_rfc3339(text).is_ok();
        if fixed {
            return Ok(Self::Fixed(text.to_owned()));
        }
        ago(text).map(Self::Ago).ok_or_else(|| {
            "give a date such as 2026-01-31, a time such as 2026-01-31T09:30:00Z, or a time before now, such as 12h, 30d, 8w".to_owned()
        })
    }
}

fn ago(text: &str) -> Option<TimeDelta> {
    let unit = text.chars().last()?;
    let number = text.strip_suffix(unit)?;
    let count: i64 = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())??;
    let delta = match unit {
        'h' => TimeDelta::try_hours(count),
        'd' => TimeDelta::try_days(count),
        'w' => TimeDelta::try_weeks(count),
        _ => None,
    };
    delta.filter(|delta| *delta > TimeDelta::zero() && delta.num_days() <= 36_500)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<String, String> {
        text.parse::<PointInTime>().map(|time| time.at("2026-03-31T12:00:00Z".parse().unwrap()))
    }

    #[test]
    fn resolves_relative_times_and_keeps_dates() {
        assert_eq!(at("30d").unwrap(), "2026-03-01T12:00:00Z");
        assert_eq!(at("12h").unwrap(), "2026-03-31T00:00:00Z");
        assert_eq!(at("2w").unwrap(), "2026-03-17T12:00:00Z");
        assert_eq!(at("2026-01-31").unwrap(), "2026-01-31");
        assert_eq!(at("2026-01-31T09:30:00+09:00").unwrap(), "2026-01-31T09:30:00+09:00");
    }

    #[test]
    fn rejects_other_texts_with_examples() {
        for wrong in ["", "30", "d", "30m", "-1d", "0d", "+3d", "1.5d", "yesterday", "2026-02-30", "99999999999w", "3é"]
        {
            assert!(at(wrong).unwrap_err().contains("30d"), "{wrong}");
        }
    }
}
