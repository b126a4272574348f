//! A real primary and its streaming standby behind a fault proxy: a failover that loses the newest transactions.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use panda_dev_services::{Postgres, PostgresOptions, temporary_folder};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use url::Url;

use super::TestDb;
use crate::process::run;
use crate::proxy::postgres::PostgresProxy;
use crate::{Program, wait_for};

pub struct Pair<P: Program> {
    /// The program's connection to the present primary.
    pub proxy: PostgresProxy,
    /// The test's database, on the first primary.
    pub db: TestDb<P>,
    primary: Postgres,
    standby: Postgres,
    _folder: TempDir,
}

impl<P: Program> Pair<P> {
    pub async fn start() -> Self {
        let folder = temporary_folder().unwrap();
        let options = |name: &str| PostgresOptions { data_dir: folder.path().join(name), durable: false };
        let primary = Postgres::start(options("one")).await.unwrap();
        let server: Url = primary.url().expose_secret().parse().unwrap();
        copy(&server, &folder.path().join("one"), &folder.path().join("two")).await;
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

/// Makes the folder `two` a standby of the running `server`, whose folder is `one`; both are folders of [`Postgres`].
pub async fn copy(server: &Url, one: &Path, two: &Path) {
    let mut psql = PgConnection::connect(server.as_str()).await.unwrap();
    let bin = "SELECT setting FROM pg_config() WHERE name = 'BINDIR'";
    let bin: String = sqlx::query_scalar(bin).fetch_one(&mut psql).await.unwrap();
    std::fs::create_dir(two).unwrap();
    let mut backup = Command::new(Path::new(&bin).join("pg_basebackup"));
    backup.args(["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "-h", "127.0.0.1"]);
    backup.args(["-U", "postgres", "-p", &server.port().unwrap().to_string(), "-D"]).arg(two.join("cluster"));
    run(backup.env("PGPASSWORD", server.password().unwrap()));
    // Both have the same password and the same owner.
    std::fs::copy(one.join("password"), two.join("password")).unwrap();
    let owner = std::fs::metadata(one.join("cluster")).unwrap();
    run(Command::new("chown").arg("-R").arg(format!("{}:{}", owner.uid(), owner.gid())).arg(two));
}
