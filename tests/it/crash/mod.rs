//! A process that is killed, paused or shut down at any line loses nothing and repeats nothing.

mod clocks;
#[cfg(feature = "failpoints")]
mod event_summary;
#[cfg(feature = "failpoints")]
mod matrix;
#[cfg(feature = "failpoints")]
mod periodic;
mod repeated_steps;
mod replicas;
mod scenario;
