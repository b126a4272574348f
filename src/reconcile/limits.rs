//! Limits and intervals of the reconciler that need no configuration.

use std::time::Duration;

/// Interval between two sweeps for claimable rows, when no notification arrives.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The same while no deployment of the installation is active. Only a new deployment whose notification was lost waits that long: the replica of
/// an active one may die, and others then sweep at [`SWEEP_INTERVAL`].
pub(super) const IDLE_SWEEP_INTERVAL: Duration = Duration::from_secs(2);

/// Sweeps after which the worker checks for rows that this replica owns without a task.
pub(super) const RECHECK_SWEEPS: u32 = 10;

/// First delay before a step is retried.
pub(super) const RETRY_BASE: Duration = Duration::from_millis(500);

/// Longest delay before a step is retried.
pub(super) const RETRY_CAP: Duration = Duration::from_secs(30);

/// Longest time by which throttling extends the limits of a deployment while one replica drives it. A quota that is exceeded for longer does not pass by
/// itself.
pub(super) const MAX_THROTTLED: Duration = Duration::from_hours(1);

/// Longest time by which waiting for the renewal of a connection extends the limits of an attempt.
pub(super) const MAX_RENEWAL_WAIT: Duration = Duration::from_hours(24);

/// Time between two looks for renewed credentials.
pub(super) const RENEWAL_POLL: Duration = Duration::from_secs(2);

/// Time after which refused credentials are tried again: a role may trust the controller again, and a key may be active again.
pub(super) const RENEWAL_PROBE: Duration = Duration::from_mins(1);

/// Claims without progress after which the driver checks how the earlier runs were interrupted.
pub(super) const SUSPICIOUS_CLAIMS: i32 = 6;

/// Refused statements in a row after which the deployment fails.
pub(super) const MAX_REFUSALS: u32 = 3;

/// Time that short steps have to end at a shutdown.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// Delay before the next try to take a lock that another deployment holds.
pub(super) const LOCK_RETRY: Duration = Duration::from_millis(200);

/// Most events in one commit in the middle of a step.
pub(super) const PROGRESS_BATCH: usize = 200;

/// Most events that wait for a commit; at this number the step blocks.
pub(super) const PROGRESS_CAPACITY: usize = 1_000;

/// Shortest time between two notifications of events: NOTIFY takes a database-wide lock.
pub(super) const NOTIFY_INTERVAL: Duration = Duration::from_millis(20);

/// Time for which a short step that is running at its time limit may continue: the SDK's tries of a throttled call take up to three seconds.
pub(super) const RUN_GRACE: Duration = Duration::from_secs(5);

/// Least time that a short step has after a takeover.
pub(super) const TAKEOVER_TIME: Duration = Duration::from_secs(1);

/// Time limit for finding the cause of a step's timeout.
pub(super) const CAUSE_LIMIT: Duration = Duration::from_secs(20);
