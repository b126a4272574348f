//! How runs of a step were interrupted: what counts against a step that kills its process, and what does not.

use std::time::Duration;

/// A run that lasted this long did not end its process by what the step does first: it counts, and what was before it does not. A quiet
/// execution may be followed through many restarts; the step's own time limit bounds the rest.
const LASTED: Duration = Duration::from_mins(1);

/// Deaths of processes in a row, without progress, that a step may cause.
const MAX_DEATHS: u32 = 5;

/// Lost leases in a row, without progress, that a step may meet. The database or the network is at fault, and the step begins again each time: the
/// limit is only there for a step that keeps its process from renewing the lease.
const MAX_LEASES_LOST: u32 = 100;

/// What ended a run that had not ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// Its process died: it never came back.
    ProcessDeath,
    /// Its process lives, and could not renew its lease in time.
    LeaseLost,
}

/// How often runs of one step were interrupted without progress, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interruptions {
    /// By the death of the process.
    pub deaths: u32,
    /// By the loss of its lease.
    pub leases_lost: u32,
}

/// From the runs that were interrupted, newest first, each with how long it lasted.
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
    /// Why the step is given up; none while it may be tried again.
    pub fn verdict(self, step: &str) -> Option<String> {
        let Self { deaths, leases_lost } = self;
        if deaths > MAX_DEATHS {
            return Some(format!(
                "its process died {deaths} times in step {step} without progress (lost leases meanwhile: {leases_lost}); \
                 look at the memory and the logs of the replicas that step_runs names"
            ));
        }
        (leases_lost > MAX_LEASES_LOST).then(|| {
            format!(
                "replicas lost their lease {leases_lost} times in step {step} without progress (deaths of processes meanwhile: {deaths}); \
                 look at the database and at the replicas' processors"
            )
        })
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
    fn deaths_and_lost_leases_are_counted_apart() {
        let runs =
            [(Interruption::LeaseLost, SHORT), (Interruption::ProcessDeath, SHORT), (Interruption::LeaseLost, SHORT)];
        assert_eq!(counted(&runs), Interruptions { deaths: 1, leases_lost: 2 });
    }

    #[test]
    fn deaths_before_a_run_that_lasted_do_not_count() {
        let runs = [
            (Interruption::ProcessDeath, SHORT),
            (Interruption::ProcessDeath, LASTED),
            (Interruption::ProcessDeath, SHORT),
        ];
        assert_eq!(counted(&runs).deaths, 2);
    }

    #[test]
    fn only_deaths_give_a_step_up_early() {
        let of = |deaths, leases_lost| Interruptions { deaths, leases_lost }.verdict("build_image");
        assert_eq!(of(MAX_DEATHS, MAX_LEASES_LOST), None);
        let died = of(6, 2).unwrap();
        assert!(
            died.contains("died 6 times in step build_image") && died.contains("lost leases meanwhile: 2"),
            "{died}"
        );
        let lost = of(0, 101).unwrap();
        assert!(lost.contains("lost their lease 101 times in step build_image"), "{lost}");
    }
}
