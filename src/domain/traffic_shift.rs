//! Durations of CodeDeploy's traffic shifts for ECS.

use std::time::Duration;

/// Assumed duration of a shift whose configuration cannot be read: CodeDeploy's longest interval.
pub const LONGEST: Duration = Duration::from_hours(48);

/// Traffic routing of a deployment configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficShift {
    /// All traffic moves in one step.
    AllAtOnce,
    /// A first part moves, and the rest after the interval.
    Canary {
        /// Time between the two parts, in minutes.
        interval_minutes: i32,
    },
    /// Equal parts move, with the interval between them.
    Linear {
        /// Size of each part, in percent.
        percentage: i32,
        /// Time between two parts, in minutes.
        interval_minutes: i32,
    },
}

impl TrafficShift {
    /// Returns the routing of one of AWS's own configurations; `None` for any other name.
    pub fn predefined(configuration: &str) -> Option<Self> {
        Some(match configuration.strip_prefix("CodeDeployDefault.ECS")? {
            "AllAtOnce" => Self::AllAtOnce,
            "Canary10Percent5Minutes" => Self::Canary { interval_minutes: 5 },
            "Canary10Percent15Minutes" => Self::Canary { interval_minutes: 15 },
            "Linear10PercentEvery1Minutes" => Self::Linear { percentage: 10, interval_minutes: 1 },
            "Linear10PercentEvery3Minutes" => Self::Linear { percentage: 10, interval_minutes: 3 },
            _ => return None,
        })
    }

    /// Returns the time from the first to the last part, at most [`LONGEST`].
    pub fn duration(self) -> Duration {
        let minutes = |count: i32| u64::try_from(count).unwrap_or(0);
        let total = match self {
            Self::AllAtOnce => 0,
            Self::Canary { interval_minutes } => minutes(interval_minutes),
            Self::Linear { percentage, interval_minutes } => match u64::try_from(percentage) {
                Ok(part @ 1..) => 100_u64.div_ceil(part).saturating_mul(minutes(interval_minutes)),
                // Not a routing that CodeDeploy accepts.
                _ => return LONGEST,
            },
        };
        Duration::from_secs(total.saturating_mul(60)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_of_each_routing() {
        let minutes = |shift: TrafficShift| shift.duration().as_secs() / 60;
        assert_eq!(minutes(TrafficShift::AllAtOnce), 0);
        assert_eq!(minutes(TrafficShift::Canary { interval_minutes: 15 }), 15);
        assert_eq!(minutes(TrafficShift::Linear { percentage: 10, interval_minutes: 3 }), 30);
        assert_eq!(minutes(TrafficShift::Linear { percentage: 30, interval_minutes: 10 }), 40);
    }

    #[test]
    fn absurd_configurations_are_bounded() {
        for shift in [
            TrafficShift::Linear { percentage: 0, interval_minutes: 1 },
            TrafficShift::Linear { percentage: -5, interval_minutes: 1 },
            TrafficShift::Linear { percentage: 1, interval_minutes: i32::MAX },
            TrafficShift::Canary { interval_minutes: i32::MAX },
        ] {
            assert_eq!(shift.duration(), LONGEST, "{shift:?}");
        }
        assert_eq!(TrafficShift::Canary { interval_minutes: -1 }.duration(), Duration::ZERO);
    }

    #[test]
    fn knows_configurations_of_aws() {
        let known = |name: &str| TrafficShift::predefined(name).map(|shift| shift.duration().as_secs() / 60);
        assert_eq!(known("CodeDeployDefault.ECSAllAtOnce"), Some(0));
        assert_eq!(known("CodeDeployDefault.ECSLinear10PercentEvery3Minutes"), Some(30));
        assert_eq!(known("CodeDeployDefault.ECSCanary10Percent15Minutes"), Some(15));
        assert_eq!(known("CodeDeployDefault.LambdaAllAtOnce"), None);
        assert_eq!(known("ours"), None);
    }
}
