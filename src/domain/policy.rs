//! Policies: what a target permits, as its repository's admin stored it. A deployment keeps the version with which it started.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::auto_switch::AutoSwitch;
use super::cron::{self, Cron};
use super::freeze::{Act, Holds};
use super::gate::{self, Gate, GatePoint};
use super::labels::Labels;
use super::message::{Message, message};
use super::validate::FieldRefusal;

/// Maximum number of windows.
pub const MAX_WINDOWS: usize = 20;

/// Longest window, in minutes: a week.
pub const MAX_MINUTES: u32 = 7 * 24 * 60;

/// Maximum number of approvers.
pub const MAX_APPROVERS: u32 = 10;

/// The rules of a target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// Times in which starts or switches are permitted; always where no window is about them.
    pub windows: Vec<TimeWindow>,
    /// Approvals that a switch needs.
    pub approvals: Approvals,
    /// Conditions of the traffic on green.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// Switch without an approver.
    #[serde(skip_serializing_if = "AutoSwitch::is_never")]
    pub auto_switch: AutoSwitch,
    /// Labels of the target's deployments.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// A recurring time in which acts are permitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeWindow {
    /// Cron expression of the beginnings.
    pub cron: String,
    /// Time zone of the expression.
    pub time_zone: String,
    /// Length in minutes, from 1 to [`MAX_MINUTES`].
    pub minutes: u32,
    /// Acts that are permitted: starts, switches or both.
    pub permits: String,
}

/// Approvals that a switch needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Approvals {
    /// Number of approvers, from 1 to [`MAX_APPROVERS`].
    pub count: u32,
    /// Who started the attempt may not approve it.
    pub four_eyes: bool,
    /// Minutes after the deployment became ready in which approvals are accepted; none for no limit but that of AWS.
    pub minutes: Option<u32>,
}

impl Default for Approvals {
    fn default() -> Self {
        Self { count: 1, four_eyes: false, minutes: None }
    }
}

impl Policy {
    /// Checks all rules.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn checked(mut self) -> Result<Self, FieldRefusal> {
        if self.windows.len() > MAX_WINDOWS {
            return Err(FieldRefusal::new("windows", message!("rule.policy_windows", max = MAX_WINDOWS)));
        }
        for (index, window) in self.windows.iter().enumerate() {
            window.check().map_err(|refused| refused.within(&format!("windows[{index}]")))?;
        }
        let refused = |field: &str, max: u32| Err(FieldRefusal::new(field, message!("rule.number_range", max)));
        if !(1..=MAX_APPROVERS).contains(&self.approvals.count) {
            return refused("approvals.count", MAX_APPROVERS);
        }
        if self.approvals.minutes.is_some_and(|minutes| !(1..=MAX_MINUTES).contains(&minutes)) {
            return refused("approvals.minutes", MAX_MINUTES);
        }
        gate::check_all(&self.gates)?;
        self.labels = self.labels.checked()?;
        let refused = |rule: Message| Err(FieldRefusal::new("autoSwitch", rule));
        match self.auto_switch {
            AutoSwitch::Never => {}
            _ if self.approvals.count > 1 || self.approvals.four_eyes => {
                return refused(message!("rule.auto_switch_approvals"));
            }
            AutoSwitch::WhenGatesPass if !self.has_gates_at(GatePoint::BeforeSwitch) => {
                return refused(message!("rule.auto_switch_gates"));
            }
            AutoSwitch::WhenGatesPass | AutoSwitch::At { .. } => {}
        }
        Ok(self)
    }

    /// Reports that a gate runs at a point.
    pub fn has_gates_at(&self, point: GatePoint) -> bool {
        self.gates.iter().any(|gate| gate.at == point)
    }

    /// Reports that an override of a switch has gates to override.
    pub fn has_gates_of_switch(&self) -> bool {
        self.has_gates_at(GatePoint::BeforeSwitch) || self.has_gates_at(GatePoint::EachStep)
    }

    /// Returns the next opening for an act that is outside all windows about it: none in it if no window opens. None inside one, and where there is none.
    pub fn next_window(&self, act: Act, now: DateTime<Utc>) -> Option<Option<DateTime<Utc>>> {
        let windows: Vec<&TimeWindow> = self.windows.iter().filter(|window| window.is_about(act)).collect();
        if windows.is_empty() || windows.iter().any(|window| window.is_open(now)) {
            return None;
        }
        Some(windows.iter().filter_map(|window| window.opens_after(now)).min())
    }

    /// Returns the time until which approvals are accepted; none for no limit.
    pub fn approvals_until(&self, ready_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.approvals.minutes.map(|minutes| ready_at + TimeDelta::minutes(i64::from(minutes)))
    }
}

impl TimeWindow {
    fn check(&self) -> Result<(), FieldRefusal> {
        let refused = |field: &str, rule: Message| FieldRefusal::new(field, rule);
        Cron::parse(&self.cron).map_err(|error| refused("cron", error.message()))?;
        cron::zone(&self.time_zone).map_err(|error| refused("timeZone", error.message()))?;
        if !(1..=MAX_MINUTES).contains(&self.minutes) {
            return Err(refused("minutes", message!("rule.number_range", max = MAX_MINUTES)));
        }
        self.permits.parse::<Holds>().map(drop).map_err(|rule| refused("permits", rule))
    }

