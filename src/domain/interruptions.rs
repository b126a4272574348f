//! Interrupted runs of a step, and the limit after which a step that crashes its process is failed.

use std::time::Duration;

use super::message::{Message, message};

/// Duration after which a run resets the count of deaths: the start of the step did not cause the crash, so this run counts, but earlier ones
/// do not. The step that follows a quiet execution may thus survive many restarts; its own time limit bounds the rest.
const LASTED: Duration = Duration::from_mins(1);

/// Maximum number of consecutive process deaths in a step without progress.
const MAX_DEATHS: u32 = 5;

/// Maximum number of consecutive lost leases in a step without progress. Usually the database or the network is at fault, and the step
/// starts again each time: the limit only catches a step that keeps its process from renewing the lease.
const MAX_LEASES_LOST: u32 = 100;

/// Cause of a run's interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The process died and never renewed its heartbeat again.
    ProcessDeath,
    /// The process survived, but could not renew its lease in time.
    LeaseLost,
}

/// Numbers of interrupted runs of one step without progress, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interruptions {
    /// Interruptions by the death of the process.
    pub deaths: u32,
    /// Interruptions by the loss of the lease.
    pub leases_lost: u32,
}

/// Counts the interrupted runs, newest first, each with its duration.
impl FromIterator<(Interruption, Duration)> for Interruptions {
    fn from_iter<I: IntoIterator<Item = (Interruption, Duration)>>(runs: I) -> Self {
        let mut counted = Self::default();
        let mut lasted = false;
        for (kind, duration) in runs {
            match kind {
                Interruption::LeaseLost => counted.leases_lost += 1,
                Interruption::ProcessDeath if !lasted => {
                    counted.deaths += 1;
                    lasted = duration >= LASTED;
                }
                Interruption::ProcessDeath => {}
            }
        }
        counted
    }
}

impl Interruptions {
    /// Returns the reason for failing the step; none while it may be retried.
    pub fn verdict(self, step: &str) -> Option<Message> {
        let Self { deaths, leases_lost } = self;
        if deaths > MAX_DEATHS {
            return Some(message!("reason.process_died", deaths, step, leases_lost));
        }
        (leases_lost > MAX_LEASES_LOST).then(|| message!("reason.leases_lost", deaths, step, leases_lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(3);

    fn counted(runs: &[(Interruption, Duration)]) -> Interruptions {
        runs.iter().copied().collect()
    }

    #[test]
    fn counts_deaths_and_lost_leases_separately() {
        let runs =
            [(Interruption::LeaseLost, SHORT), (Interruption::ProcessDeath, SHORT), (Interruption::LeaseLost, SHORT)];
        assert_eq!(counted(&runs), Interruptions { deaths: 1, leases_lost: 2 });
    }

    #[test]
    fn ignores_deaths_before_a_long_run() {
        let runs = [
            (Interruption::ProcessDeath, SHORT),
            (Interruption::ProcessDeath, LASTED),
            (Interruption::ProcessDeath, SHORT),
        ];
        assert_eq!(counted(&runs).deaths, 2);
    }

    #[test]
    fn deaths_fail_a_step_sooner_than_lost_leases() {
        let of = |deaths, leases_lost| Interruptions { deaths, leases_lost }.verdict("build_image");
        assert_eq!(of(MAX_DEATHS, MAX_LEASES_LOST), None);
        let died = of(6, 2).unwrap().to_string();
        assert!(
            died.contains("died 6 times in step build_image") && died.contains("lost leases meanwhile: 2"),
            "{died}"
        );
        let lost = of(0, 101).unwrap().to_string();
        assert!(lost.contains("lost their lease 101 times in step build_image"), "{lost}");
    }
}
