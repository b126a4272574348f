//! Postgres servers of other versions and configurations, and connection poolers before them. `PANDA_TEST_DATABASES` names the folder made by
//! scripts/databases.sh; without it, tests that need it print SKIPPED.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User, chown};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;

use crate::process::{free_address, run};
use crate::wait_for;

/// The superuser's password on each server.
pub const PASSWORD: &str = "s3cr3t-of-postgres";

/// Local roles sign in without a password; TCP connections need one.
pub const HBA: &str = "local all all trust\nlocal replication all trust\nhost replication all 127.0.0.1/32 trust\n\
                       host all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n";

/// The folder with the programs of `part`; prints SKIPPED where there is none.
fn programs(part: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PANDA_TEST_DATABASES").map(|folder| PathBuf::from(folder).join(part));
    let found = folder.filter(|folder| folder.exists());
    if found.is_none() {
        eprintln!("SKIPPED: PANDA_TEST_DATABASES has no {part}");
    }
    found
}

fn postgres_user() -> Option<User> {
    Uid::effective().is_root().then(|| User::from_name("postgres").unwrap().expect("a user postgres"))
}

fn hand_over(path: &Path) {
    if let Some(user) = postgres_user() {
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}

/// A command as the user that servers run as.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
    if let Some(user) = postgres_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// A folder that the servers' user can reach.
fn folder() -> TempDir {
    let mode = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().prefix("panda-pg-").permissions(mode).tempdir().unwrap()
}

/// A server; dropping it ends it.
pub struct Server {
    process: Option<Child>,
    programs: PathBuf,
    dir: TempDir,
    data: PathBuf,
    /// The port, for TCP on 127.0.0.1 and ::1 and for the socket.
    pub port: u16,
}

impl Server {
    /// Starts a server of `version` with `settings`.
    pub async fn of(version: u32, settings: &[&str]) -> Option<Self> {
        let mut server = Self::made(version)?;
        server.start(settings).await;
        Some(server)
    }

    /// Initialises a server of `version` without starting it.
    pub fn made(version: u32) -> Option<Self> {
        let native = programs(&format!("postgres/node_modules/postgres-{version}"))?.join("native");
        let dir = folder();
        hand_over(dir.path());
        // The servers' user may be unable to reach the cache.
        let programs = dir.path().join("programs");
        run(Command::new("cp").arg("-a").arg(&native).arg(&programs));
        let (data, password) = (dir.path().join("data"), dir.path().join("password"));
        std::fs::write(&password, PASSWORD).unwrap();
        hand_over(&password);
        run(command(&programs.join("bin/initdb")).arg("-D").arg(&data).arg("--pwfile").arg(&password).args([
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        ]));
        std::fs::write(data.join("pg_hba.conf"), HBA).unwrap();
        Some(Self { process: None, programs, dir, data, port: free_address().port() })
    }

    /// A stopped server with a copy of this one's data.
    pub fn copied(&self) -> Self {
        let dir = folder();
        hand_over(dir.path());
        let data = dir.path().join("data");
        run(Command::new("cp").arg("-a").arg(&self.data).arg(&data));
        let _ = std::fs::remove_file(data.join("postmaster.pid"));
        Self { process: None, programs: self.programs.clone(), dir, data, port: free_address().port() }
    }

    /// Makes it a standby of `primary`, before it starts.
    pub fn follow(&self, primary: &Self) {
        std::fs::write(self.data.join("standby.signal"), "").unwrap();
        hand_over(&self.data.join("standby.signal"));
        let conninfo = format!("primary_conninfo = 'host=127.0.0.1 port={} user=postgres'\n", primary.port);
        std::fs::write(self.data.join("postgresql.auto.conf"), conninfo).unwrap();
    }

    /// Writes a file owned by the server's user beside its data and returns its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        hand_over(&path);
        path
    }

    /// Replaces the rules of who may connect, effective immediately.
    pub async fn admit(&self, hba: &str) {
        std::fs::write(self.data.join("pg_hba.conf"), hba).unwrap();
        self.sql("SELECT pg_reload_conf()").await;
    }

    pub async fn start(&mut self, settings: &[&str]) {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let mut postgres = command(&self.programs.join("bin/postgres"));
        postgres.arg("-D").arg(&self.data).stdout(Stdio::null()).stderr(log);
        let own = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1,::1".to_owned(),
            format!("unix_socket_directories={}", self.dir.path().display()),
            "fsync=off".to_owned(),
            "max_connections=60".to_owned(),
        ];
        for setting in own.iter().map(String::as_str).chain(settings.iter().copied()) {
            postgres.arg("-c").arg(setting);
        }
        self.process = Some(postgres.spawn().unwrap());
        let url = self.socket_url("postgres");
        wait_for("the server answers", async || PgConnection::connect(&url).await.is_ok()).await;
    }

    /// The process id of the running postmaster.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// Stops it cleanly, or as a power cut would.
    pub fn stop(&mut self, cleanly: bool) {
        if let Some(mut process) = self.process.take() {
            let pid = Pid::from_raw(process.id().try_into().unwrap());
            let _ = kill(pid, if cleanly { Signal::SIGINT } else { Signal::SIGQUIT });
            let _ = process.wait();
        }
    }

    /// URL by TCP, as the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", PASSWORD, database)
    }

    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Folder of the socket.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// URL by the socket, as the superuser.
    fn socket_url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&port={}&user=postgres", self.dir.path().display(), self.port)
    }

    /// Runs statements as the superuser, each separately.
    pub async fn sql(&self, statements: &str) {
        self.sql_in("postgres", statements).await;
    }

    pub async fn sql_in(&self, database: &str, statements: &str) {
        let mut admin = PgConnection::connect(&self.socket_url(database)).await.unwrap();
        for statement in statements.split(";\n").filter(|statement| !statement.trim().is_empty()) {
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut admin).await.unwrap();
        }
    }

    /// Answers a query with one text, as the superuser.
    pub async fn ask(&self, database: &str, question: &str) -> String {
        let mut admin = PgConnection::connect(&self.socket_url(database)).await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(question.to_owned())).fetch_one(&mut admin).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(false);
    }
}