    fn is_about(&self, act: Act) -> bool {
        match (self.permits.parse(), act) {
            (Ok(Holds::Starts), Act::Switch) | (Ok(Holds::Switches), Act::Start) => false,
            // A word of a newer version permits nothing by itself, and so closes.
            _ => true,
        }
    }

    /// Reports that a beginning lies in the last `minutes`. A stored window that cannot be read is closed.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        let since = now - TimeDelta::minutes(i64::from(self.minutes));
        self.permits.parse::<Holds>().is_ok() && self.opens_after(since).is_some_and(|opened| opened <= now)
    }

    fn opens_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        Cron::parse(&self.cron).ok()?.next_after(time, cron::zone(&self.time_zone).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(cron: &str, minutes: u32, permits: &str) -> TimeWindow {
        TimeWindow { cron: cron.to_owned(), time_zone: "Asia/Seoul".to_owned(), minutes, permits: permits.to_owned() }
    }

    fn policy(windows: &[TimeWindow]) -> Policy {
        Policy { windows: windows.to_vec(), ..Policy::default() }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// The next opening of a closed act; `open` for one that is permitted.
    fn state(policy: &Policy, act: Act, now: &str) -> String {
        let until = |until: Option<DateTime<Utc>>| until.map_or("never".to_owned(), |until| until.to_rfc3339());
        policy.next_window(act, at(now)).map_or("open".to_owned(), until)
    }

    #[test]
    fn window_is_open_from_its_beginning_until_before_its_end() {
        // 09:00 to 17:00 in Seoul, Monday to Friday; 2026-11-30 is a Monday.
        let office = policy(&[window("0 9 * * MON-FRI", 480, "both")]);
        for (now, expected) in [
            ("2026-11-29T23:59:59Z", "2026-11-30T00:00:00+00:00"),
            ("2026-11-30T00:00:00Z", "open"),
            ("2026-11-30T07:59:59Z", "open"),
            ("2026-11-30T08:00:00Z", "2026-12-01T00:00:00+00:00"),
            ("2026-12-04T08:00:00Z", "2026-12-07T00:00:00+00:00"),
        ] {
            assert_eq!(state(&office, Act::Start, now), expected, "{now}");
            assert_eq!(state(&office, Act::Switch, now), expected, "{now}");
        }
    }

    #[test]
    fn acts_without_a_window_are_always_permitted() {
        let switches = policy(&[window("0 9 * * *", 60, "switches"), window("0 12 * * *", 60, "switches")]);
        let night = "2026-11-30T15:00:00Z";
        assert_eq!(state(&switches, Act::Start, night), "open");
        assert_eq!(state(&switches, Act::Switch, night), "2026-12-01T00:00:00+00:00");
        assert_eq!(state(&switches, Act::Switch, "2026-12-01T01:30:00Z"), "2026-12-01T03:00:00+00:00");
        assert_eq!(state(&Policy::default(), Act::Switch, night), "open");
    }

    #[test]
    fn what_cannot_be_read_is_closed() {
        let broken = policy(&[window("0 9 * * *", 1440, "builds")]);
        assert_ne!(state(&broken, Act::Start, "2026-11-30T01:00:00Z"), "open");
        assert_eq!(state(&policy(&[window("nonsense", 10, "both")]), Act::Start, "2026-11-30T01:00:00Z"), "never");
    }

    #[test]
    fn refuses_fields_with_their_path_and_bound() {
        let with = |change: fn(&mut Policy)| {
            let mut policy = policy(&[window("0 9 * * *", 60, "both"), window("0 9 * * *", 60, "both")]);
            change(&mut policy);
            policy.checked().map_err(|refused| refused.field)
        };
        assert!(with(|_| {}).is_ok());
        for (change, field) in [
            ((|policy| policy.windows[1].cron = "0 9 * *".to_owned()) as fn(&mut Policy), "windows[1].cron"),
            (|policy| policy.windows[0].time_zone = "Mars".to_owned(), "windows[0].timeZone"),
            (|policy| policy.windows[0].minutes = 0, "windows[0].minutes"),
            (|policy| policy.windows[0].minutes = MAX_MINUTES + 1, "windows[0].minutes"),
            (|policy| policy.windows[0].permits = "all".to_owned(), "windows[0].permits"),
            (|policy| policy.windows = vec![policy.windows[0].clone(); MAX_WINDOWS + 1], "windows"),
            (|policy| policy.approvals.count = 0, "approvals.count"),
            (|policy| policy.approvals.count = MAX_APPROVERS + 1, "approvals.count"),
            (|policy| policy.approvals.minutes = Some(0), "approvals.minutes"),
        ] {
            assert_eq!(with(change).unwrap_err(), field);
        }
    }

    #[test]
    fn reads_what_it_stores_and_older_contents() {
        let stored = policy(&[window("0 9 * * *", 60, "both")]);
        let json = serde_json::to_value(&stored).unwrap();
        assert_eq!(json["approvals"]["count"], 1);
        assert_eq!(serde_json::from_value::<Policy>(json).unwrap(), stored);
        assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
    }
}
