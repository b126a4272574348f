//! Builds an image with the classic builder.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use bollard::{
    auth::DockerCredentials, body_try_stream, errors::Error as EngineError, models::BuildInfo,
    query_parameters::BuildImageOptionsBuilder,
};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;

use super::{
    super::{
        ClientError, ErrorKind,
        build::{BuildError, BuildLog, Progress},
        build_context::{BuildContext, ContextError, Descent, TarChunks},
        build_faults,
        build_output::{LineAssembler, OutputLine, strip_control},
        registry_credentials::{Credentials, Login},
    },
    Docker, STREAM_TIMEOUT, engine_error, validate_reference,
};
use crate::domain::build_spec::BuildOptions;
use crate::domain::dockerfile::{Dockerfile, Need};
use crate::domain::text;
use crate::failpoints::reached;

const CALL: &str = "docker build";

/// Maximum length of a failed build's message, in characters.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// Resource limits of a build. The caller limits its time: dropping the future ends the build.
#[derive(Clone, Debug)]
pub struct BuildLimits {
    /// Memory of a RUN step in bytes, swap included; `None` for no limit.
    pub memory_bytes: Option<u64>,
    /// CPU time of a RUN step in thousandths of a processor; `None` for no limit.
    pub cpu_millis: Option<u32>,
    /// Bytes of output that are reported, each line counted with [`super::super::build::LINE_COST`] extra; beyond that the build continues without
    /// output.
    pub output_bytes: usize,
    /// Maximum size of an image in bytes, its layers unpacked; checked after the build, before the push.
    pub image_bytes: u64,
    /// Ulimits for the processes of each RUN step, such as `nofile=1024:2048`.
    pub ulimits: Vec<String>,
    /// Parent control group, on the builder's machine, of the steps that BuildKit runs.
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

/// Parameters of a classic build.
#[derive(Clone, Debug)]
pub struct BuildRequest<'a> {
    /// Root folder of the repository.
    pub source: &'a Path,
    /// Context folder, relative to the root; empty for the root itself.
    pub context: &'a Path,
    /// Path of the Dockerfile, relative to the root; may lie outside the context folder.
    pub dockerfile: &'a Path,
    /// Modification time of all files in the context, the commit's time; `None` for 1970.
    pub committed_at: Option<DateTime<Utc>>,
    /// Image name as `repository:tag`.
    pub tag: &'a str,
    /// Labels to set on the image.
    pub labels: &'a BTreeMap<String, String>,
    /// Target, build arguments and platform, as requested by the user.
    pub options: &'a BuildOptions,
    /// Build arguments that Panda adds; `options` takes precedence.
    pub own_args: &'a BTreeMap<String, String>,
    /// Registry logins for base images.
    pub credentials: &'a Credentials,
    /// Network mode of RUN steps (`host`, `none`, or a network's name); `None` for the engine's default.
    pub network: Option<&'a str>,
    /// Resource limits of the build.
    pub limits: BuildLimits,
}

/// Result of a successful build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// Image id of the form `sha256:…`.
    pub id: String,
}

/// Error texts of the engine when a layer that the build was based on was removed meanwhile. The Dockerfile is not at fault, and a second build
/// recreates the layer. An image that a Dockerfile names is never referred to by its id in these texts.
const LOST_LAYER_ERRORS: [&str; 2] = ["No such image: sha256:", "unable to find image \"sha256:"];

