//! A private Postgres server: in a private folder, on a free loopback port, ending with this process.
//!
//! The folder is created in two steps (`initdb` into a temporary folder, then a rename), so a crash in between leaves nothing that a later
//! start could mistake for a database. Connections need the password in the folder (see `postgres_login`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::chown;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::Connection as _;
use sqlx::migrate::MigrateDatabase as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::child_guard::{ChildGuard, Program, RunAs, StopSignal};
use super::error::DevServicesError;
use super::machine::{folder, free_port, hand_over, unprivileged};
use super::postgres_install::{Installation, find_or_download};
use super::postgres_login as login;

const PART: &str = "Postgres";
const REMEDY: &str = "See the log; if another panda uses the same folder, stop it or choose another folder.";
const INITDB_LIMIT: Duration = Duration::from_mins(2);
const READY_LIMIT: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_secs(20);
/// Most tries with another port, when another process took the chosen one first.
const PORT_TRIES: u32 = 5;
/// After a crash of this process the old server may still be writing its last checkpoint: its grace period, and some margin.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(25);
const DATABASE: &str = "panda";

/// Options of a Postgres server.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Private folder of the server. Created when absent; an existing one is used with its data.
    pub data_dir: PathBuf,
    /// True if data must survive a power cut. `false` is for tests only: it turns off `fsync` and similar settings.
    pub durable: bool,
}

/// A running Postgres server with a database `panda`.
#[derive(Debug)]
pub struct Postgres {
    guard: ChildGuard,
    port: u16,
    password: SecretString,
}

impl Postgres {
    /// Starts the server and waits until it answers queries.
    ///
    /// When started by root it runs as the user `postgres`, who must be able to reach `data_dir`.
    pub async fn start(options: PostgresOptions) -> Result<Self, DevServicesError> {
        let dir = folder(&options.data_dir)?;
        let run_as = unprivileged()?;
        hand_over(&dir, run_as)?;
        let installation = find_or_download(&dir).await?;
        let cluster = dir.join("cluster");
        if !cluster.join("PG_VERSION").exists() {
            initialise(&installation, &dir, &cluster, run_as, options.durable).await?;
        }
        installation.check_version(&cluster)?;
        let started = Instant::now();
        let mut tries = 0;
        loop {
            let attempt = Self::start_once(&installation, &dir, &cluster, run_as, options.durable).await;
            let Err(DevServicesError::Start { tail, .. }) = &attempt else { return attempt };
            let taken = tail.contains("could not bind") && tries < PORT_TRIES;
            let predecessor = tail.contains("postmaster.pid") && started.elapsed() < PREDECESSOR_LIMIT;
            if !taken && !predecessor {
                return attempt;
            }
            tries += u32::from(taken);
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn start_once(
        installation: &Installation,
        dir: &Path,
        cluster: &Path,
        run_as: RunAs,
        durable: bool,
    ) -> Result<Self, DevServicesError> {
        let password = match login::kept(dir)? {
            Some(password) => password,
            // The cluster is from a version that trusted loopback, or an earlier start was interrupted.
            None => set_password(installation, dir, cluster, run_as).await?,
        };
        let port = free_port()?;
        let rules = login::write_rules(dir)?;
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            // CREATE and DROP DATABASE wait for every connection that is still authenticating.
            "authentication_timeout=10s".to_owned(),
            format!("port={port}"),
            format!("hba_file={}", rules.display()),
            // No socket file: its path may be too long, and other users can write to /tmp.
            "unix_socket_directories=".to_owned(),
            // `start` parses error messages, so they must be English in every cluster.
            "lc_messages=C".to_owned(),
            "max_connections=300".to_owned(),
        ];
        if !durable {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(ToOwned::to_owned));
        }
        let mut args = vec!["-D".into(), cluster.as_os_str().to_owned()];
        args.extend(settings.into_iter().flat_map(|setting| ["-c".into(), setting.into()]));
        let guard = Program {
            part: PART,
            executable: installation.bin.join("postgres"),
            args,
            env: vec![],
            run_as,
            stop_signal: StopSignal::Int,
            grace: GRACE,
            log: dir.join("postgres.log"),
            remedy: REMEDY,
        }
        .start()?;
        let mut server = Self { guard, port, password };
        let url = server.url_of("postgres");
        // Another server may have taken the port: only the one with this data folder is the right one.
        server.guard.ready(READY_LIMIT, async || serves(url.expose_secret(), cluster).await).await?;
        server.ensure_database().await?;
        Ok(server)
    }

    async fn ensure_database(&self) -> Result<(), DevServicesError> {
        let url = self.url();
        let url = url.expose_secret();
        let failed = |call| move |source| DevServicesError::Postgres { call, source };
        if !sqlx::Postgres::database_exists(url).await.map_err(failed("checking for the database panda"))? {
            sqlx::Postgres::create_database(url).await.map_err(failed("creating the database panda"))?;
        }
        Ok(())
    }

