//! The Docker engine that builds and runs images: the machine's own where there is one, else a private one that ends with us.
//!
//! Builds resolve every base image at its registry. A private engine therefore comes with a registry of base images that stands before
//! Docker Hub (see [`BaseImages`]), so that it builds on a machine without internet as well.
//!
//! A private engine touches nothing of the host's network: no bridge, no firewall rules, no forwarding. What is built and run on it
//! therefore uses host networking (see [`Engine::network_mode`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use nix::unistd::{Gid, Uid};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::base_images::BaseImages;
use super::error::PartsError;
use super::leash::{Leash, Program, RunAs, StopSignal};
use super::place::{find_program, folder, temporary_folder};

const PART: &str = "Docker engine";
/// What examples and tests build on.
const BASE_IMAGE: &str = "busybox:1";
const REMEDY: &str = "Install one (apt-get install docker.io), or name a running one with DOCKER_HOST; a user who is not root also \
                      needs sudo without a password, or to be in the group docker.";
const SYSTEM_SOCKET: &str = "/var/run/docker.sock";
const PING_LIMIT: Duration = Duration::from_secs(5);
const READY_LIMIT: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_secs(30);
/// After a crash of ours the old engine may still be ending its containers.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(35);
/// For a single answer; builds and pushes stream, and each piece counts anew.
const ANSWER_SECONDS: u64 = 120;
/// A path of a socket holds 107 bytes, and the engine puts `containerd/containerd.sock.ttrpc` below its own folder.
const SOCKET_FOLDER_BYTES: usize = 70;

/// A Docker engine that answers.
#[derive(Debug)]
pub struct Engine {
    docker: Docker,
    host: String,
    bridged: bool,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    leash: Leash,
    base_images: Option<BaseImages>,
    dir: PathBuf,
    /// The socket and what the engine keeps of running containers; in `dir`, unless that is too deep for sockets.
    run: PathBuf,
    run_as: RunAs,
    _temporary: Option<TempDir>,
}

/// How to start a private engine.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Its private folder.
    pub data_dir: PathBuf,
    /// Program and first arguments that start `dockerd` with mounts of its own; the installed one when absent.
    pub launcher: Option<Vec<OsString>>,
    /// Its settings, as in `daemon.json`.
    pub settings: Map<String, Value>,
}

/// The installed engine. Mounts of its own: it leaves some behind, even when it ends well, and nobody could remove its folder then.
fn installed() -> Result<Vec<OsString>, PartsError> {
    let dockerd = find_program("dockerd")
        .ok_or_else(|| no_engine(format!("none answers on {SYSTEM_SOCKET}, and there is no dockerd to start")))?;
    let unshare = find_program("unshare").ok_or(PartsError::Missing {
        part: PART,
        reason: "a private one needs the program unshare".to_owned(),
        remedy: "Install it (apt-get install util-linux).",
    })?;
    Ok(vec![unshare.into(), "--mount".into(), dockerd.into()])
}

fn no_engine(reason: String) -> PartsError {
    PartsError::Missing { part: PART, reason, remedy: REMEDY }
}

