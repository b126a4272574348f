//! BuildKit, in a Docker engine or as a daemon of its own, over its gRPC protocol.
//!
//! One build is one `Solve` call with two companions: a *session*, through which the daemon reads the files, logins and secrets of
//! this build and no others, and a *status* stream with the steps. Dropping the future ends all three, and the daemon ends the build.
//!
//! The library bollard drives the same protocol, but without status and digest, and with the context in memory: decision 0039.

mod credentials;
mod errors;
pub(super) mod faults;
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

pub use credentials::{Credentials, Login};
pub use request::{Cache, Output, Solve};
pub use secrets::Secrets;
pub use transport::{Address, Daemon};

use super::build::{BuildError, BuildLog, Progress};
use super::{ClientError, ErrorKind};
use crate::failpoints::reached;
use crate::metrics::BuildMetrics;
use progress::Steps;

const CALL: &str = "buildkit solve";

/// The most bytes of one message, as BuildKit itself limits it.
const MESSAGE_BYTES: usize = 16 << 20;

/// How long the last status may take after the build has ended.
const LAST_STATUS: Duration = Duration::from_secs(5);

/// How long a daemon may take to describe itself.
const INFO_TIMEOUT: Duration = Duration::from_secs(10);

/// A BuildKit daemon, by its address. Each build opens a connection of its own.
#[derive(Clone, Debug)]
pub struct BuildKit {
    daemon: Daemon,
    address: Address,
    metrics: BuildMetrics,
}

/// What a finished build left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solved {
    /// Digest of the pushed manifest or, from a Docker engine's exporter, what that engine reports.
    pub digest: Option<String>,
}

impl BuildKit {
    /// The daemon at `address`.
    pub fn new(daemon: Daemon, address: Address, metrics: BuildMetrics) -> Self {
        Self { daemon, address, metrics }
    }

    /// The daemon's version as far as it reports one; an error when no BuildKit answers there.
    pub async fn version(&self) -> Result<Option<String>, ClientError> {
        let asked = async {
            let mut control = self.control().await?;
            // Known since BuildKit 0.11; any daemon lists its workers.
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

    /// Builds; progress is sent to `lines`, waiting while it is not taken.
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
            // Ends with the build. A daemon that cannot report it builds all the same.
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
                        // Without its session the daemon cannot go on; its own answer says more, if it comes.
                        in_session = false;
                        if let Err(error) = ended {
                            tracing::debug!(%error, "build session ended");
                        }
                    }
                }
            };
            if !watched {
                let _ = timeout(LAST_STATUS, &mut watch).await;
            }
            solved
        };
        // Beside the build, so that a reader who is slow to take its lines holds up neither the session nor the daemon's look at it.
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
                let unreadable = unreadable.lock().ok().and_then(|mut text| text.take());
                let failed = steps.failed();
                let last_lines = log.last_lines(failed.map(|(number, _)| number));
                Err(errors::explain(&status, failed.map(|(_, name)| name), unreadable, last_lines))
            }
        }
    }

    async fn take(&self, steps: &mut Steps, status: StatusResponse, log: &mut BuildLog) {
        for progress in steps.take(status) {
            match progress {
                Progress::Line { step, text } => log.line(step, text).await,
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
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES))
    }
}

fn digest(solved: &SolveResponse) -> Solved {
    Solved { digest: solved.exporter_response.get("containerimage.digest").cloned() }
}

fn unavailable(status: &Status) -> ClientError {
    ClientError::new(ErrorKind::Unavailable, CALL, format!("{:?}: {}", status.code(), status.message()))
}

/// A name that no other build has and nobody can guess.
fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
