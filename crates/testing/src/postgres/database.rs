//! A fresh database for each test, on the server that `PANDA_TEST_DATABASE_URL` names.

use sqlx::{Connection, Executor, PgConnection};
use url::Url;

use crate::{HasUrl, Program};

/// The role of servers in tests, made by `panda migrate --print-app-role`.
const APP_ROLE: &str = "panda_app_of_tests";

const APP_PASSWORD: &str = "app-of-tests";

/// The stored verifier of the password, with one iteration: thousands, in a debug build of the driver, would take most of the time of connecting.
const APP_VERIFIER: &str = "SCRAM-SHA-256$1:c2FsdC1vZi10ZXN0cy0xNg==$gP8amArXldGWn3TMQ8hGY3Re2Zz1dfgMQaDIalKqvoY=:Yce0bQT5Dqldd42h9s9G+jCXVpadwpAOVsvVakrr/cU=";

impl<P: Program> HasUrl for TestDb<P> {
    fn url(&self) -> &str {
        self.url.as_str()
    }
}

/// A migrated database, dropped together with this value.
pub struct TestDb<P: Program> {
    /// The program's access, as the role of servers.
    pub db: P::Db,
    url: Url,
    server: Url,
    name: String,
}

impl<P: Program> TestDb<P> {
    /// Creates and migrates a database.
    pub async fn new() -> Self {
        Self::on(server()).await
    }

    /// Creates and migrates a database on another server.
    pub async fn on(server: Url) -> Self {
        let template = template::<P>(&server).await;
        let mut test = Self::empty_on(server, &format!("TEMPLATE {template}")).await;
        test.psql().await.execute(P::RENEWAL).await.unwrap();
        test.connect_as_app();
        test
    }

    /// Creates an empty database with these options of CREATE DATABASE. Servers connect as its owner.
    pub async fn empty(options: &str) -> Self {
        Self::empty_on(server(), options).await
    }

    async fn empty_on(server: Url, options: &str) -> Self {
        let name = format!("panda_test_{}", uuid::Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(server.as_str()).await.unwrap();
        // The name consists of hex digits made here.
        admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} {options}"))).await.unwrap();
        Self::existing(server, name)
    }

    /// A database created elsewhere, unchanged; servers connect as its owner.
    pub fn existing(server: Url, name: String) -> Self {
        let mut url = server.clone();
        url.set_path(&name);
        Self { db: P::open(&url), url, server, name }
    }

    /// `db` and `url` use the role of servers from here on.
    fn connect_as_app(&mut self) {
        self.url.set_username(APP_ROLE).unwrap();
        self.url.set_password(Some(APP_PASSWORD)).unwrap();
        self.db = P::open(&self.url);
    }

    /// Makes the role of servers, as operators do.
    pub async fn grant_to_app(&self) {
        let script = P::app_role_script(&self.owner(), APP_ROLE).await;
        self.psql().await.execute(sqlx::AssertSqlSafe(script)).await.unwrap();
        // Roles belong to the server, which tests share: two concurrent changes of one role would fail.
        let mut admin = PgConnection::connect(self.server.as_str()).await.unwrap();
        admin.execute("SELECT pg_advisory_lock(4712)").await.unwrap();
        let known = "SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = $1";
        if !sqlx::query_scalar::<_, bool>(known).bind(APP_ROLE).fetch_one(&mut admin).await.unwrap() {
            let sql = format!("ALTER ROLE {APP_ROLE} PASSWORD '{APP_VERIFIER}'");
            admin.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        }
        admin.close().await.unwrap();
    }

    /// The same database whose `db` and `url` connect as the owner, for changes of the schema.
    pub fn into_owners(mut self) -> Self {
        self.url = self.owner_url();
        self.db = P::open(&self.url);
        self
    }

    /// The access of another process.
    pub fn again(&self) -> P::Db {
        P::open(&self.url)
    }

    /// Access as its owner.
    pub fn owner(&self) -> P::Db {
        P::open(&self.owner_url())
    }

    /// Database URL for servers.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Database URL for the owner.
    pub fn owner_url(&self) -> Url {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection for reading the tables as an operator would.
    pub async fn psql(&self) -> PgConnection {
        PgConnection::connect(self.owner_url().as_str()).await.unwrap()
    }

    /// Number of rows of a table.
    pub async fn count(&self, table: &'static str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut self.psql().await).await.unwrap()
    }

    /// All rows of all tables as text; binary columns in hexadecimal.
    pub async fn dump(&self) -> String {
        let mut connection = self.psql().await;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
             WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        assert!(tables.len() > 5, "{tables:?}");
        let mut all = String::new();
        for table in tables {
            let sql = sqlx::AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
            let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
            all += &[&[table], rows.as_slice()].concat().join("\n");
        }
        all
    }
}

/// Returns the migrated database that those of tests are copied from, and makes it first where this build of the tests has none yet: a copy takes a
/// quarter of the time of the migrations.
async fn template<P: Program>(server: &Url) -> String {
    let program = std::env::current_exe().and_then(|path| path.metadata()).unwrap();
    let built = program.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    let name = format!("panda_template_{:x}_{:x}", built.as_nanos(), program.len());
    let mut admin = PgConnection::connect(server.as_str()).await.unwrap();
    // Released with the connection. Tests are processes, and the first of them makes the template.
    admin.execute("SELECT pg_advisory_lock(4713)").await.unwrap();
    let known = "SELECT count(*) > 0 FROM pg_database WHERE datname = $1";
    if !sqlx::query_scalar::<_, bool>(known).bind(&name).fetch_one(&mut admin).await.unwrap() {
        // Those of earlier builds, on a server that outlives a run.
        let earlier = "SELECT datname FROM pg_database WHERE starts_with(datname, 'panda_template_')";
        for earlier in sqlx::query_scalar::<_, String>(earlier).fetch_all(&mut admin).await.unwrap() {
            admin.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {earlier}"))).await.unwrap();
        }
        let made = TestDb::<P>::empty_on(server.clone(), "").await;
        P::migrate(&made.owner()).await;
        made.grant_to_app().await;
        // A template must have no connection, and takes its name when it is complete.
        let rename = format!("ALTER DATABASE {} RENAME TO {name}", made.name);
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", made.name);
        admin.execute(sqlx::AssertSqlSafe(end)).await.unwrap();
        admin.execute(sqlx::AssertSqlSafe(rename)).await.unwrap();
        admin.execute(sqlx::AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"))).await.unwrap();
    }
    admin.close().await.unwrap();
    name
}

/// The server that all tests share.
fn server() -> Url {
    std::env::var("PANDA_TEST_DATABASE_URL")
        .or_else(|_| std::env::var("DATABASE_URL"))
        .expect("PANDA_TEST_DATABASE_URL names the Postgres server for tests: use `make test` or `panda parts -- …`")
        .parse()
        .unwrap()
}

impl<P: Program> Drop for TestDb<P> {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // Uses a thread with a separate runtime, because the test's runtime is ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut admin = PgConnection::connect(server.as_str()).await.unwrap();
                // A connection of the test's own runtime, blocked by this thread, may be in the middle of signing in, and the server waits for it. A
                // database that is not dropped ends with the server.
                admin.execute("SET statement_timeout = '1s'").await.unwrap();
                let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                let _ = admin.execute(sqlx::AssertSqlSafe(sql)).await;
            });
        });
        let _ = dropping.join();
    }
}
