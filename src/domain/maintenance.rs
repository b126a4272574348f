//! What is removed with time.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::catalogue::EventCode;
use super::cron::Cron;

/// What a run of maintenance removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Lines of builds and pushes of finished deployments.
    BuildLines,
    /// All other events of finished deployments but the last of each.
    Events,
    /// Finished deployments: what reports need of them goes to the archive.
    Deployments,
    /// Checked-out sources that no build needs.
    Workspaces,
    /// Images of finished deployments that the engine still has.
    Images,
    /// The records of maintenance itself, of the times of schedules, and of refusals.
    Runs,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::BuildLines, Self::Events, Self::Deployments, Self::Workspaces, Self::Images, Self::Runs];

    /// As it is stored and written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BuildLines => "build_lines",
            Self::Events => "events",
            Self::Deployments => "deployments",
            Self::Workspaces => "workspaces",
            Self::Images => "images",
            Self::Runs => "runs",
        }
    }

    /// Whether it is about a replica's own machine: then every replica has runs of its own.
    pub fn is_local(self) -> bool {
        matches!(self, Self::Workspaces | Self::Images)
    }
}

/// Codes of the events that are lines of output: many, long, and of no interest once the deployment is understood.
pub const LINES: [EventCode; 2] = [EventCode::BuildProgress, EventCode::PushProgress];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("must be one of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// How a run stands, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Somebody asked for it.
    Requested,
    /// It is under way.
    Running,
    /// Nothing was left.
    Done,
    /// Its replica was shut down.
    Stopped,
    /// It could not do its work.
    Failed,
    /// Its replica went silent.
    Interrupted,
}

impl State {
    /// How a run can end.
    pub const ENDS: [Self; 4] = [Self::Done, Self::Stopped, Self::Failed, Self::Interrupted];

    /// As it is stored and written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// For how long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// For ever.
    Ever,
    /// For so long after its end.
    For(Duration),
}

impl Keep {
    /// The shortest: a reader who was away over lunch, and a person who retries, still find everything.
    pub const SHORTEST: Duration = Duration::from_hours(1);

    /// The longest that is told from for ever: a hundred years.
    pub const LONGEST: Duration = Duration::from_hours(100 * 366 * 24);

    /// How long; none for ever.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Ever => None,
            Self::For(duration) => Some(duration),
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "give hours, days or weeks from 1h to 36600d, such as 12h, 30d or 8w, or never".to_owned();
        if text == "never" {
            return Ok(Self::Ever);
        }
        let (number, hours) = [("h", 1), ("d", 24), ("w", 7 * 24)]
            .into_iter()
            .find_map(|(unit, hours)| Some((text.strip_suffix(unit)?, hours)))
            .ok_or_else(wrong)?;
        // Digits alone: `parse` takes a sign as well.
        let number = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let number: u64 = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
        let seconds = number.checked_mul(hours * 3_600).ok_or_else(wrong)?;
        Some(Duration::from_secs(seconds))
            .filter(|duration| (Self::SHORTEST..=Self::LONGEST).contains(duration))
            .map(Self::For)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.duration().map(|duration| duration.as_secs() / 3_600) {
            None => f.write_str("never"),
            Some(hours) if hours.is_multiple_of(24) => write!(f, "{}d", hours / 24),
            Some(hours) => write!(f, "{hours}h"),
        }
    }
}

/// The rule for one kind.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What is removed.
    pub kind: Kind,
    /// For how long it is kept; none where age does not matter.
    pub keep: Option<Keep>,
    /// When it is looked for, in UTC.
    pub cron: Arc<Cron>,
}

impl Rule {
    /// Whether nothing is ever removed.
    pub fn is_never(&self) -> bool {
        self.keep == Some(Keep::Ever)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse::<Kind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("logs".parse::<Kind>().unwrap_err().contains("build_lines"));
    }

    #[test]
    fn an_age_is_hours_days_or_weeks() {
        assert_eq!("30d".parse::<Keep>().unwrap().duration(), Some(Duration::from_hours(720)));
        assert_eq!("8w".parse::<Keep>().unwrap().to_string(), "56d");
        assert_eq!("36h".parse::<Keep>().unwrap().to_string(), "36h");
        assert_eq!("never".parse::<Keep>().unwrap(), Keep::Ever);
        assert_eq!(Keep::Ever.to_string(), "never");
    }

    #[test]
    fn anything_else_is_refused_with_examples() {
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
            assert!(bad.parse::<Keep>().unwrap_err().contains("30d"), "{bad}");
        }
    }
}
