//! A database that pauses in the middle of a commit until the test continues, for tests that lose a commit in flight.

use sqlx::{Executor, PgConnection};

use crate::support::db::TestDb;

/// A claim or commit that increments a deployment's version waits for this lock at the end of its statement.
const TRIGGER: &str = "
    CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$;
    CREATE TRIGGER held AFTER UPDATE ON deployments
        FOR EACH ROW WHEN (OLD.version <> NEW.version) EXECUTE FUNCTION wait_for_the_test();";

pub struct Held(PgConnection);

impl Held {
    /// Installs the trigger; nothing is held yet.
    pub async fn install(db: &TestDb) -> Self {
        let mut psql = db.psql().await;
        psql.execute(TRIGGER).await.unwrap();
        Self(psql)
    }

    /// The same on a database that already has the trigger.
    pub async fn again(db: &TestDb) -> Self {
        Self(db.psql().await)
    }

    /// Holds commits from now on; returns when all earlier ones have ended.
    pub async fn hold(&mut self) {
        self.0.execute("SELECT pg_advisory_lock(4711)").await.unwrap();
    }

    /// True while a commit is held.
    pub async fn holds(&mut self) -> bool {
        let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
        sqlx::query_scalar(sql).fetch_one(&mut self.0).await.unwrap()
    }

    /// Lets the held commit continue and returns when it has ended; later commits are held again.
    pub async fn pass(&mut self) {
        self.release().await;
        self.hold().await;
    }

    /// Lets the held commit continue, returns when it has ended, and holds no more.
    pub async fn finish(&mut self) {
        self.pass().await;
        self.release().await;
    }

    /// Lets the held commit continue and holds no more.
    pub async fn release(&mut self) {
        self.0.execute("SELECT pg_advisory_unlock(4711)").await.unwrap();
    }
}