    /// URL of the database `panda`, with the password.
    pub fn url(&self) -> SecretString {
        self.url_of(DATABASE)
    }

    /// URL of another database on this server, with the password.
    pub fn url_of(&self, database: &str) -> SecretString {
        let password = self.password.expose_secret();
        SecretString::from(format!("postgres://postgres:{password}@127.0.0.1:{}/{database}", self.port))
    }

    /// URL of the database `panda` without the password, for display.
    pub fn shown_url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Disconnects all clients, stops the server, and waits for its end.
    pub async fn stop(self) -> Result<(), DevServicesError> {
        self.guard.stop().await
    }
}

async fn serves(url: &str, cluster: &Path) -> bool {
    let Ok(mut connection) = sqlx::PgConnection::connect(url).await else { return false };
    let folder: Result<String, _> = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await;
    folder.is_ok_and(|folder| Path::new(&folder) == cluster)
}

async fn initialise(
    installation: &Installation,
    dir: &Path,
    cluster: &Path,
    run_as: RunAs,
    durable: bool,
) -> Result<(), DevServicesError> {
    let half_made = dir.join("cluster.new");
    if half_made.exists() {
        std::fs::remove_dir_all(&half_made).map_err(DevServicesError::file(&half_made))?;
    }
    let log = dir.join("initdb.log");
    let password = login::random();
    let verifier = dir.join("verifier");
    login::write_new(&verifier, &login::verifier(&password), 0o600)?;
    if let RunAs::User { uid, gid } = run_as {
        chown(&verifier, Some(uid.into()), Some(gid.into()))
            .map_err(|errno| DevServicesError::file(&verifier)(errno.into()))?;
    }
    let mut command = Command::new(installation.bin.join("initdb"));
    command.arg("-D").arg(&half_made).args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--no-locale"]);
    command.arg("--pwfile").arg(&verifier);
    if !durable {
        command.arg("--no-sync");
    }
    if let RunAs::User { uid, gid } = run_as {
        command.uid(uid).gid(gid);
    }
    let output = command.env("LC_ALL", "C").current_dir("/").kill_on_drop(true).output();
    let (reason, text) = match timeout(INITDB_LIMIT, output).await {
        Err(_) => (format!("initdb took longer than {} s", INITDB_LIMIT.as_secs()), vec![]),
        Ok(Err(source)) => return Err(DevServicesError::Command { program: "initdb".to_owned(), source }),
        Ok(Ok(output)) if output.status.success() => {
            std::fs::remove_file(&verifier).map_err(DevServicesError::file(&verifier))?;
            std::fs::rename(&half_made, cluster).map_err(DevServicesError::file(cluster))?;
            return login::keep(dir, &password);
        }
        Ok(Ok(output)) => (format!("initdb: {}", output.status), [output.stdout, output.stderr].concat()),
    };
    std::fs::write(&log, text).map_err(DevServicesError::file(&log))?;
    let tail = super::child_guard::tail(&log);
    Err(DevServicesError::Start { part: PART, reason, remedy: REMEDY, log, tail })
}

/// Sets a new password of the superuser in single-user mode (`postgres --single`), which accepts no connections, and stores it in `dir`.
async fn set_password(
    installation: &Installation,
    dir: &Path,
    cluster: &Path,
    run_as: RunAs,
) -> Result<SecretString, DevServicesError> {
    let password = login::random();
    let mut command = Command::new(installation.bin.join("postgres"));
    command.arg("--single").arg("-D").arg(cluster).args(["-c", "lc_messages=C", "postgres"]);
    if let RunAs::User { uid, gid } = run_as {
        command.uid(uid).gid(gid);
    }
    command.env("LC_ALL", "C").current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |source| DevServicesError::Command { program: "postgres".to_owned(), source };
    let run = async {
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            let statement = format!("ALTER ROLE postgres PASSWORD '{}'\n", login::verifier(&password));
            // Ignored: a program that does not start does not read, and its output contains the cause.
            let _ = stdin.write_all(statement.as_bytes()).await;
        }
        child.wait_with_output().await.map_err(failed)
    };
    let log = dir.join("password.log");
    let (reason, text) = match timeout(INITDB_LIMIT, run).await {
        Err(_) => (format!("setting the password took longer than {} s", INITDB_LIMIT.as_secs()), vec![]),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(output)) => {
            let text = [output.stdout, output.stderr].concat();
            // The exit status is 0 even when the statement failed.
            if output.status.success() && !String::from_utf8_lossy(&text).contains("ERROR:") {
                login::keep(dir, &password)?;
                return Ok(password);
            }
            (format!("the password could not be set: {}", output.status), text)
        }
    };
    std::fs::write(&log, text).map_err(DevServicesError::file(&log))?;
    let tail = super::child_guard::tail(&log);
    Err(DevServicesError::Start { part: PART, reason, remedy: REMEDY, log, tail })
}
