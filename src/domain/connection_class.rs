//! Classes of database work, each with its own share of the connections.

use std::time::Duration;

/// Longest wait of a report or a probe for a connection. A slow report holds its connection for longer anyway, so waiting more is useless.
const SHORT_PATIENCE: Duration = Duration::from_millis(400);

/// Longest wait of a replay for a connection. Replays queue up, because a stream that is rejected would only reconnect immediately.
const REPLAY_PATIENCE: Duration = Duration::from_mins(1);

/// Order in which classes get the connections beyond their minimum. Neither the lease nor probes use a second one.
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

/// A class of work with dedicated connections, so that no class waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Class {
    /// Heartbeats of the replica's lease, on one dedicated connection.
    Lease,
    /// Readiness probes of the server.
    Probe,
    /// Claims and commits of deployments, and the budgets of their calls to AWS.
    Reconcile,
    /// Requests to the API.
    Api,
    /// New events of watched deployments, read once for all subscribers.
    Live,
    /// Past events, read separately for each subscriber.
    Replay,
    /// Report queries of the API.
    Reports,
    /// Schedules, the queue, retention, and the other periodic tasks.
    Background,
}

impl Class {
    /// Every class of work.
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

    /// Minimum number of connections: the sum of the classes' own minimums.
    pub const LEAST: u32 = 10;

    /// Returns the name of the class in metrics and messages.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the class's number of connections out of `total` (at least [`Class::LEAST`]): its minimum, plus its part of the others, which
    /// are distributed in the order of `SPARE`.
    pub fn share(self, total: u32) -> u32 {
        let fewest = match self {
            Self::Reconcile | Self::Api => 2,
            _ => 1,
        };
        let spare = total.saturating_sub(Self::LEAST) as usize;
        let dealt = SPARE.iter().cycle().take(spare).filter(|class| **class == self).count();
        fewest + u32::try_from(dealt).unwrap_or(u32::MAX)
    }

    /// Returns the longest wait for a connection of the class. `configured` is the operator's setting.
    pub fn patience(self, configured: Duration) -> Duration {
        match self {
            Self::Reports | Self::Probe => configured.min(SHORT_PATIENCE),
            Self::Replay => REPLAY_PATIENCE,
            Self::Lease | Self::Reconcile | Self::Api | Self::Live | Self::Background => configured,
        }
    }

    /// Returns the time limit of a statement, as the value of Postgres' setting `statement_timeout`.
    pub fn statement_limit(self) -> &'static str {
        match self {
            // An answer after the end of the lease is useless.
            Self::Lease | Self::Probe => "5s",
            _ => "15s",
        }
    }
}

/// Snapshot of a class's connections and waiting callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Class of work that the numbers describe.
    pub class: Class,
    /// Number of connections in use.
    pub used: usize,
    /// Number of open connections not in use.
    pub idle: usize,
    /// Number of callers that wait for a connection.
    pub waiting: usize,
    /// Number of callers since the start whose wait timed out.
    pub rejected: u64,
    /// Total time since the start that callers have waited.
    pub waited: Duration,
}

/// Snapshot of the work that waits for other work of the same caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerUsage {
    /// Class of work that the numbers describe.
    pub class: Class,
    /// Pieces of work that wait for others of their caller.
    pub waiting: usize,
    /// Pieces of work since the start whose wait timed out.
    pub rejected: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_every_class_has_one() {
        for total in Class::LEAST..1_000 {
            let shares = Class::ALL.map(|class| class.share(total));
            assert_eq!(shares.iter().sum::<u32>(), total, "of {total}");
            assert!(shares.iter().all(|share| *share >= 1), "of {total}: {shares:?}");
        }
        // Even below the configurable minimum, no class is without a connection.
        assert!(Class::ALL.iter().all(|class| class.share(1) >= 1));
    }

    #[test]
    fn default_is_distributed_as_documented() {
        assert_eq!(Class::ALL.map(|class| class.share(16)), [1, 1, 3, 4, 1, 2, 2, 2]);
    }
}
