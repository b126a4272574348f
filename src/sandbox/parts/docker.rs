//! The Docker engine that builds and runs images: the machine's own where there is one, else a private one that ends with us.
//!
//! A private engine touches nothing of the host's network: no bridge, no firewall rules, no forwarding. What is built and run on it
//! therefore uses host networking (see [`Engine::network_mode`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use nix::unistd::{Gid, Uid};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::error::PartsError;
use super::leash::{Leash, Program, RunAs, StopSignal};
use super::place::{find_program, folder, temporary_folder};

const PART: &str = "Docker engine";
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
    dir: PathBuf,
    /// The socket and what the engine keeps of running containers; in `dir`, unless that is too deep for sockets.
    run: PathBuf,
    run_as: RunAs,
    _temporary: Option<TempDir>,
}

impl Engine {
    /// The engine of `DOCKER_HOST`, of the system, or of this user; where none answers, a private one in `data_dir`.
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
                return Ok(engine);
            }
        }
        Self::start_private(data_dir).await
    }

    /// Starts a private engine in `data_dir`, whatever else is running.
    pub async fn start_private(data_dir: &Path) -> Result<Self, PartsError> {
        let dockerd = find_program("dockerd").ok_or(PartsError::Missing {
            part: PART,
            reason: format!("none answers on {SYSTEM_SOCKET}, and there is no dockerd to start"),
            remedy: REMEDY,
        })?;
        let unshare = find_program("unshare").ok_or(PartsError::Missing {
            part: PART,
            reason: "a private one needs the program unshare".to_owned(),
            remedy: "Install it (apt-get install util-linux).",
        })?;
        let started = Instant::now();
        loop {
            let attempt = Self::start_once(&unshare, &dockerd, data_dir).await;
            let Err(PartsError::Start { tail, .. }) = &attempt else { return attempt };
            let predecessor = tail.contains("pid file found") && started.elapsed() < PREDECESSOR_LIMIT;
            if !predecessor {
                return attempt;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn start_once(unshare: &Path, dockerd: &Path, data_dir: &Path) -> Result<Self, PartsError> {
        let dir = folder(data_dir)?;
        let deep = dir.as_os_str().len() > SOCKET_FOLDER_BYTES;
        let temporary = if deep { Some(temporary_folder()?) } else { None };
        let run = folder(&temporary.as_ref().map_or_else(|| dir.join("run"), |run| run.path().to_path_buf()))?;
        let socket = run.join("docker.sock");
        // The machine's own settings file may name the same options, which the engine refuses: it is given an empty one.
        let settings = dir.join("daemon.json");
        std::fs::write(&settings, "{}").map_err(PartsError::file(&settings))?;
        let run_as = if Uid::effective().is_root() { RunAs::Us } else { RunAs::Root };
        let option = |name: &str, value: &Path| [OsString::from(name), value.into()];
        // Mounts of its own: the engine leaves some behind, even when it ends well, and nobody could remove its folder then.
        let mut args: Vec<OsString> = vec!["--mount".into(), dockerd.into()];
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
            executable: unshare.to_path_buf(),
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
        let private = Private { leash, dir, run, run_as, _temporary: temporary };
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
        let Some(Private { leash, run, run_as, .. }) = self.private else { return Ok(()) };
        leash.stop().await?;
        remove(&run, run_as).await
    }

    /// As [`Engine::stop`], and removes the private engine's images and folder.
    pub async fn stop_and_remove(self) -> Result<(), PartsError> {
        let Some(Private { leash, dir, run, run_as, .. }) = self.private else { return Ok(()) };
        leash.stop().await?;
        remove(&run, run_as).await?;
        remove(&dir, run_as).await
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
