//! Points at which a test ends the process, as `kill -9` would. Without the feature `failpoints` they compile to nothing.
//!
//! A point is named `{step}/{call}/{before or after}`. The driver supplies the name of the running step, so no list of points has to be
//! maintained. If `PANDA_FAILPOINTS_TRACE` names a file, the process appends each point that it reaches, in order, and the one at which
//! it ends. With `FAILPOINTS=fetch_source/git fetch/after=return` (syntax of the crate `fail`) the process ends at that point.
//! See `docs/decisions/0009-fail-points.md`.

pub use points::arm;
pub(crate) use points::{around, reached, within};

#[cfg(feature = "failpoints")]
mod points {
    use std::fs::OpenOptions;
    use std::future::Future;
    use std::io::Write as _;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    tokio::task_local! {
        static STEP: &'static str;
    }

    /// Arms the points that the environment variable `FAILPOINTS` names, until the returned guard is dropped.
    pub fn arm() -> impl Sized {
        fail::FailScenario::setup()
    }

    /// Runs `work` with `step` as the name of the step in all points that it reaches.
    pub(crate) fn within<F: Future>(step: &'static str, work: F) -> impl Future<Output = F::Output> {
        STEP.scope(step, Box::pin(work))
    }

    /// Adds a point before `call` and another one after it.
    pub(crate) fn around<F: Future>(what: &'static str, call: F) -> impl Future<Output = F::Output> {
        // Boxed, here and above, because nested futures grow large on the stack.
        let call = Box::pin(call);
        async move {
            reached(&format!("{what}/before"));
            let answer = call.await;
            reached(&format!("{what}/after"));
            answer
        }
    }

    /// Marks a single point, without before and after.
    pub(crate) fn reached(what: &str) {
        // Outside a step, the work belongs to the replica itself.
        let step = STEP.try_with(|step| *step).unwrap_or("replica");
        let name = format!("{step}/{what}");
        trace(&name);
        fail::fail_point!(&name, |_| die(&name));
    }

    /// Writes the whole line in one call, so that lines of several threads do not mix.
    fn trace(name: &str) {
        let Some(path) = std::env::var_os("PANDA_FAILPOINTS_TRACE") else { return };
        let written = OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) = written.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes())) {
            tracing::error!(%error, "fail point trace not written");
        }
    }

    /// Ends the process without destructors, handlers or flushing: a test must find the state that a power cut would leave.
    fn die(name: &str) {
        trace(&format!("killed at {name}"));
        let _ = kill(Pid::this(), Signal::SIGKILL);
        std::process::abort();
    }
}

#[cfg(not(feature = "failpoints"))]
mod points {
    use std::future::Future;

    /// Does nothing without the feature.
    pub fn arm() -> impl Sized {}

    pub(crate) fn within<F: Future>(_: &'static str, work: F) -> F {
        work
    }

    pub(crate) fn around<F: Future>(_: &'static str, call: F) -> F {
        call
    }

    pub(crate) fn reached(_: &str) {}
}