impl Docker {
    /// Builds an image and sends each line of output to `lines`, waiting while the channel is full; the build continues if the receiver is gone.
    /// Dropping the future stops it: the engine ends a build whose client has disconnected.
    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    pub async fn build(
        &self,
        request: BuildRequest<'_>,
        lines: mpsc::Sender<Progress>,
    ) -> Result<BuiltImage, BuildError> {
        validate_reference(CALL, request.tag)?;
        let context = open_context(&request).await?;
        let engine = with_limits(self.engine(CALL, STREAM_TIMEOUT).await?, &request.limits);

        let unreadable = Arc::default();
        let dockerfile = context.dockerfile_name();
        let body = body_try_stream(chunk_stream(context.stream(request.committed_at), Arc::clone(&unreadable)));
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

/// Opens the context of a classic build, and refuses what the classic builder would build incorrectly.
async fn open_context(request: &BuildRequest<'_>) -> Result<BuildContext, BuildError> {
    let [source, context, dockerfile] = [request.source, request.context, request.dockerfile].map(Path::to_owned);
    let context =
        tokio::task::spawn_blocking(move || BuildContext::open(&source, &context, &dockerfile, Descent::Classic)).await;
    let context = context.map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, error))??;
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
        // Containers of the steps are removed in any case: nothing else would remove them.
        .rm(true)
        .forcerm(true)
        // A base image must come from its registry, not from what another build left in the engine under that name or a similar id.
        .pull("true")
        // The classic builder reuses any layer that claims the same parent and command, also a layer of an image that another tenant pulled.
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

/// Adds limits to the request for which the library has no field, or a field that is too small (memory ends at 2 GiB).
fn with_limits(engine: bollard::Docker, limits: &BuildLimits) -> bollard::Docker {
    let mut more = url::form_urlencoded::Serializer::new(String::new());
    if let Some(bytes) = limits.memory_bytes {
        // The same value for both means no swap in addition to the memory.
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

/// Converts `nofile=1024:2048` to the form of the engine's API.
fn ulimit(text: &str) -> Option<serde_json::Value> {
    let (name, values) = text.split_once('=')?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |value: &str| value.parse::<i64>().ok();
    Some(serde_json::json!({ "Name": name, "Soft": number(soft)?, "Hard": number(hard)? }))
}

/// Turns the context's pieces into a stream. An error while reading is stored, because the connection only reports that it broke.
fn chunk_stream(
    pieces: TarChunks,
    unreadable: Arc<Mutex<Option<String>>>,
) -> impl stream::Stream<Item = std::io::Result<bytes::Bytes>> + Send {
    stream::unfold((pieces, unreadable), |(mut pieces, unreadable)| async {
        let piece = pieces.recv().await?;
        if let Err(error) = &piece {
            *unreadable.lock() = Some(error.to_string());
        }
        Some((piece, (pieces, unreadable)))
    })
}

/// Output that the engine has sent so far.
struct Output {
    log: BuildLog,
    lines: LineAssembler,
    /// Instruction that is being executed, without its number.
    instruction: Option<String>,
    id: Option<String>,
}

impl Output {
    fn new(sender: mpsc::Sender<Progress>, most_bytes: usize) -> Self {
        Self { log: BuildLog::new(sender, most_bytes), lines: LineAssembler::default(), instruction: None, id: None }
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
        // Byte counts of a base image pull are noise.
        if let (Some(status), None) = (info.status, info.progress_detail.and_then(|progress| progress.total)) {
            self.line(strip_control(&status).into()).await;
        }
    }

    async fn line(&mut self, line: OutputLine) {
        // `Step 2/7 : FROM busybox:1`
        if let Some((_, instruction)) = line.text.strip_prefix("Step ").and_then(|rest| rest.split_once(" : ")) {
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
            EngineError::DockerStreamError { error } => strip_control(error),
            // An unparsable Dockerfile is refused before there is any output.
            EngineError::DockerResponseServerError { status_code: 400, message } => message.clone(),
            // The context did not fit on the disk; the engine uses the same status for that and for its internal errors.
            EngineError::DockerResponseServerError { message, .. } if build_faults::disk_is_full(message) => {
                message.clone()
            }
            other => {
                let unreadable = unreadable.lock().take();
                return match unreadable {
                    Some(message) => BuildError::Context(ContextError::Entry(message)),
                    None => BuildError::Builder(engine_error(CALL, other)),
                };
            }
        };
        if LOST_LAYER_ERRORS.iter().any(|pulled_away| message.contains(pulled_away)) {
            return BuildError::Builder(ClientError::new(ErrorKind::Unavailable, CALL, message));
        }
        let fault = build_faults::of(self.instruction.as_deref(), None, &message);
        BuildError::Failed {
            fault,
            message: text::cut(&message, MAX_MESSAGE_CHARS),
            last_lines: self.log.last_lines(None),
        }
    }
}
