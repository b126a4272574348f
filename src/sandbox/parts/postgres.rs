//! A Postgres server of our own: a private folder, a free loopback port, gone with us.
//!
//! The folder is made in two moves (`initdb` into a side folder, then a rename), so a crash in the middle leaves nothing that a later
//! start could mistake for a database. Nobody connects without the password in the folder (see `postgres_login`).

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

use super::error::PartsError;
use super::leash::{Leash, Program, RunAs, StopSignal};
use super::place::{folder, free_port, hand_over, unprivileged};
use super::postgres_install::{Installation, find_or_download};
use super::postgres_login as login;

const PART: &str = "Postgres";
const REMEDY: &str = "Look at the log; if another panda uses the same folder, stop it or choose another folder.";
const INITDB_LIMIT: Duration = Duration::from_mins(2);
const READY_LIMIT: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_secs(20);
/// How often another port is tried when one was taken between choosing and using it.
const PORT_TRIES: u32 = 5;
/// After a crash of ours the old server may still be writing its last checkpoint: it has its grace, and we a little more.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(25);
const DATABASE: &str = "panda";

/// What to start.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The server's private folder. Created when absent; an existing one is used with the data in it.
    pub data_dir: PathBuf,
    /// Whether data must survive a power cut. `false` only for tests: it turns off `fsync` and its kin.
    pub durable: bool,
}

/// A running Postgres server with a database `panda` in it.
#[derive(Debug)]
pub struct Postgres {
    leash: Leash,
    port: u16,
    password: SecretString,
}

impl Postgres {
    /// Starts the server and waits until it answers queries.
    ///
    /// As root it runs as the user `postgres`, who must be able to get through to `data_dir`.
    pub async fn start(options: PostgresOptions) -> Result<Self, PartsError> {
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
            let Err(PartsError::Start { tail, .. }) = &attempt else { return attempt };
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
    ) -> Result<Self, PartsError> {
        let password = match login::kept(dir)? {
            Some(password) => password,
            // Made by a version that trusted loopback, or a start before this one was interrupted.
            None => set_password(installation, dir, cluster, run_as).await?,
        };
        let port = free_port()?;
        let rules = login::write_rules(dir)?;
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            // Creating and dropping a database waits for every connection that is being made.
            "authentication_timeout=10s".to_owned(),
            format!("port={port}"),
            format!("hba_file={}", rules.display()),
            // No socket file: its path may be longer than sockets allow, and /tmp is not ours alone.
            "unix_socket_directories=".to_owned(),
            // Errors are read by us (see `start`), whatever language the cluster was made with.
            "lc_messages=C".to_owned(),
            "max_connections=300".to_owned(),
        ];
        if !durable {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(ToOwned::to_owned));
        }
        let mut args = vec!["-D".into(), cluster.as_os_str().to_owned()];
        args.extend(settings.into_iter().flat_map(|setting| ["-c".into(), setting.into()]));
        let leash = Program {
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
        let mut server = Self { leash, port, password };
        let url = server.url_of("postgres");
        // Another server may have won the port: only the one that names our folder is ours.
        server.leash.ready(READY_LIMIT, async || serves(url.expose_secret(), cluster).await).await?;
        server.ensure_database().await?;
        Ok(server)
    }

    async fn ensure_database(&self) -> Result<(), PartsError> {
        let url = self.url();
        let url = url.expose_secret();
        let failed = |call| move |source| PartsError::Postgres { call, source };
        if !sqlx::Postgres::database_exists(url).await.map_err(failed("looking for the database panda"))? {
            sqlx::Postgres::create_database(url).await.map_err(failed("creating the database panda"))?;
        }
        Ok(())
    }

    /// The address of the database `panda`, password included.
    pub fn url(&self) -> SecretString {
        self.url_of(DATABASE)
    }

    /// The address of another database on this server, password included.
    pub fn url_of(&self, database: &str) -> SecretString {
        let password = self.password.expose_secret();
        SecretString::from(format!("postgres://postgres:{password}@127.0.0.1:{}/{database}", self.port))
    }

    /// The address of the database `panda` without the password, to be shown.
    pub fn shown_url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process that holds the server, for tests of its end.
    pub fn leash(&self) -> &Leash {
        &self.leash
    }

    /// Disconnects all clients, stops the server, and waits until it is gone.
    pub async fn stop(self) -> Result<(), PartsError> {
        self.leash.stop().await
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
) -> Result<(), PartsError> {
    let half_made = dir.join("cluster.new");
    if half_made.exists() {
        std::fs::remove_dir_all(&half_made).map_err(PartsError::file(&half_made))?;
    }
    let log = dir.join("initdb.log");
    let password = login::random();
    let verifier = dir.join("verifier");
    login::write_new(&verifier, &login::verifier(&password), 0o600)?;
    if let RunAs::User { uid, gid } = run_as {
        chown(&verifier, Some(uid.into()), Some(gid.into()))
            .map_err(|errno| PartsError::file(&verifier)(errno.into()))?;
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
        Ok(Err(source)) => return Err(PartsError::Command { program: "initdb".to_owned(), source }),
        Ok(Ok(output)) if output.status.success() => {
            std::fs::remove_file(&verifier).map_err(PartsError::file(&verifier))?;
            std::fs::rename(&half_made, cluster).map_err(PartsError::file(cluster))?;
            return login::keep(dir, &password);
        }
        Ok(Ok(output)) => (format!("initdb: {}", output.status), [output.stdout, output.stderr].concat()),
    };
    std::fs::write(&log, text).map_err(PartsError::file(&log))?;
    let tail = super::leash::tail(&log);
    Err(PartsError::Start { part: PART, reason, remedy: REMEDY, log, tail })
}

/// Gives the superuser a new password, in a server that nobody can connect to (`postgres --single`), and keeps it in `dir`.
async fn set_password(
    installation: &Installation,
    dir: &Path,
    cluster: &Path,
    run_as: RunAs,
) -> Result<SecretString, PartsError> {
    let password = login::random();
    let mut command = Command::new(installation.bin.join("postgres"));
    command.arg("--single").arg("-D").arg(cluster).args(["-c", "lc_messages=C", "postgres"]);
    if let RunAs::User { uid, gid } = run_as {
        command.uid(uid).gid(gid);
    }
    command.env("LC_ALL", "C").current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |source| PartsError::Command { program: "postgres".to_owned(), source };
    let run = async {
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            let statement = format!("ALTER ROLE postgres PASSWORD '{}'\n", login::verifier(&password));
            // One that does not start does not read, and its own words say why.
            let _ = stdin.write_all(statement.as_bytes()).await;
        }
        child.wait_with_output().await.map_err(failed)
    };
    let log = dir.join("password.log");
    let (reason, text) = match timeout(INITDB_LIMIT, run).await {
        Err(_) => (format!("setting its password took longer than {} s", INITDB_LIMIT.as_secs()), vec![]),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(output)) => {
            let text = [output.stdout, output.stderr].concat();
            // A statement that fails does not change the exit status.
            if output.status.success() && !String::from_utf8_lossy(&text).contains("ERROR:") {
                login::keep(dir, &password)?;
                return Ok(password);
            }
            (format!("its password could not be set: {}", output.status), text)
        }
    };
    std::fs::write(&log, text).map_err(PartsError::file(&log))?;
    let tail = super::leash::tail(&log);
    Err(PartsError::Start { part: PART, reason, remedy: REMEDY, log, tail })
}
