//! A stateful local AWS (and GitHub) that speaks the real wire protocols, for `panda up`, `panda demo` and tests.
//!
//! Nothing of the program uses this room but `main`/`cli` and tests.

pub mod git;
pub mod github;
pub mod parts;
