//! Killed, paused or told to leave at any line: nothing is lost, nothing is done twice.

mod clocks;
#[cfg(feature = "failpoints")]
mod matrix;
mod replicas;
mod scenario;
#[cfg(feature = "failpoints")]
mod told;
#[cfg(feature = "failpoints")]
mod trace;
mod twice;
