//! The reconcile loop: claims deployments, drives each one step at a time and commits the outcome of every step.
//!
//! # The crash argument
//! A deployment is a row; everything in memory can be lost at any line. Line by line:
//!
//! 1. **Before the claim**: this replica has written nothing. The sweep of any replica finds the row, with or without a notification.
//! 2. **After the claim, before the step**: the row names this replica as its owner. The heartbeat stops with the process; when the lease has
//!    expired (by the database's clock, never the machine's) another replica claims the row and increments its version.
//! 3. **In the step, before an external call**: as 2.
//! 4. **After an external call, before the commit**: the next owner runs the same step from its beginning. Every step checks before
//!    it acts (see `steps`), so it finds the effect and does not repeat it; events carry keys, so none is published twice.
//! 5. **In the commit**: state, facts, history cursor and events are one statement, which may hold other deployments' commits as well,
//!    each fenced separately (`db/commit/group_commit.rs`). It happened or it did not. If the answer is
//!    lost, the driver cannot know which: it never resends the commit, but reads the row again and resumes from its state.
//! 6. **After the commit, before the notification**: streams and replicas poll the tables about every second anyway.
//! 7. **Paused past the lease** (SIGSTOP, a swap storm, a cut network): the first commit afterwards names an old version and changes
//!    nothing, and this replica drops the deployment. External effects that were requested twice fall under 4.
//! 8. **Between the end of a deployment and the start of the next one in its target's queue**: every replica dequeues periodically (`background`);
//!    a unique index rules out that two start.
//! 9. **In the start of a scheduled deployment**: the result of the due time, the deployment and the next time are one transaction, and the
//!    result has a key. It happened, or the schedule is still due and the next replica that polls starts it (`background/schedules`).
//! 10. **Dying in one step again and again**: the row counts each claim without progress; after several the deployment fails.
//!
//! `tests/it/crash` kills a process at each of these lines (`failpoints`), pauses it past its lease, and shuts it down.
//!
//! Line 7 needs one more rule: a replica that cannot renew its lease, for any reason (no answer, read-only, disk full, no
//! connection free), stops acting *before* the lease expires, so that two replicas work on one deployment only if one of them is
//! paused (`lease`).

mod connections;
mod driver;
mod ends;
mod extra_time;
mod lease;
mod limits;
mod notifier;
mod options;
mod pacing;
mod permit;
mod queue;
mod renewal;
mod retries;
mod row;
mod run;
mod run_outcome;
mod step_progress;
mod waiting;
mod worker;

pub use notifier::Notifier;
pub use options::ReconcilerOptions;
pub(crate) use queue::dequeue;
pub use worker::Reconciler;
