//! Building an image.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bollard::{
    auth::DockerCredentials, body_try_stream, errors::Error as EngineError, models::BuildInfo,
    query_parameters::BuildImageOptionsBuilder,
};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;

use super::{
    super::{
        ClientError, ErrorKind,
        build::{BuildError, BuildLog, Progress},
        buildkit::{Credentials, Login, faults},
        error::cut,
    },
    Docker, STREAM_TIMEOUT, checked,
    context::{Context, ContextError, Pieces},
    failed,
    ignore::Descent,
    output::{Lines, plain},
};
use crate::domain::build_spec::BuildOptions;
use crate::domain::dockerfile::{Dockerfile, Need};
use crate::failpoints::reached;

const CALL: &str = "docker build";

/// The longest message of a failed build, in characters.
const LONGEST_MESSAGE: usize = 1_000;

/// What a build may use. Time is its caller's: dropping the future ends the build.
#[derive(Clone, Debug)]
pub struct BuildLimits {
    /// The most memory of a RUN step, swap included, in bytes; none: no limit.
    pub memory_bytes: Option<u64>,
    /// The most processor time of a RUN step, in thousandths of a processor; none: no limit.
    pub cpu_millis: Option<u32>,
    /// The most bytes of output that are told, each line counted with [`super::super::build::LINE_COST`] more; the build goes on without being told.
    pub output_bytes: usize,
    /// The most bytes of an image that is worth pushing, its layers unpacked; looked at when it is built.
    pub image_bytes: u64,
    /// Limits of each RUN step's processes, such as `nofile=1024:2048`.
    pub ulimits: Vec<String>,
    /// Control group of the builder's machine below which BuildKit runs the steps.
    pub cgroup_parent: Option<String>,
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self {
            memory_bytes: Some(4 << 30),
            cpu_millis: None,
            output_bytes: 4 << 20,
            image_bytes: 10 << 30,
            ulimits: Vec::new(),
            cgroup_parent: None,
        }
    }
}

/// What to build, and how.
#[derive(Clone, Debug)]
pub struct BuildRequest<'a> {
    /// The repository's root.
    pub source: &'a Path,
    /// The context folder, relative to the root; empty: the root.
    pub context: &'a Path,
    /// The Dockerfile, relative to the root; may lie outside the context folder.
    pub dockerfile: &'a Path,
    /// The time that all files of the context get: the commit's. None: 1970.
    pub committed_at: Option<DateTime<Utc>>,
    /// The image's name, `repository:tag`.
    pub tag: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Target, arguments, platform.
    pub options: &'a BuildOptions,
    /// Arguments that Panda adds; those of `options` win.
    pub own_args: &'a BTreeMap<String, String>,
    /// Logins of registries, for base images.
    pub credentials: &'a Credentials,
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
        lines: mpsc::Sender<Progress>,
    ) -> Result<BuiltImage, BuildError> {
        checked(CALL, request.tag)?;
        let context = opened(&request).await?;
        let engine = limited(self.engine(CALL, STREAM_TIMEOUT).await?, &request.limits);

        let unreadable = Arc::default();
        let dockerfile = context.dockerfile_name();
        let body = body_try_stream(watched(context.stream(request.committed_at), Arc::clone(&unreadable)));
        let mut answers = std::pin::pin!(engine.build_image(
            options(&request, &dockerfile),
            Some(credentials(request.credentials)),
            Some(body),
        ));
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

/// The context of a classic build; what the classic builder would build wrong is refused.
async fn opened(request: &BuildRequest<'_>) -> Result<Context, BuildError> {
    let [source, context, dockerfile] = [request.source, request.context, request.dockerfile].map(Path::to_owned);
    let opened =
        tokio::task::spawn_blocking(move || Context::open(&source, &context, &dockerfile, Descent::Classic)).await;
    let context = opened.map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, error))??;
    let dockerfile = Dockerfile::parse(&context.dockerfile_text());
    let mut needs = dockerfile.needs_buildkit(request.options.target.as_deref(), &request.options.args);
    if !request.options.secrets.is_empty() {
        let what = "build secrets".to_owned();
        needs.push(Need { line: 1, what, remedy: "ask the operator for BuildKit (PANDA_BUILDER=buildkit)" });
    }
    if needs.is_empty() { Ok(context) } else { Err(BuildError::Unsupported(needs)) }
}

