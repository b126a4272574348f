//! Building an image.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bollard::{
    body_try_stream, errors::Error as EngineError, models::BuildInfo, query_parameters::BuildImageOptionsBuilder,
};
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::{
    super::{ClientError, ErrorKind, error::cut},
    Docker, STREAM_TIMEOUT, checked,
    context::{Context, Pieces},
    failed,
    output::{Lines, plain},
};
use crate::failpoints::reached;

const CALL: &str = "docker build";

/// How many of the last lines a failed build keeps.
const LAST_LINES: usize = 20;

/// The longest message of a failed build, in characters.
const LONGEST_MESSAGE: usize = 1_000;

/// What a build may use. Time is its caller's: dropping the future ends the build.
#[derive(Clone, Copy, Debug)]
pub struct BuildLimits {
    /// The most memory of a RUN step, swap included, in bytes; none: no limit.
    pub memory_bytes: Option<u64>,
    /// The most processor time of a RUN step, in thousandths of a processor; none: no limit.
    pub cpu_millis: Option<u32>,
    /// The most bytes of output that are told, each line counted with [`LINE_COST`] more; the build goes on without being told.
    pub output_bytes: usize,
    /// The most bytes of an image that is worth pushing, its layers unpacked; looked at when it is built.
    pub image_bytes: u64,
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self { memory_bytes: Some(4 << 30), cpu_millis: None, output_bytes: 4 << 20, image_bytes: 10 << 30 }
    }
}

/// What a line costs beside its own bytes: each becomes an event.
pub const LINE_COST: usize = 64;

/// What to build, and how.
#[derive(Clone, Debug)]
pub struct BuildRequest<'a> {
    /// The folder that is sent to the engine.
    pub context: &'a Path,
    /// The Dockerfile, relative to the context.
    pub dockerfile: &'a Path,
    /// The image's name, `repository:tag`.
    pub tag: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The network of the RUN steps (`host`, `none`, a network's name); none: the engine's default.
    pub network: Option<&'a str>,
    /// What a build may use.
    pub limits: BuildLimits,
}

/// An image that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// Its id, `sha256:…`.
    pub id: String,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The engine could not be asked, or broke off: not the Dockerfile's fault.
    #[error(transparent)]
    Engine(#[from] ClientError),
    /// The build itself failed: the same source fails again.
    #[error("{message}")]
    Failed {
        /// The engine's own reason, at most 1,000 characters.
        message: String,
        /// The last lines of output, oldest first, at most 20.
        last_lines: Vec<String>,
    },
}

/// The last line of an output that is longer than it may be.
const NOT_TOLD: &str = "… (the rest of the output is not kept: PANDA_BUILD_MAX_OUTPUT)";

/// What the engine says, at one step or another, when somebody removed a layer that the build stood on: nobody's Dockerfile is at fault, and
/// a second build makes the layer anew. An image that a Dockerfile names is never named by its id here.
const CACHE_PULLED_AWAY: [&str; 2] = ["No such image: sha256:", "unable to find image \"sha256:"];

impl Docker {
    /// Builds an image and sends each line of output to `lines`, waiting while they are not taken; nobody listening
    /// any more does not stop the build. Dropping the future does: the engine ends a build whose client went away.
    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    pub async fn build(
        &self,
        request: BuildRequest<'_>,
        lines: mpsc::Sender<String>,
    ) -> Result<BuiltImage, BuildError> {
        checked(CALL, request.tag)?;
        let (root, dockerfile) = (request.context.to_owned(), request.dockerfile.to_owned());
        let opened = tokio::task::spawn_blocking(move || Context::open(&root, &dockerfile)).await;
        let context = opened.map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, error))??;
        let engine = limited(self.engine(CALL, STREAM_TIMEOUT).await?, request.limits.memory_bytes);

        let unreadable = Arc::default();
        let body = body_try_stream(watched(context.stream(), Arc::clone(&unreadable)));
        let mut answers = std::pin::pin!(engine.build_image(options(&request), None, Some(body)));
        let mut output = Output::new(lines, request.limits.output_bytes);
        reached("docker build/before");
        while let Some(answer) = answers.next().await {
            reached("docker build/under way");
            match answer {
                Ok(info) => output.take(info).await,
                Err(error) => return Err(output.failure(&error, &unreadable).await),
            }
        }
        reached("docker build/after");
        output.finish().await
    }
}

