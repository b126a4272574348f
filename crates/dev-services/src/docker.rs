//! The Docker engine that builds and runs images: the machine's, or without one a private engine that ends with this process.
//!
//! Builds resolve every base image at its registry. A private engine therefore has a registry of base images as a mirror of
//! Docker Hub (see [`BaseImages`]), so that it also builds on a machine without internet.
//!
//! A private engine does not change the host's network: no bridge, no firewall rules, no forwarding. Builds and containers on it
//! therefore use host networking (see [`Engine::network_mode`]).

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
use super::child_guard::{ChildGuard, Program, RunAs, StopSignal};
use super::error::DevServicesError;
use super::machine::{find_program, folder, temporary_folder};

const PART: &str = "Docker engine";
/// Base image of the example and of tests.
const BASE_IMAGE: &str = "busybox:1";
const REMEDY: &str = "Install one (apt-get install docker.io), or set DOCKER_HOST to a running one; a user other than root also \
                      needs sudo without a password, or membership in the group docker.";
const SYSTEM_SOCKET: &str = "/var/run/docker.sock";
const PING_LIMIT: Duration = Duration::from_secs(5);
const READY_LIMIT: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_secs(30);
/// After a crash of this process the old engine may still be stopping its containers.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(35);
/// Time limit of a single response; in streams (builds, pushes) it applies to each piece.
const ANSWER_SECONDS: u64 = 120;
/// Longest folder for sockets: a socket's path has at most 107 bytes, and the engine adds `containerd/containerd.sock.ttrpc`.
const SOCKET_FOLDER_BYTES: usize = 70;

/// A connected Docker engine.
#[derive(Debug)]
pub struct Engine {
    docker: Docker,
    host: String,
    bridged: bool,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    guard: ChildGuard,
    base_images: Option<BaseImages>,
    dir: PathBuf,
    /// Folder of the socket and of the state of running containers; in `dir`, unless its path is too long for sockets.
    run: PathBuf,
    run_as: RunAs,
    _temporary: Option<TempDir>,
}

/// Options of a private engine.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Private folder of the engine.
    pub data_dir: PathBuf,
    /// Program and first arguments that start `dockerd` in a separate mount namespace; the installed one when absent.
    pub launcher: Option<Vec<OsString>>,
    /// Settings in the format of `daemon.json`.
    pub settings: Map<String, Value>,
}

/// Command line of the installed engine in a separate mount namespace: it leaves mounts behind even after a clean stop, which would prevent the
/// removal of its folder.
fn installed() -> Result<Vec<OsString>, DevServicesError> {
    let dockerd = find_program("dockerd")
        .ok_or_else(|| no_engine(format!("none answers on {SYSTEM_SOCKET}, and dockerd is not installed")))?;
    let unshare = find_program("unshare").ok_or(DevServicesError::Missing {
        part: PART,
        reason: "a private engine needs the program unshare".to_owned(),
        remedy: "Install it (apt-get install util-linux).",
    })?;
    Ok(vec![unshare.into(), "--mount".into(), dockerd.into()])
}

fn no_engine(reason: String) -> DevServicesError {
    DevServicesError::Missing { part: PART, reason, remedy: REMEDY }
}

