//! A database that stops in the middle of a commit, for as long as a test likes: to take away what is on its way.

use sqlx::{Executor, PgConnection};

use crate::support::db::TestDb;

/// Whoever moves a deployment's version on, by a claim or a commit, waits for this lock at the end of the statement.
const TRIGGER: &str = "
    CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$;
    CREATE TRIGGER held AFTER UPDATE ON deployments
        FOR EACH ROW WHEN (OLD.version <> NEW.version) EXECUTE FUNCTION wait_for_the_test();";

pub struct Held(PgConnection);

impl Held {
    /// Nothing is held yet.
    pub async fn install(db: &TestDb) -> Self {
        let mut psql = db.psql().await;
        psql.execute(TRIGGER).await.unwrap();
        Self(psql)
    }

    /// The same on a database where it is installed.
    pub async fn again(db: &TestDb) -> Self {
        Self(db.psql().await)
    }

    /// Holds what comes from now on; returns when all that came before has ended.
    pub async fn hold(&mut self) {
        self.0.execute("SELECT pg_advisory_lock(4711)").await.unwrap();
    }

    /// Whether something is held.
    pub async fn holds(&mut self) -> bool {
        let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
        sqlx::query_scalar(sql).fetch_one(&mut self.0).await.unwrap()
    }

    /// Lets what is held go on, and returns when it has ended; what comes after it is held again.
    pub async fn pass(&mut self) {
        self.release().await;
        self.hold().await;
    }

    /// Lets it go on, and returns when it has ended.
    pub async fn finish(&mut self) {
        self.pass().await;
        self.release().await;
    }

    /// Lets it go on.
    pub async fn release(&mut self) {
        self.0.execute("SELECT pg_advisory_unlock(4711)").await.unwrap();
    }
}