fn options(request: &BuildRequest<'_>) -> bollard::query_parameters::BuildImageOptions {
    let labels: HashMap<String, String> = request.labels.clone().into_iter().collect();
    let mut options = BuildImageOptionsBuilder::default()
        .dockerfile(&request.dockerfile.to_string_lossy())
        .t(request.tag)
        .labels(&labels)
        // Containers of the steps are removed whatever happens: nobody else would.
        .rm(true)
        .forcerm(true);
    if let Some(network) = request.network {
        options = options.networkmode(network);
    }
    if let Some(millis) = request.limits.cpu_millis {
        options = options.cpuperiod(100_000).cpuquota(i32::try_from(millis).unwrap_or(i32::MAX).saturating_mul(100));
    }
    options.build()
}

/// Puts the limit of memory into the request: the library's own field for it ends at 2 GiB.
fn limited(engine: bollard::Docker, memory_bytes: Option<u64>) -> bollard::Docker {
    let Some(bytes) = memory_bytes else { return engine };
    engine.with_request_modifier(move |mut request| {
        // The same number twice: no swap beside the memory.
        let target = match request.uri().query() {
            Some(query) => format!("{}?{query}&memory={bytes}&memswap={bytes}", request.uri().path()),
            None => return request,
        };
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = target.parse().ok();
        if let Ok(uri) = parts.try_into() {
            *request.uri_mut() = uri;
        }
        request
    })
}

/// The context's pieces as a stream; an error in it is remembered, for the connection reports only that it broke.
fn watched(
    pieces: Pieces,
    unreadable: Arc<Mutex<Option<String>>>,
) -> impl stream::Stream<Item = std::io::Result<bytes::Bytes>> + Send {
    stream::unfold((pieces, unreadable), |(mut pieces, unreadable)| async {
        let piece = pieces.recv().await?;
        if let Err(error) = &piece {
            *unreadable.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
        Some((piece, (pieces, unreadable)))
    })
}

/// What the engine has said so far.
struct Output {
    sender: mpsc::Sender<String>,
    /// Bytes that may still be told; none when that was said.
    room: Option<usize>,
    lines: Lines,
    last: VecDeque<String>,
    id: Option<String>,
}

impl Output {
    fn new(sender: mpsc::Sender<String>, most_bytes: usize) -> Self {
        let room = Some(most_bytes);
        Self { sender, room, lines: Lines::default(), last: VecDeque::with_capacity(LAST_LINES), id: None }
    }

    async fn take(&mut self, info: BuildInfo) {
        if let Some(id) = info.aux.and_then(|aux| aux.id) {
            self.id = Some(id);
        }
        if let Some(piece) = info.stream {
            for line in self.lines.push(&piece) {
                self.tell(line).await;
            }
        }
        // A base image being pulled: its byte counts are of no interest.
        if let (Some(status), None) = (info.status, info.progress_detail.and_then(|progress| progress.total)) {
            self.tell(plain(&status)).await;
        }
    }

    async fn tell(&mut self, line: String) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        let Some(room) = self.room else { return };
        self.room = room.checked_sub(line.len() + LINE_COST);
        let _ = self.sender.send(if self.room.is_some() { line } else { NOT_TOLD.to_owned() }).await;
    }

    async fn rest(&mut self) {
        if let Some(line) = std::mem::take(&mut self.lines).finish() {
            self.tell(line).await;
        }
    }

    async fn finish(mut self) -> Result<BuiltImage, BuildError> {
        self.rest().await;
        let ended = || ClientError::new(ErrorKind::Unavailable, CALL, "the engine ended the build without an image");
        Ok(BuiltImage { id: self.id.ok_or_else(ended)? })
    }

    async fn failure(mut self, error: &EngineError, unreadable: &Mutex<Option<String>>) -> BuildError {
        self.rest().await;
        let message = match error {
            EngineError::DockerStreamError { error } => plain(error),
            // A Dockerfile that cannot be parsed is refused before there is any output.
            EngineError::DockerResponseServerError { status_code: 400, message } => message.clone(),
            other => {
                let unreadable = unreadable.lock().unwrap_or_else(PoisonError::into_inner).take();
                return BuildError::Engine(match unreadable {
                    Some(message) => ClientError::new(ErrorKind::Invalid, CALL, message),
                    None => failed(CALL, other),
                });
            }
        };
        if CACHE_PULLED_AWAY.iter().any(|pulled_away| message.contains(pulled_away)) {
            return BuildError::Engine(ClientError::new(ErrorKind::Unavailable, CALL, message));
        }
        BuildError::Failed { message: cut(&message, LONGEST_MESSAGE), last_lines: self.last.into() }
    }
}
