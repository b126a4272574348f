//! The peer awa: runs JOBS queued jobs as fast as it can; awa itself claims and completes in batches.
//!
//! Usage: `DATABASE_URL=… panda-bench-awa JOBS event|bare`. With `event`, each job also inserts one row into a table with the columns of Panda's
//! events. Prints one JSON object.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use awa::worker::UntypedJobEvent;
use awa::{Client, InsertOpts, JobArgs, JobError, JobResult, QueueConfig};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Notify;

/// Jobs of one COPY.
const BATCH: usize = 5_000;

#[derive(Serialize, Deserialize, JobArgs)]
struct Step {
    n: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let jobs: usize = args.next().ok_or("JOBS is missing")?.parse()?;
    let with_event = args.next().ok_or("event or bare is missing")? == "event";
    let pool = PgPoolOptions::new().max_connections(16).connect(&std::env::var("DATABASE_URL")?).await?;
    awa::migrations::run(&pool).await?;
    for from in (0..jobs).step_by(BATCH) {
        let batch = (from..jobs.min(from + BATCH))
            .map(|n| {
                awa::model::insert::params_with(&Step { n }, InsertOpts { queue: "steps".into(), ..Default::default() })
            })
            .collect::<Result<Vec<_>, _>>()?;
        awa::insert_many_copy_from_pool(&pool, &batch).await?;
    }
    sqlx::raw_sql("VACUUM ANALYZE").execute(&pool).await?;

    let (completed, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, finished, events) = (Arc::clone(&completed), Arc::clone(&all), pool.clone());
    let client = Client::builder(pool.clone())
        .queue("steps", QueueConfig { max_workers: 256, ..QueueConfig::default() })
        .register::<Step, _, _>(move |step: Step, _| {
            let pool = events.clone();
            async move {
                if with_event {
                    tell(&pool, step.n).await.map_err(JobError::retryable)?;
                }
                Ok(JobResult::Completed)
            }
        })
        // Called after the completion's commit.
        .on_event_kind(Step::kind(), move |event| {
            let done = matches!(event, UntypedJobEvent::Completed { .. })
                && counted.fetch_add(1, Ordering::Relaxed) + 1 == jobs;
            if done {
                finished.notify_one();
            }
            async {}
        })
        .build()?;
    let started = Instant::now();
    client.start().await?;
    tokio::time::timeout(Duration::from_mins(5), all.notified())
        .await
        .map_err(|_| format!("{} of {jobs} jobs after five minutes", completed.load(Ordering::Relaxed)))?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({"jobs": jobs, "seconds": seconds}));
    client.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

async fn tell(pool: &sqlx::PgPool, n: usize) -> Result<(), sqlx::Error> {
    let text = format!("line {n}");
    sqlx::query(
        "INSERT INTO bench_events (owner, seq, id, key, code, message, params)
         VALUES ($1, 1, gen_random_uuid(), $2, 'BUILD_PROGRESS', $3, $4)",
    )
    .bind(format!("job_{n}"))
    .bind(n.to_string())
    .bind(&text)
    .bind(serde_json::json!({"message": text}))
    .execute(pool)
    .await?;
    Ok(())
}
