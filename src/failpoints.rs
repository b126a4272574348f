//! Places where a test ends the process, as `kill -9` would. Compiled only with the feature `failpoints`; without it nothing is left
//! of them.
//!
//! A point's name is `{step}/{what}/{before or after}`: the step is the one that the driver runs, so nobody writes lists. A process
//! whose `PANDA_FAILPOINTS_TRACE` names a file writes there each point that it comes to, in order, and the one where it ends; one
//! whose `FAILPOINTS` (the syntax is that of the crate `fail`) is `fetch_source/git fetch/after=return` ends there.
//! `docs/decisions/0009-fail-points.md`.

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

    /// Arms what the environment says, until the result is dropped.
    pub fn arm() -> impl Sized {
        fail::FailScenario::setup()
    }

    /// The points that `work` comes to have this step's name.
    pub(crate) fn within<F: Future>(step: &'static str, work: F) -> impl Future<Output = F::Output> {
        STEP.scope(step, Box::pin(work))
    }

    /// A point before `call` and one after it.
    pub(crate) fn around<F: Future>(what: &'static str, call: F) -> impl Future<Output = F::Output> {
        // Boxed, here and above: a future within a future within a future is not small.
        let call = Box::pin(call);
        async move {
            reached(&format!("{what}/before"));
            let answer = call.await;
            reached(&format!("{what}/after"));
            answer
        }
    }

    /// A point.
    pub(crate) fn reached(what: &str) {
        // What a replica does for no step in particular.
        let step = STEP.try_with(|step| *step).unwrap_or("replica");
        let name = format!("{step}/{what}");
        trace(&name);
        fail::fail_point!(&name, |_| die(&name));
    }

    /// One write of a whole line: lines of several threads do not mix.
    fn trace(name: &str) {
        let Some(path) = std::env::var_os("PANDA_FAILPOINTS_TRACE") else { return };
        let written = OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) = written.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes())) {
            tracing::error!(%error, "the trace of fail points cannot be written");
        }
    }

    /// No destructor, no handler, no flushing: what a power cut leaves is what a test must find.
    fn die(name: &str) {
        trace(&format!("killed at {name}"));
        let _ = kill(Pid::this(), Signal::SIGKILL);
        std::process::abort();
    }
}

#[cfg(not(feature = "failpoints"))]
mod points {
    use std::future::Future;

    /// Nothing to arm.
    pub fn arm() -> impl Sized {}

    pub(crate) fn within<F: Future>(_: &'static str, work: F) -> F {
        work
    }

    pub(crate) fn around<F: Future>(_: &'static str, call: F) -> F {
        call
    }

    pub(crate) fn reached(_: &str) {}
}
