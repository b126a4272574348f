//! Writers: as the program writes, many deployments in one statement; and in transactions that commit late and out of order.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinSet;

use super::{Plan, WRITERS};
use crate::http::Fixture;
use crate::support::db::TestDb;

/// Starts all writers; each ends when it has written its part.
pub fn start(db: &TestDb, mut fixtures: Vec<Fixture>, late: Vec<String>, plan: Plan) -> JoinSet<()> {
    let mut writing = JoinSet::new();
    let each = u32::try_from(plan.events / fixtures.len()).unwrap();
    let share = fixtures.len() / WRITERS;
    for n in 0..WRITERS {
        let mine = fixtures.split_off(fixtures.len() - share);
        writing.spawn(write(mine, each, db.db.clone(), plan.seed.wrapping_mul(31).wrapping_add(n as u64)));
    }
    writing.spawn(write_late(db.url().to_owned(), late, plan));
    writing
}

/// Appends to its deployments in rotation; about every second commit is notified.
async fn write(mut fixtures: Vec<Fixture>, each: u32, db: panda::db::Db, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut written = 0;
    while written < each {
        let more = random.random_range(1..=20).min(each - written);
        for fixture in &mut fixtures {
            fixture.build_lines(written + 1, written + more).await;
            if random.random_bool(0.5) {
                db.notify_events(&[fixture.id().to_owned()]).await.unwrap();
            }
        }
        written += more;
        // Spreads the writes over the time of the faults.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..250))).await;
    }
}

/// Opens a transaction per deployment, one after the other, and commits them in reverse order.
async fn write_late(url: String, late: Vec<String>, plan: Plan) {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut open = Vec::new();
    for _ in &late {
        open.push(PgConnection::connect(&url).await.unwrap());
    }
    for round in 0..plan.events / 200 {
        for (connection, id) in open.iter_mut().zip(&late) {
            connection.execute("BEGIN").await.unwrap();
            let events = random.random_range(1..=5);
            let sql = format!(
                "WITH counted AS (UPDATE deployments SET next_event_seq = next_event_seq + {events} WHERE id = '{id}'
                                  RETURNING next_event_seq - {events} AS seq)
                 INSERT INTO deployment_events (deployment_id, seq, id, attempt, key, code, type, message, params, status)
                 SELECT '{id}', seq + n, gen_random_uuid(), 1, '{round}/' || n, 'build_progress', 'stage', 'm', '{{\"message\": \"late\"}}', 'RUNNING'
                 FROM counted, generate_series(0, {events} - 1) AS n"
            );
            connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        }
        for connection in open.iter_mut().rev() {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
            connection.execute("COMMIT").await.unwrap();
        }
    }
}
