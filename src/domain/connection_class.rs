//! Classes of work, and how many connections each has to itself.

use std::time::Duration;

/// A caller who asks for a report waits no longer for a connection: one that takes long would hold it for longer than that. So does a probe.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);

/// Replays wait for each other: a stream that is refused would only come back at once.
const REPLAY_PATIENCE: Duration = Duration::from_mins(1);

/// Who gets the connections beyond the fewest that each class needs. Neither the lease nor probes use a second one.
const SPARE: [Class; 8] = [
    Class::Api,
    Class::Reports,
    Class::Background,
    Class::Replay,
    Class::Reconcile,
    Class::Api,
    Class::Live,
    Class::Reconcile,
];

/// A class of work. Its connections are used for nothing else, so that no class waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The replica's lease: one connection, used by the heartbeat alone.
    Lease,
    /// Readiness.
    Probe,
    /// Claims and commits.
    Reconcile,
    /// Requests.
    Api,
    /// New events of deployments that are being watched, read once for all viewers.
    Live,
    /// Events of the past, read for one viewer each.
    Replay,
    /// Reports.
    Reports,
    /// Schedules, the queue, retention, and the other periodic tasks.
    Background,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Lease,
        Self::Probe,
        Self::Reconcile,
        Self::Api,
        Self::Live,
        Self::Replay,
        Self::Reports,
        Self::Background,
    ];

    /// Fewest connections with which each class has what it needs.
    pub const LEAST: u32 = 10;

    /// Name of the class in metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Probe => "probe",
            Self::Reconcile => "reconcile",
            Self::Api => "api",
            Self::Live => "live",
            Self::Replay => "replay",
            Self::Reports => "reports",
            Self::Background => "background",
        }
    }

    /// Connections of the class, of `total` (at least [`Class::LEAST`]) for all: the fewest that it needs, and its part of the others, which
    /// are dealt out in the order of `SPARE`.
    pub fn share(self, total: u32) -> u32 {
        let fewest = match self {
            Self::Reconcile | Self::Api => 2,
            _ => 1,
        };
        let spare = total.saturating_sub(Self::LEAST) as usize;
        let dealt = SPARE.iter().cycle().take(spare).filter(|class| **class == self).count();
        fewest + u32::try_from(dealt).unwrap_or(u32::MAX)
    }

    /// How long a caller waits for a connection while others use all of the class's. `configured` is what operators set.
    pub fn patience(self, configured: Duration) -> Duration {
        match self {
            Self::Reports | Self::Probe => configured.min(SHORT_PATIENCE),
            Self::Replay => REPLAY_PATIENCE,
            Self::Lease | Self::Reconcile | Self::Api | Self::Live | Self::Background => configured,
        }
    }

    /// How long Postgres lets a statement run, as its setting `statement_timeout`.
    pub fn statement_limit(self) -> &'static str {
        match self {
            // An answer that comes after the lease has ended is of no use.
            Self::Lease | Self::Probe => "5s",
            _ => "15s",
        }
    }
}

/// What a class uses and waits for, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The class.
    pub class: Class,
    /// Connections in use.
    pub used: usize,
    /// Connections that are open and not in use.
    pub idle: usize,
    /// Callers that wait for one.
    pub waiting: usize,
    /// Callers that waited in vain, since the start.
    pub rejected: u64,
    /// Time that callers have waited, since the start.
    pub waited: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_never_more_than_the_total_and_every_class_has_one() {
        for total in Class::LEAST..1_000 {
            let shares = Class::ALL.map(|class| class.share(total));
            assert_eq!(shares.iter().sum::<u32>(), total, "of {total}");
            assert!(shares.iter().all(|share| *share >= 1), "of {total}: {shares:?}");
        }
        // Even where the configuration allows less, no class is without a connection.
        assert!(Class::ALL.iter().all(|class| class.share(1) >= 1));
    }

    #[test]
    fn the_default_is_dealt_out_as_documented() {
        assert_eq!(Class::ALL.map(|class| class.share(16)), [1, 1, 3, 4, 1, 2, 2, 2]);
    }
}
