//! Retention: kinds of data that Panda removes, their retention periods, and the states of a maintenance run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::catalogue::EventCode;
use super::cron::Cron;
use super::message::{Message, message};

/// Kind of data that a maintenance run removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::Display, strum::EnumString)]
#[strum(serialize_all = "snake_case", parse_err_ty = Message, parse_err_fn = unknown_kind)]
pub enum RetentionKind {
    /// Build and push output of finished deployments.
    BuildLines,
    /// All other events of finished deployments, except the last event of each.
    Events,
    /// Finished deployments. The archive keeps the data that reports need.
    Deployments,
    /// Checked-out sources that no build needs.
    Workspaces,
    /// Images of finished deployments that are still in the engine.
    Images,
    /// Records of maintenance runs, schedule runs and refusals.
    Runs,
}

impl RetentionKind {
    /// Every kind, in display order.
    pub const ALL: [Self; 6] =
        [Self::BuildLines, Self::Events, Self::Deployments, Self::Workspaces, Self::Images, Self::Runs];

    /// Returns the name used in the table and on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns true if the data is on the replica's machine. Every replica then has its own runs.
    pub fn is_local(self) -> bool {
        matches!(self, Self::Workspaces | Self::Images)
    }
}

/// Codes of the events that are lines of output. They are many and long, and no longer needed once the deployment is understood.
pub const LINES: [EventCode; 2] = [EventCode::BuildProgress, EventCode::PushProgress];

fn unknown_kind(_: &str) -> Message {
    message!("rule.retention_kind", known = RetentionKind::ALL.map(RetentionKind::as_str).join(", "))
}

/// State of a maintenance run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum RetentionRunState {
    /// A caller requested the run, and no replica has started it.
    Requested,
    /// A replica is executing the run.
    Running,
    /// The run removed all expired data.
    Done,
    /// The replica was shut down during the run.
    Stopped,
    /// The run ended with an error.
    Failed,
    /// The replica died or lost its lease during the run.
    Interrupted,
}

impl RetentionRunState {
    /// All final states of a run.
    pub const ENDS: [Self; 4] = [Self::Done, Self::Stopped, Self::Failed, Self::Interrupted];

    /// Returns the name used in the table and on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Retention period of one kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionPeriod {
    /// Keep the data for ever.
    Forever,
    /// Keep the data this long after the end of its deployment or run.
    For(Duration),
}

impl RetentionPeriod {
    /// Shortest period, one hour: a reader that was disconnected for a while, and a caller who retries, still find everything.
    pub const SHORTEST: Duration = Duration::from_hours(1);

    /// Longest period that differs from for ever: a hundred years.
    pub const LONGEST: Duration = Duration::from_hours(100 * 366 * 24);

    /// Returns the period; none for ever.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Forever => None,
            Self::For(duration) => Some(duration),
        }
    }
}

impl FromStr for RetentionPeriod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "give hours, days or weeks from 1h to 36600d, such as 12h, 30d or 8w, or never".to_owned();
        if text == "never" {
            return Ok(Self::Forever);
        }
        let (number, hours) = [("h", 1), ("d", 24), ("w", 7 * 24)]
            .into_iter()
            .find_map(|(unit, hours)| Some((text.strip_suffix(unit)?, hours)))
            .ok_or_else(wrong)?;
        // Accept digits only: `parse` would also accept a sign.
        let number = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let number: u64 = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
        let seconds = number.checked_mul(hours * 3_600).ok_or_else(wrong)?;
        Some(Duration::from_secs(seconds))
            .filter(|duration| (Self::SHORTEST..=Self::LONGEST).contains(duration))
            .map(Self::For)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for RetentionPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.duration().map(|duration| duration.as_secs() / 3_600) {
            None => f.write_str("never"),
            Some(hours) if hours.is_multiple_of(24) => write!(f, "{}d", hours / 24),
            Some(hours) => write!(f, "{hours}h"),
        }
    }
}

/// Retention of one kind of data.
#[derive(Clone, Debug)]
pub struct RetentionRule {
    /// Kind of data that the rule removes.
    pub kind: RetentionKind,
    /// Retention period; none if age does not matter.
    pub keep: Option<RetentionPeriod>,
    /// Times at which the removal runs, in UTC.
    pub cron: Arc<Cron>,
}

impl RetentionRule {
    /// Returns true if the rule keeps the data for ever.
    pub fn is_never(&self) -> bool {
        self.keep == Some(RetentionPeriod::Forever)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_names_round_trip() {
        for kind in RetentionKind::ALL {
            assert_eq!(kind.as_str().parse::<RetentionKind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("logs".parse::<RetentionKind>().unwrap_err().to_string().contains("build_lines"));
    }

    #[test]
    fn period_is_hours_days_or_weeks() {
        assert_eq!("30d".parse::<RetentionPeriod>().unwrap().duration(), Some(Duration::from_hours(720)));
        assert_eq!("8w".parse::<RetentionPeriod>().unwrap().to_string(), "56d");
        assert_eq!("36h".parse::<RetentionPeriod>().unwrap().to_string(), "36h");
        assert_eq!("never".parse::<RetentionPeriod>().unwrap(), RetentionPeriod::Forever);
        assert_eq!(RetentionPeriod::Forever.to_string(), "never");
    }

    #[test]
    fn rejects_other_periods_with_examples() {
        for bad in [
            "",
            "30",
            "0d",
            "0h",
            "-1d",
            "+1d",
            "1.5d",
            "30 d",
            "1m",
            "1y",
            "d",
            "36601d",
            "99999999999999999999d",
            "Never",
            "٣d",
        ] {
            assert!(bad.parse::<RetentionPeriod>().unwrap_err().contains("30d"), "{bad}");
        }
    }
}
