//! Commands: the changes that callers request. One file a command, which reads from top to bottom as its rule.
//!
//! A command decides (role, scope, four-eyes approval, what is in the way) and records the *intent* in one transaction, together with its audit entry and
//! the answer under the caller's idempotency key: all of it or nothing. It causes no external effect (but [`connect::aws::rule_role`] and [`receivers::probe`]); a replica finds
//! the row and carries it out. A process may die on any line: either the command is committed, or the client has no answer and repeats the request.
//! Statements are in `db`, texts of refusals in `http`. Waking the replicas up after the commit is the caller's part, because it is only a hint.
//!
//! | command | rule |
//! | --- | --- |
//! | [`deploy::deploy`] | one unfinished deployment per target: reject, queue or supersede |
//! | [`switch::switch`] | an approver moves the traffic of a ready deployment, once; four-eyes approval |
//! | [`cancel::cancel`] | ends an unfinished deployment; during its switch only for an approver |
//! | [`retry::retry`] | another attempt of a failed deployment; for an approver if it was to be switched |
//! | [`schedules`] `::create`, `change`, `delete`, `run_now` | the caller becomes the owner; `run_now` acts as the caller |
//! | [`schedules::run_due`], [`schedules::stop`] | a due schedule starts a deployment as its owner, as long as the owner's permission exists |
//! | [`schedules::retime`] | next times follow the newest edition of the time zone database |
//! | [`freezes`] `::create`, `lift` | an admin of what a freeze covers holds starts or switches for a time; an approver overrides it with a reason |
//! | [`policies`] | an admin of a repository stores what its targets permit, in versions |
//! | [`connect::github`], [`connect::aws`] `::connect`, `renew`; [`connect::remove`] | stored once the service confirmed it; one connection of a branch or identity per tenant; not removed in use |
//! | [`connect::aws::rule_role`] `::create` | creates the role of a connected account's rules, in AWS; overwrites no other role |
//! | [`connect::aws::preflight`] | looks up what a deployment needs; for callers who may deploy with the connection, or renew it |
//! | [`github_apps`] `::begin`, `exchange` | only the caller who began an App exchanges GitHub's code for its key, once; callers of the same scope connect with it |
//! | [`build_secrets`] | values that builds of a connection's repository may read |
//! | [`revocations`], [`tokens`] | end a principal with its schedules and queued deployments |
//! | [`receivers`] | an admin of the repositories whose events a receiver gets; `probe` sends a test event |
//! | [`push_hooks`] | an admin of the repositories of its rules; `receive` starts the deployment that a push to GitHub asks for, as its owner |
//! | [`sessions`] | a session or ticket reads with its caller's permission |
//! | [`log_filter`], [`maintenance`] | an admin of all repositories |
//! | [`refusals`] | the record of refused commands |

pub mod access;
pub mod auto_switch;
pub mod build_secrets;
pub mod cancel;
pub mod connect;
pub mod deploy;
pub mod deployment_change;
pub mod error;
pub mod freezes;
pub mod github_apps;
pub mod idempotency;
pub mod log_filter;
pub mod maintenance;
mod notify;
pub mod outcome;
pub mod policies;
pub mod push_hooks;
pub mod receivers;
pub mod refusals;
pub mod retry;
pub mod revocations;
pub mod rollback;
pub mod schedules;
pub mod sessions;
pub mod switch;
pub mod tokens;

pub use error::CommandError;