fn options(request: &BuildRequest<'_>, dockerfile: &Path) -> bollard::query_parameters::BuildImageOptions {
    let labels: HashMap<String, String> = request.labels.clone().into_iter().collect();
    let mut options = BuildImageOptionsBuilder::default()
        .dockerfile(&dockerfile.to_string_lossy())
        .t(request.tag)
        .labels(&labels)
        // Containers of the steps are removed whatever happens: nobody else would.
        .rm(true)
        .forcerm(true)
        // A base image is what its registry says, not what another build left in the engine under that name or a similar id.
        .pull("true")
        // The classic builder reuses any layer that claims the same parent and command, also one of an image that another tenant pulled.
        .nocache(true);
    let arguments: HashMap<&str, &str> = request
        .own_args
        .iter()
        .chain(&request.options.args)
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    options = options.buildargs(&arguments);
    if let Some(target) = &request.options.target {
        options = options.target(target);
    }
    if let Some(platform) = &request.options.platform {
        options = options.platform(platform);
    }
    if let Some(network) = request.network {
        options = options.networkmode(network);
    }
    if let Some(millis) = request.limits.cpu_millis {
        options = options.cpuperiod(100_000).cpuquota(i32::try_from(millis).unwrap_or(i32::MAX).saturating_mul(100));
    }
    options.build()
}

fn credentials(logins: &Credentials) -> HashMap<String, DockerCredentials> {
    let credentials = |login: &Login| DockerCredentials {
        username: Some(login.username.clone()),
        password: Some(login.password.expose_secret().to_owned()),
        ..DockerCredentials::default()
    };
    logins.iter().map(|(host, login)| (host.to_owned(), credentials(login))).collect()
}

/// Puts limits into the request that the library has no field for, or one that is too small (memory ends at 2 GiB).
fn limited(engine: bollard::Docker, limits: &BuildLimits) -> bollard::Docker {
    let mut more = url::form_urlencoded::Serializer::new(String::new());
    if let Some(bytes) = limits.memory_bytes {
        // The same number twice: no swap beside the memory.
        more.append_pair("memory", &bytes.to_string()).append_pair("memswap", &bytes.to_string());
    }
    let ulimits: Vec<_> = limits.ulimits.iter().filter_map(|limit| ulimit(limit)).collect();
    if !ulimits.is_empty() {
        more.append_pair("ulimits", &serde_json::Value::from(ulimits).to_string());
    }
    let more = more.finish();
    if more.is_empty() {
        return engine;
    }
    engine.with_request_modifier(move |mut request| {
        let target = match request.uri().query() {
            Some(query) => format!("{}?{query}&{more}", request.uri().path()),
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

/// `nofile=1024:2048` as the engine's API has it.
fn ulimit(text: &str) -> Option<serde_json::Value> {
    let (name, values) = text.split_once('=')?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |value: &str| value.parse::<i64>().ok();
    Some(serde_json::json!({ "Name": name, "Soft": number(soft)?, "Hard": number(hard)? }))
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
    log: BuildLog,
    lines: Lines,
    /// The instruction that is being carried out, without its number.
    instruction: Option<String>,
    id: Option<String>,
}

impl Output {
    fn new(sender: mpsc::Sender<Progress>, most_bytes: usize) -> Self {
        Self { log: BuildLog::new(sender, most_bytes), lines: Lines::default(), instruction: None, id: None }
    }

    async fn take(&mut self, info: BuildInfo) {
        if let Some(id) = info.aux.and_then(|aux| aux.id) {
            self.id = Some(id);
        }
        if let Some(piece) = info.stream {
            for line in self.lines.push(&piece) {
                self.line(line).await;
            }
        }
        // A base image being pulled: its byte counts are of no interest.
        if let (Some(status), None) = (info.status, info.progress_detail.and_then(|progress| progress.total)) {
            self.line(plain(&status)).await;
        }
    }

    async fn line(&mut self, line: String) {
        // `Step 2/7 : FROM busybox:1`
        if let Some((_, instruction)) = line.strip_prefix("Step ").and_then(|rest| rest.split_once(" : ")) {
            self.instruction = Some(instruction.to_owned());
        }
        self.log.line(None, line).await;
    }

    async fn rest(&mut self) {
        if let Some(line) = std::mem::take(&mut self.lines).finish() {
            self.line(line).await;
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
            // The context itself did not fit; the engine has one status for that and for its own troubles.
            EngineError::DockerResponseServerError { message, .. } if faults::disk_is_full(message) => message.clone(),
            other => {
                let unreadable = unreadable.lock().unwrap_or_else(PoisonError::into_inner).take();
                return match unreadable {
                    Some(message) => BuildError::Context(ContextError::Entry(message)),
                    None => BuildError::Builder(failed(CALL, other)),
                };
            }
        };
        if CACHE_PULLED_AWAY.iter().any(|pulled_away| message.contains(pulled_away)) {
            return BuildError::Builder(ClientError::new(ErrorKind::Unavailable, CALL, message));
        }
        let fault = faults::of(self.instruction.as_deref(), None, &message);
        BuildError::Failed { fault, message: cut(&message, LONGEST_MESSAGE), last_lines: self.log.last_lines(None) }
    }
}
