//! The reconcile loop: claims deployments, drives each one step at a time, commits what came of it.
//!
//! # The crash argument
//! A deployment is a row; what is in memory can be lost at any line. Line by line:
//!
//! 1. **Before the claim**: nothing of ours exists. The row is found again by any replica's sweep, with or without a notification.
//! 2. **After the claim, before the step**: the row says that we own it. Our heartbeat stops with us; when the lease has run out (by
//!    the database's clock, never ours) another replica claims it, and the version moves on.
//! 3. **In the step, before an outside call**: as 2.
//! 4. **After an outside call, before the commit**: the next owner runs the same step from its beginning. Every step looks before
//!    it acts (see `steps`), so the effect is found, not made again; events carry keys, so what was told is not told again.
//! 5. **In the commit**: state, facts, history cursor and events are one statement, which may hold other deployments' commits as well,
//!    each fenced by itself (`db/commit/group.rs`). It happened or it did not. If the answer is
//!    lost we do not know which: the commit is never resent; the row is read again and driven from what it says.
//! 6. **After the commit, before the notification**: streams and replicas look at the tables every second or so anyway.
//! 7. **Paused past the lease** (SIGSTOP, a swap storm, a cut network): the first commit afterwards names an old version, changes
//!    nothing, and the deployment is forgotten here. What the outside saw twice falls under 4.
//! 8. **Between the end of a deployment and the turn of the next one at its target**: every replica's sweep gives turns that are due;
//!    that two are given is ruled out by a unique index.
//! 9. **In the start of a scheduled deployment**: what became of its time, the deployment and the next time are one transaction, and the
//!    first has a key. It happened, or the schedule is due still and whoever looks next has it (`schedules`).
//! 10. **Dying in one step again and again**: each claim without progress is counted in the row; after some the deployment fails.
//!
//! `tests/it/crash` kills a process at each of these lines (`failpoints`), pauses it past its lease, and tells it to leave.
//!
//! One more thing is needed for 7: a replica that cannot renew its lease, whatever the reason (no answer, read-only, disk full, no
//! connection free), stops acting *before* it runs out, so that two replicas are at work on one deployment only if one of them is
//! paused (`lease`).

mod connections;
mod driver;
mod housekeeping;
mod lease;
mod limits;
mod log;
mod memory;
mod notifier;
mod permit;
mod row;
mod run;
mod schedules;
mod turns;
mod upkeep;
mod worker;

pub use housekeeping::tidy;
pub use notifier::Notifier;
pub use worker::{Reconciler, ReconcilerOptions};
