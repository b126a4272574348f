//! A moto of the test's own: an independent implementation of AWS, in Python, that really runs state machines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use panda::sandbox::parts::PartsError;
use panda::sandbox::parts::leash::{Leash, Program, RunAs, StopSignal};
use serde_json::json;
use tempfile::TempDir;
use url::Url;

const REMEDY: &str = "Install it with `scripts/install.sh test` (which `make test` does), or name another installation's moto_server in \
                      PANDA_TEST_MOTO_SERVER.";
const READY_LIMIT: Duration = Duration::from_mins(1);
const PORT_TRIES: u32 = 5;

/// A running moto; it ends with this value.
pub struct Moto {
    url: Url,
    _leash: Leash,
    _dir: TempDir,
}

impl Moto {
    /// Starts one on a free port, set to run state machines for real and functions without containers.
    pub async fn start() -> Self {
        let executable = executable();
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..PORT_TRIES {
            match start_once(&executable, dir.path()).await {
                Ok((url, leash)) => return Self { url, _leash: leash, _dir: dir },
                // Somebody took the port that was free a moment ago.
                Err(PartsError::Start { tail, .. }) if tail.contains("in use") => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("moto found no port in {PORT_TRIES} tries");
    }

    /// Where it answers.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

async fn start_once(executable: &Path, dir: &Path) -> Result<(Url, Leash), PartsError> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut leash = Program {
        part: "moto",
        executable: executable.to_owned(),
        args: ["-H", "127.0.0.1", "-p", &port.to_string()].map(Into::into).to_vec(),
        // Its state machines call its other services, at the port that this names.
        env: vec![("MOTO_PORT", port.to_string())],
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

/// Where `moto_server` is: what the variable names, else where `scripts/install.sh` puts it.
fn executable() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/moto/bin/moto_server");
    let path = std::env::var_os("PANDA_TEST_MOTO_SERVER").map_or(installed, PathBuf::from);
    assert!(path.is_file(), "there is no moto at {}. {REMEDY}", path.display());
    path
}
