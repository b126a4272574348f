//! Proxies of npm's packages before a Panda, as front ends build them.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::installed::{REMEDY, installed, program};
use crate::root;

/// Kinds of proxies, each with compression.
pub const KINDS: [&str; 4] =
    ["express 4, http-proxy-middleware 2", "express 5, http-proxy-middleware 3", "http-proxy", "fetch"];

/// A running proxy; dropping it ends it.
pub struct NodeProxy {
    pub url: String,
    _process: Child,
}

impl NodeProxy {
    /// Starts one of [`KINDS`] before `panda`.
    pub async fn before(panda: SocketAddr, kind: &str) -> Self {
        let packages = installed().join("node_modules");
        assert!(packages.join("compression").is_dir(), "{} is missing. {REMEDY}", packages.display());
        let mut command = Command::new(program(&["node"]));
        command
            .arg(root().join("crates/testing/readers/proxy.mjs"))
            .arg(packages)
            .args([kind, &format!("http://{panda}")]);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("{kind} does not start"));
        Self { url: format!("http://127.0.0.1:{port}"), _process: process }
    }
}
