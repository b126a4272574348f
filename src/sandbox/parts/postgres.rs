//! A Postgres server of our own: a private folder, a free loopback port, gone with us.
//!
//! The folder is made in two moves (`initdb` into a side folder, then a rename), so a crash in the middle leaves nothing that a later
//! start could mistake for a database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::migrate::MigrateDatabase as _;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::error::PartsError;
use super::leash::{Leash, Program, RunAs, StopSignal};
use super::place::{folder, free_port, hand_over, unprivileged};
use super::postgres_install::{Installation, find_or_download};

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
        let port = free_port()?;
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
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
        let mut server = Self { leash, port };
        let url = server.url_of("postgres");
        // Another server may have won the port: only the one that names our folder is ours.
        server.leash.ready(READY_LIMIT, async || serves(&url, cluster).await).await?;
        server.ensure_database().await?;
        Ok(server)
    }

    async fn ensure_database(&self) -> Result<(), PartsError> {
        let url = self.url();
        let failed = |call| move |source| PartsError::Postgres { call, source };
        if !sqlx::Postgres::database_exists(&url).await.map_err(failed("looking for the database panda"))? {
            sqlx::Postgres::create_database(&url).await.map_err(failed("creating the database panda"))?;
        }
        Ok(())
    }

    /// The address of the database `panda`; holds no password, since the server trusts loopback.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The address of another database on this server.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
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
    let mut command = Command::new(installation.bin.join("initdb"));
    command.arg("-D").arg(&half_made).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"]);
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
            return std::fs::rename(&half_made, cluster).map_err(PartsError::file(cluster));
        }
        Ok(Ok(output)) => (format!("initdb: {}", output.status), [output.stdout, output.stderr].concat()),
    };
    std::fs::write(&log, text).map_err(PartsError::file(&log))?;
    let tail = super::leash::tail(&log);
    Err(PartsError::Start { part: PART, reason, remedy: REMEDY, log, tail })
}