impl Engine {
    /// The engine of `DOCKER_HOST`, of the system, or of this user; where none answers, or none that reaches a registry of base images,
    /// a private one in `data_dir`.
    ///
    /// A `DOCKER_HOST` that does not answer is an error, not a reason to use another engine than the one that was asked for.
    pub async fn find_or_start(data_dir: &Path) -> Result<Self, PartsError> {
        if let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
            return Self::connect(&host, None).await.ok_or(PartsError::Missing {
                part: PART,
                reason: format!("DOCKER_HOST is {host}, and no engine answers there"),
                remedy: "Start that engine, or unset DOCKER_HOST to have one found or started.",
            });
        }
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("docker.sock"));
        for socket in [Some(PathBuf::from(SYSTEM_SOCKET)), own].into_iter().flatten() {
            if let Some(engine) = Self::connect(&format!("unix://{}", socket.display()), None).await {
                match engine.ensure_base_image(BASE_IMAGE).await {
                    Ok(()) => return Ok(engine),
                    Err(error) => {
                        tracing::info!(%error, socket = %socket.display(), "engine cannot pull images: starting a private one");
                    }
                }
            }
        }
        Self::start_private(data_dir).await
    }

    /// Starts a private engine in `data_dir`, whatever else is running.
    pub async fn start_private(data_dir: &Path) -> Result<Self, PartsError> {
        Self::start(EngineOptions { data_dir: data_dir.to_path_buf(), ..EngineOptions::default() }).await
    }

    /// Starts a private engine as `options` say.
    pub async fn start(options: EngineOptions) -> Result<Self, PartsError> {
        let launcher = match &options.launcher {
            Some(launcher) => launcher.clone(),
            None => installed()?,
        };
        let started = Instant::now();
        loop {
            let attempt = Self::start_once(&launcher, &options).await;
            if let Err(PartsError::Start { tail, .. }) = &attempt
                && tail.contains("pid file found")
                && started.elapsed() < PREDECESSOR_LIMIT
            {
                sleep(Duration::from_millis(500)).await;
                continue;
            }
            let engine = attempt?;
            engine.ensure_base_image(BASE_IMAGE).await?;
            return Ok(engine);
        }
    }

    async fn start_once(launcher: &[OsString], options: &EngineOptions) -> Result<Self, PartsError> {
        let dir = folder(&options.data_dir)?;
        let deep = dir.as_os_str().len() > SOCKET_FOLDER_BYTES;
        let temporary = if deep { Some(temporary_folder()?) } else { None };
        let run = folder(&temporary.as_ref().map_or_else(|| dir.join("run"), |run| run.path().to_path_buf()))?;
        let socket = run.join("docker.sock");
        let base_images = BaseImages::start(&dir.join("base-images")).await?;
        // The machine's own settings file may name the same options, which the engine refuses: it is given one of its own.
        let settings = dir.join("daemon.json");
        let mut values = options.settings.clone();
        values.insert("registry-mirrors".to_owned(), base_images.iter().map(BaseImages::mirror).collect());
        std::fs::write(&settings, Value::Object(values).to_string()).map_err(PartsError::file(&settings))?;
        let run_as = if Uid::effective().is_root() { RunAs::Us } else { RunAs::Root };
        let option = |name: &str, value: &Path| [OsString::from(name), value.into()];
        let (executable, rest) = launcher.split_first().ok_or_else(|| no_engine("the launcher is empty".to_owned()))?;
        let mut args = rest.to_vec();
        let folders = [
            option("--config-file", &settings),
            option("--data-root", &dir.join("data")),
            option("--exec-root", &run.join("exec")),
            option("--pidfile", &dir.join("docker.pid")),
        ];
        args.extend(folders.into_iter().flatten());
        args.extend(["-H".into(), format!("unix://{}", socket.display()).into()]);
        // The socket is opened to the group of the user who asked, who could not reach it otherwise.
        args.extend(["--group".into(), Gid::current().to_string().into()]);
        args.extend(["--bridge=none", "--iptables=false", "--ip-forward=false", "--log-level=warn"].map(Into::into));
        let mut leash = Program {
            part: PART,
            executable: executable.into(),
            args,
            env: vec![],
            run_as,
            stop_signal: StopSignal::Term,
            grace: GRACE,
            log: dir.join("dockerd.log"),
            remedy: REMEDY,
        }
        .start()?;
        let host = format!("unix://{}", socket.display());
        leash.ready(READY_LIMIT, async || Self::connect(&host, None).await.is_some()).await?;
        let gone = leash.failure("it stopped answering right after its start");
        let private = Private { leash, base_images, dir, run, run_as, _temporary: temporary };
        Self::connect(&host, Some(private)).await.ok_or(gone)
    }

    /// The engine at `host`, if one answers there.
    async fn connect(host: &str, private: Option<Private>) -> Option<Self> {
        let docker = match host.strip_prefix("unix://") {
            Some(socket) => Docker::connect_with_unix(socket, ANSWER_SECONDS, API_DEFAULT_VERSION),
            None => Docker::connect_with_host(host),
        };
        let answer = async {
            let docker = docker?.negotiate_version().await?;
            docker.ping().await?;
            let networks = docker.list_networks(None).await?;
            Ok::<_, bollard::errors::Error>((docker, networks))
        };
        match timeout(PING_LIMIT, answer).await {
            Ok(Ok((docker, networks))) => {
                let bridged = networks.iter().any(|network| network.name.as_deref() == Some("bridge"));
                Some(Self { docker, host: host.to_owned(), bridged, private })
            }
            Ok(Err(error)) => {
                tracing::debug!(host, %error, "no engine here");
                None
            }
            Err(_) => {
                tracing::debug!(host, "no engine answers here in time");
                None
            }
        }
    }

    /// The client, its version agreed with the engine.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The engine's address in the form of `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the engine was started by us and ends with us.
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// The network mode that a build's RUN steps and containers need: `Some("host")` on an engine without bridge, `None` (its default)
    /// on any other.
    pub fn network_mode(&self) -> Option<&'static str> {
        (!self.bridged).then_some("host")
    }

    /// Ends a private engine and keeps its images for the next start; leaves any other alone.
    pub async fn stop(self) -> Result<(), PartsError> {
        let Some(Private { leash, base_images, run, run_as, .. }) = self.private else { return Ok(()) };
        stop(leash, base_images).await?;
        remove(&run, run_as).await
    }

    /// As [`Engine::stop`], and removes the private engine's images and folder.
    pub async fn stop_and_remove(self) -> Result<(), PartsError> {
        let Some(Private { leash, base_images, dir, run, run_as, .. }) = self.private else { return Ok(()) };
        stop(leash, base_images).await?;
        remove(&run, run_as).await?;
        remove(&dir, run_as).await
    }
}

async fn stop(engine: Leash, base_images: Option<BaseImages>) -> Result<(), PartsError> {
    engine.stop().await?;
    match base_images {
        Some(base_images) => base_images.stop().await,
        None => Ok(()),
    }
}

/// Removes a folder that the engine wrote to; what one started through sudo wrote belongs to root.
async fn remove(path: &Path, run_as: RunAs) -> Result<(), PartsError> {
    if !matches!(run_as, RunAs::Root) {
        return tokio::fs::remove_dir_all(path).await.map_err(PartsError::file(path));
    }
    match Command::new("sudo").args(["-n", "rm", "-rf", "--"]).arg(path).status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(PartsError::file(path)(std::io::Error::other(format!("sudo rm: {status}")))),
        Err(source) => Err(PartsError::Command { program: "sudo".to_owned(), source }),
    }
}