impl Engine {
    /// Finds the engine of `DOCKER_HOST`, of the system, or of this user. If none answers, or none can pull the base image, starts
    /// a private one in `data_dir`.
    ///
    /// A `DOCKER_HOST` that does not answer is an error: the user chose that engine.
    pub async fn find_or_start(data_dir: &Path) -> Result<Self, DevServicesError> {
        if let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
            return Self::connect(&host, None).await.ok_or(DevServicesError::Missing {
                part: PART,
                reason: format!("DOCKER_HOST is {host}, and no engine answers there"),
                remedy: "Start that engine, or unset DOCKER_HOST to find or start another one.",
            });
        }
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("docker.sock"));
        for socket in [Some(PathBuf::from(SYSTEM_SOCKET)), own].into_iter().flatten() {
            if let Some(engine) = Self::connect(&format!("unix://{}", socket.display()), None).await {
                match engine.ensure_base_image(BASE_IMAGE).await {
                    Ok(()) => return Ok(engine),
                    Err(error) => {
                        tracing::info!(%error, socket = %socket.display(), "engine cannot pull images, starting a private one");
                    }
                }
            }
        }
        Self::start_private(data_dir).await
    }

    /// Starts a private engine in `data_dir`, even if other engines run.
    pub async fn start_private(data_dir: &Path) -> Result<Self, DevServicesError> {
        Self::start(EngineOptions { data_dir: data_dir.to_path_buf(), ..EngineOptions::default() }).await
    }

    /// Starts a private engine with `options`.
    pub async fn start(options: EngineOptions) -> Result<Self, DevServicesError> {
        let launcher = match &options.launcher {
            Some(launcher) => launcher.clone(),
            None => installed()?,
        };
        let started = Instant::now();
        loop {
            let attempt = Self::start_once(&launcher, &options).await;
            if let Err(DevServicesError::Start { tail, .. }) = &attempt
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

    async fn start_once(launcher: &[OsString], options: &EngineOptions) -> Result<Self, DevServicesError> {
        let dir = folder(&options.data_dir)?;
        let deep = dir.as_os_str().len() > SOCKET_FOLDER_BYTES;
        let temporary = if deep { Some(temporary_folder()?) } else { None };
        let run = folder(&temporary.as_ref().map_or_else(|| dir.join("run"), |run| run.path().to_path_buf()))?;
        let socket = run.join("docker.sock");
        let base_images = BaseImages::start(&dir.join("base-images")).await?;
        // A separate settings file: the engine rejects options that the machine's default file also sets.
        let settings = dir.join("daemon.json");
        let mut values = options.settings.clone();
        values.insert("registry-mirrors".to_owned(), base_images.iter().map(BaseImages::mirror).collect());
        std::fs::write(&settings, Value::Object(values).to_string()).map_err(DevServicesError::file(&settings))?;
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
        // Give the socket to this user's group: an engine started through sudo would otherwise be out of reach.
        args.extend(["--group".into(), Gid::current().to_string().into()]);
        args.extend(["--bridge=none", "--iptables=false", "--ip-forward=false", "--log-level=warn"].map(Into::into));
        let mut guard = Program {
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
        guard.ready(READY_LIMIT, async || Self::connect(&host, None).await.is_some()).await?;
        let gone = guard.failure("it stopped answering right after its start");
        let private = Private { guard, base_images, dir, run, run_as, _temporary: temporary };
        Self::connect(&host, Some(private)).await.ok_or(gone)
    }

    /// Connects to the engine at `host`, if one answers.
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
                tracing::debug!(host, %error, "no Docker engine at this address");
                None
            }
            Err(_) => {
                tracing::debug!(host, "Docker engine did not answer in time");
                None
            }
        }
    }

    /// The client, with the API version negotiated.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The engine's address in the format of `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// True if this process started the engine, which then ends with it.
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Network mode that RUN steps and containers need: `Some("host")` on an engine without a bridge, `None` (the engine's default)
    /// on others.
    pub fn network_mode(&self) -> Option<&'static str> {
        (!self.bridged).then_some("host")
    }

    /// Stops a private engine, and keeps its images for the next start. Does nothing to other engines.
    pub async fn stop(self) -> Result<(), DevServicesError> {
        let Some(Private { guard, base_images, run, run_as, .. }) = self.private else { return Ok(()) };
        stop(guard, base_images).await?;
        remove(&run, run_as).await
    }

    /// Like [`Engine::stop`], and removes the private engine's images and folder.
    pub async fn stop_and_remove(self) -> Result<(), DevServicesError> {
        let Some(Private { guard, base_images, dir, run, run_as, .. }) = self.private else { return Ok(()) };
        stop(guard, base_images).await?;
        remove(&run, run_as).await?;
        remove(&dir, run_as).await
    }
}

async fn stop(engine: ChildGuard, base_images: Option<BaseImages>) -> Result<(), DevServicesError> {
    engine.stop().await?;
    match base_images {
        Some(base_images) => base_images.stop().await,
        None => Ok(()),
    }
}

/// Removes a folder of the engine. Files of an engine started through sudo belong to root.
async fn remove(path: &Path, run_as: RunAs) -> Result<(), DevServicesError> {
    if !matches!(run_as, RunAs::Root) {
        return tokio::fs::remove_dir_all(path).await.map_err(DevServicesError::file(path));
    }
    match Command::new("sudo").args(["-n", "rm", "-rf", "--"]).arg(path).status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(DevServicesError::file(path)(std::io::Error::other(format!("sudo rm: {status}")))),
        Err(source) => Err(DevServicesError::Command { program: "sudo".to_owned(), source }),
    }
}