/// A `PgBouncer`; dropping it ends it.
pub struct Bouncer {
    process: Child,
    _dir: TempDir,
    port: u16,
}

impl Bouncer {
    /// The `PgBouncer` of a Debian release before `server`: 1.18 of bookworm or 1.24 of trixie.
    pub async fn before(server: &Server, release: &str, mode: &str) -> Option<Self> {
        let root = programs(&format!("pgbouncer/{release}"))?;
        let dir = folder();
        hand_over(dir.path());
        let port = free_address().port();
        let (users, settings) = (dir.path().join("users"), dir.path().join("ini"));
        std::fs::write(&users, format!("\"postgres\" \"{PASSWORD}\"\n\"panda\" \"{PASSWORD}\"\n")).unwrap();
        hand_over(&users);
        let user = if postgres_user().is_some() { "user = postgres\n" } else { "" };
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\ndefault_pool_size = 8\nmax_client_conn = 200\n{user}",
            server.port,
            users.display(),
        );
        std::fs::write(&settings, text).unwrap();
        hand_over(&settings);
        let (old, new) = (root.join("lib64"), root.join("usr/lib64"));
        let loader = if old.exists() { old } else { new }.join("ld-linux-x86-64.so.2");
        let libraries = format!("{0}/usr/lib/x86_64-linux-gnu:{0}/lib/x86_64-linux-gnu", root.display());
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new(loader)
            .args(["--library-path", &libraries])
            .arg(root.join("usr/sbin/pgbouncer"))
            .arg(&settings)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let bouncer = Self { process, _dir: dir, port };
        wait_for("the pooler listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await;
        Some(bouncer)
    }

    /// The address of a database through it.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
