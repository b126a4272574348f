//! A moto per test: an independent implementation of AWS, in Python, that really runs state machines.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use panda_dev_services::DevServicesError;
use panda_dev_services::child_guard::{ChildGuard, Program, RunAs, StopSignal};
use serde_json::json;
use tempfile::TempDir;
use url::Url;

use crate::installed::folder;
use crate::process::on_free_port;
use crate::root;

const REMEDY: &str = "Install it with `scripts/install.sh test` (which `make test` does), or name another installation's moto_server in \
                      PANDA_TEST_MOTO_SERVER.";
const READY_LIMIT: Duration = Duration::from_mins(1);

/// A running moto; dropping it ends it.
pub struct Moto {
    url: Url,
    _leash: ChildGuard,
    _dir: TempDir,
}

impl Moto {
    /// Starts one on a free port, configured to run state machines for real and functions without containers.
    pub async fn start() -> Self {
        Self::with(None).await
    }

    /// The same with complete SDK integrations of Step Functions: `crates/testing/moto/sitecustomize.py` says which parts moto lacks.
    pub async fn with_sdk_integrations() -> Self {
        Self::with(Some(root().join("crates/testing/moto"))).await
    }

    async fn with(python_path: Option<PathBuf>) -> Self {
        let executable = executable();
        let dir = tempfile::tempdir().unwrap();
        let start =
            async |listen: SocketAddr| start_once(&executable, dir.path(), listen.port(), python_path.as_deref()).await;
        let (url, leash) = on_free_port("moto", start).await;
        Self { url, _leash: leash, _dir: dir }
    }

    pub fn url(&self) -> &Url {
        &self.url
    }
}

async fn start_once(
    executable: &Path,
    dir: &Path,
    port: u16,
    python_path: Option<&Path>,
) -> Result<(Url, ChildGuard), DevServicesError> {
    let python_path = python_path.map(|path| ("PYTHONPATH", path.display().to_string()));
    let mut leash = Program {
        part: "moto",
        executable: executable.to_owned(),
        args: ["-H", "127.0.0.1", "-p", &port.to_string()].map(Into::into).to_vec(),
        // Its state machines call its other services at this port.
        env: [("MOTO_PORT", port.to_string())].into_iter().chain(python_path).collect(),
        run_as: RunAs::Us,
        stop_signal: StopSignal::Term,
        grace: Duration::from_secs(2),
        log: dir.join("moto.log"),
        remedy: REMEDY,
    }
    .start()?;
    let url: Url = format!("http://127.0.0.1:{port}/").parse().unwrap();
    let config = url.join("moto-api/config").unwrap();
    let settings = json!({"stepfunctions": {"execute_state_machine": true}, "lambda": {"use_docker": false}});
    let client = reqwest::Client::new();
    let configured = async || {
        let sent = client.post(config.clone()).json(&settings).timeout(Duration::from_secs(5)).send().await;
        sent.is_ok_and(|answer| answer.status().is_success())
    };
    leash.ready(READY_LIMIT, configured).await?;
    Ok((url, leash))
}

/// Path of `moto_server`: from the variable, else from `scripts/install.sh`.
fn executable() -> PathBuf {
    let path = folder("PANDA_TEST_MOTO_SERVER", "moto/bin/moto_server");
    assert!(path.is_file(), "moto is missing at {}. {REMEDY}", path.display());
    path
}

/// The Python of moto's environment, which has botocore.
pub fn python() -> PathBuf {
    executable().with_file_name("python")
}
