//! All integration tests, one binary: linking once is most of the build.

mod clients;
