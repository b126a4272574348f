//! BuildKit client over its gRPC protocol, for the BuildKit of a Docker engine or a separate daemon.
//!
//! A build is a `Solve` call together with two others: a *session*, through which the daemon reads the files, logins and secrets of this build only,
//! and a *status* stream that reports the steps. Dropping the future ends all three, and the daemon then ends the build.
//!
//! The library bollard implements the same protocol, but without status and digest, and with the context in memory: see decision 0039.

mod credentials;
mod errors;
mod files;
mod progress;
mod request;
mod secrets;
mod session;
mod transport;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{
    InfoRequest, ListWorkersRequest, SolveResponse, StatusRequest, StatusResponse,
};
use futures_util::StreamExt as _;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;

pub use request::{Cache, Output, Solve};
pub use secrets::MountedSecrets;
pub use transport::Daemon;

use super::build::{BuildError, BuildLog, Progress};
use super::builder_address::BuilderAddress;
use super::{ClientError, ErrorKind};
use crate::failpoints::reached;
use crate::metrics::BuildMetrics;
use progress::Steps;

const CALL: &str = "buildkit solve";

/// Maximum size of one message in bytes, the same as BuildKit's own limit.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Time limit for the last status after the build has ended.
const LAST_STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for the daemon's answer to an information request.
const INFO_TIMEOUT: Duration = Duration::from_secs(10);

/// Client for a BuildKit daemon, identified by its address. Each build opens a separate connection.
#[derive(Clone, Debug)]
pub struct BuildKit {
    daemon: Daemon,
    address: BuilderAddress,
    metrics: BuildMetrics,
}

/// Result of a successful build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solved {
    /// Digest of the pushed manifest; from a Docker engine's exporter, the value that the engine reports.
    pub digest: Option<String>,
}

impl BuildKit {
    /// Creates a client for the daemon at `address`.
    pub fn new(daemon: Daemon, address: BuilderAddress, metrics: BuildMetrics) -> Self {
        Self { daemon, address, metrics }
    }

    /// Fetches the daemon's version; `None` if it does not report one. Fails if no BuildKit answers there.
    pub async fn version(&self) -> Result<Option<String>, ClientError> {
        let asked = async {
            let mut control = self.control().await?;
            // `Info` exists since BuildKit 0.11; every daemon can list its workers.
            match control.info(InfoRequest {}).await {
                Ok(info) => Ok(info.into_inner().buildkit_version.map(|version| version.version)),
                Err(status) if status.code() == tonic::Code::Unimplemented => {
                    control.list_workers(ListWorkersRequest::default()).await.map_err(|status| unavailable(&status))?;
                    Ok(None)
                }
                Err(status) => Err(unavailable(&status)),
            }
        };
        timeout(INFO_TIMEOUT, asked)
            .await
            .map_err(|_| ClientError::new(ErrorKind::Unavailable, CALL, "no answer in time"))?
    }

    /// Runs a build, and sends progress to `lines`, waiting while the channel is full.
    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    pub async fn solve(&self, solve: Solve, lines: mpsc::Sender<Progress>) -> Result<Solved, BuildError> {
        let control = self.control().await?;
        let (id, reference) = (unique(), unique());
        let output_bytes = solve.output_bytes;
        let (request, services) = solve.into_request(&id, &reference);
        let unreadable = services.files.unreadable();
        let (mut solving, mut watching) = (control.clone(), control.clone());
        let (updates, mut received) = mpsc::channel(16);
        let watch = async move {
            // Ends with the build. A daemon without this call can build nevertheless.
            let Ok(stream) = watching.status(StatusRequest { r#ref: reference }).await else { return };
            let mut stream = stream.into_inner();
            while let Some(Ok(status)) = stream.next().await {
                if updates.send(status).await.is_err() {
                    return;
                }
            }
        };
        reached("docker build/before");
        let drive = async {
            let session = session::serve(control.clone(), &id, services);
            let solve = solving.solve(request);
            tokio::pin!(session, solve, watch);
            let (mut watched, mut in_session) = (false, true);
            let solved = loop {
                tokio::select! {
                    solved = &mut solve => break solved,
                    () = &mut watch, if !watched => watched = true,
                    ended = &mut session, if in_session => {
                        // Without its session the daemon cannot continue; its own answer is more precise, if it arrives.
                        in_session = false;
                        if let Err(error) = ended {
                            tracing::debug!(%error, "build session ended");
                        }
                    }
                }
            };
            if !watched {
                let _ = timeout(LAST_STATUS_TIMEOUT, &mut watch).await;
            }
            solved
        };
        // Runs concurrently with the build, so that a slow receiver of lines delays neither the session nor the daemon's health checks.
        let report = async {
            let (mut steps, mut log) = (Steps::default(), BuildLog::new(lines, output_bytes));
            while let Some(status) = received.recv().await {
                reached("docker build/under way");
                self.take(&mut steps, status, &mut log).await;
            }
            (steps, log)
        };
        let (solved, (steps, log)) = tokio::join!(drive, report);
        reached("docker build/after");
        match solved {
            Ok(solved) => Ok(digest(&solved.into_inner())),
            Err(status) => {
                let unreadable = unreadable.lock().take();
                let failed = steps.failed();
                let last_lines = log.last_lines(failed.map(|(number, _)| number));
                Err(errors::explain(&status, failed.map(|(_, name)| name), unreadable, last_lines))
            }
        }
    }

    async fn take(&self, steps: &mut Steps, status: StatusResponse, log: &mut BuildLog) {
        for progress in steps.take(status) {
            match progress {
                Progress::Line { step, line } => log.line(step, line).await,
                Progress::Ended(step) => {
                    self.metrics.step(step.cached);
                    log.ended(step).await;
                }
            }
        }
    }

    async fn control(&self) -> Result<ControlClient<Channel>, ClientError> {
        let channel = transport::connect(self.daemon, &self.address).await?;
        Ok(ControlClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }
}

fn digest(solved: &SolveResponse) -> Solved {
    Solved { digest: solved.exporter_response.get("containerimage.digest").cloned() }
}

fn unavailable(status: &Status) -> ClientError {
    ClientError::new(ErrorKind::Unavailable, CALL, format!("{:?}: {}", status.code(), status.message()))
}

/// Returns a name that no other build has and that cannot be guessed.
fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
