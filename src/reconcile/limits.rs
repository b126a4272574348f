//! Numbers of the reconciler that nobody needs to configure.

use std::time::Duration;

/// Between two sweeps for claimable rows, when no notification comes.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

/// Sweeps after which we look for rows that we own and nobody drives.
pub(super) const RECHECK_SWEEPS: u32 = 10;

/// Between two looks for turns that nobody gave and deployments that nobody advances.
pub(super) const UPKEEP: Duration = Duration::from_secs(10);

/// Longest time between two looks for schedules that are due: one that was just made may have to wait for it.
pub(super) const SCHEDULES_SWEEP: Duration = Duration::from_secs(5);

/// Between two looks whether the sign-in settings here are the newest. Well below the time for which other replicas' count.
pub(super) const SETTINGS_LOOK: Duration = Duration::from_secs(10);

/// Between two looks for schedules whose permission has ended before they are due.
pub(super) const PERMISSIONS_SWEEP: Duration = Duration::from_secs(30);

/// Shortest: another replica is at what is due.
pub(super) const SCHEDULES_AGAIN: Duration = Duration::from_millis(200);

/// How long a deployment has to be left alone to be named in the log: a takeover is none of it.
pub(super) const OVERDUE_IS_NEWS: Duration = Duration::from_secs(30);

/// Between two lines in the log about it.
pub(super) const OVERDUE_NEWS_EVERY: Duration = Duration::from_mins(1);

/// First wait before a step is tried again.
pub(super) const RETRY_BASE: Duration = Duration::from_millis(500);

/// Longest wait before a step is tried again.
pub(super) const RETRY_CAP: Duration = Duration::from_secs(30);

/// Claims without progress after which it is counted how the runs before were interrupted.
pub(super) const SUSPICIOUS_CLAIMS: i32 = 6;

/// Statements in a row that the database refuses before the deployment fails.
pub(super) const MAX_REFUSALS: u32 = 3;

/// How long short steps may take to end at a shutdown.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// How long a lock that another deployment holds is left alone.
pub(super) const LOCK_RETRY: Duration = Duration::from_millis(200);

/// Events that one commit takes at most in the middle of a step.
pub(super) const PROGRESS_BATCH: usize = 200;

/// Events that wait for a commit; then the step waits.
pub(super) const PROGRESS_CAPACITY: usize = 1_000;

/// Least time between two notifications of events: NOTIFY takes a lock of the whole database.
pub(super) const NOTIFY_EVERY: Duration = Duration::from_millis(20);
