//! The address of a builder.

use std::path::PathBuf;

/// The socket address of a Docker engine or a BuildKit daemon, in the syntax of `DOCKER_HOST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuilderAddress {
    /// `unix:///path`, `tcp://host:port` or `http://host:port`.
    pub host: String,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`, read again for each connection so that renewed certificates need no restart.
    pub certs: Option<PathBuf>,
}
