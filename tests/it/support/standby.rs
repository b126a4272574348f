//! A real primary and its streaming standby behind a fault proxy: a failover that loses the newest transactions.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use panda_dev_services::{Postgres, PostgresOptions, temporary_folder};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use url::Url;

use super::db::TestDb;
use super::postgres_proxy::PostgresProxy;
use super::wait_for;

pub struct Pair {
    /// The program's connection to the present primary.
    pub proxy: PostgresProxy,
    /// The test's database, on the first primary.
    pub db: TestDb,
    primary: Postgres,
    standby: Postgres,
    _folder: TempDir,
}

impl Pair {
    pub async fn start() -> Self {
        let folder = temporary_folder().unwrap();
        let options = |name: &str| PostgresOptions { data_dir: folder.path().join(name), durable: false };
        let primary = Postgres::start(options("one")).await.unwrap();
        let server: Url = primary.url().expose_secret().parse().unwrap();
        let mut psql = PgConnection::connect(server.as_str()).await.unwrap();
        let bin: String = sqlx::query_scalar("SELECT setting FROM pg_config() WHERE name = 'BINDIR'")
            .fetch_one(&mut psql)
            .await
            .unwrap();
        copy(Path::new(&bin), &server, folder.path());
        let standby = Postgres::start(options("two")).await.unwrap();
        let db = TestDb::on(server).await;
        let proxy = PostgresProxy::before(&db, true).await;
        Self { proxy, db, primary, standby, _folder: folder }
    }

    /// Stops replication: the standby keeps what was committed before, and receives nothing more.
    pub async fn cut_replication(&self) {
        let sent: String =
            sqlx::query_scalar("SELECT pg_current_wal_lsn()::text").fetch_one(&mut self.db.psql().await).await.unwrap();
        let mut standby = PgConnection::connect(self.standby.url().expose_secret()).await.unwrap();
        wait_for("the standby has everything", async || {
            let replayed = sqlx::query_scalar("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn");
            replayed.bind(&sent).fetch_one(&mut standby).await.unwrap_or(false)
        })
        .await;
        standby.execute("ALTER SYSTEM SET primary_conninfo = ''").await.unwrap();
        standby.execute("SELECT pg_reload_conf()").await.unwrap();
        let mut primary = self.db.psql().await;
        wait_for("no standby reads the primary's log", async || {
            let readers: i64 =
                sqlx::query_scalar("SELECT count(*) FROM pg_stat_replication").fetch_one(&mut primary).await.unwrap();
            readers == 0
        })
        .await;
    }

    /// Promotes the standby and leads the proxy to it; connections to the old primary are cut.
    pub async fn fail_over(&self) {
        let mut standby = PgConnection::connect(self.standby.url().expose_secret()).await.unwrap();
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote(true, 60)").fetch_one(&mut standby).await.unwrap();
        assert!(promoted);
        self.proxy.lead_to(format!("127.0.0.1:{}", self.standby.port()));
        self.proxy.cut();
    }

    /// A connection to the present primary.
    pub async fn psql(&self) -> PgConnection {
        PgConnection::connect(self.proxy.url(&self.db).as_str()).await.unwrap()
    }

    /// Ends both servers; the database goes with them.
    pub async fn stop(self) {
        drop(self.db);
        self.standby.stop().await.unwrap();
        self.primary.stop().await.unwrap();
    }
}

/// Makes `two` a standby of the server in `one`.
fn copy(bin: &Path, server: &Url, folder: &Path) {
    let (one, two) = (folder.join("one"), folder.join("two"));
    std::fs::create_dir(&two).unwrap();
    let made = Command::new(bin.join("pg_basebackup"))
        .args([
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--wal-method=stream",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
        ])
        .args(["-p", &server.port().unwrap().to_string(), "-D"])
        .arg(two.join("cluster"))
        .env("PGPASSWORD", server.password().unwrap())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Both have the same password and the same owner.
    std::fs::copy(one.join("password"), two.join("password")).unwrap();
    let owner = std::fs::metadata(one.join("cluster")).unwrap();
    let handed_over =
        Command::new("chown").arg("-R").arg(format!("{}:{}", owner.uid(), owner.gid())).arg(&two).status();
    assert!(handed_over.unwrap().success());
}
