//! The program's pure rules as a separate crate: fuzzing them needs neither the AWS SDK nor the web framework, which would take ten
//! minutes to build with sanitizers.
#![allow(dead_code, missing_docs)]

#[path = "../../src/domain/mod.rs"]
pub mod domain;
