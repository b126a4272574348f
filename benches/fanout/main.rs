//! Measures the cost of event streams: `make bench-fanout`.
//!
//! Runs the release program on a durable Postgres, and then, on the same machine, nchan (nginx's module, Debian) and better-sse (npm). Neither peer
//! has a database: published events are discarded or kept in memory, and no client can resume after a restart. `PANDA_BENCH_VIEWERS` is the number of
//! open streams (10,000), `PANDA_BENCH_SECONDS` the time over which latency is measured (15).

mod hostile;
mod peers;
mod restart;
mod viewers;

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use panda_benches::figures::{head, line, median, percentile, seconds};
use panda_benches::postgres::{Database, Server};
use panda_benches::process::{Panda, scheduled_seconds};
use panda_benches::rows::{append, build_line, own};
use viewers::Viewers;

/// Events sent to all viewers, one after the other.
const ROUNDS: usize = 30;

/// Deployments, viewers and events per second of the latency measurement.
const LATENCY: (usize, usize, u64) = (100, 1_000, 50);

/// Cost of many streams for one server.
struct Fanout {
    bytes_per_stream: f64,
    deliveries_per_cpu_second: f64,
}

#[tokio::main]
async fn main() {
    let count = usize::try_from(seconds("PANDA_BENCH_VIEWERS", 10_000).as_secs()).unwrap();
    let watched = seconds("PANDA_BENCH_SECONDS", 15);
    let server = Server::start().await;

    head();
    let fanout = panda_fanout(&server.database().await, count).await;
    line("resident memory per idle stream", kib(fanout.bytes_per_stream), "10 KiB");
    line("deliveries per CPU-second (Panda alone)", rate(&fanout), "");
    let nchan = peers::nchan(count).await;
    let better = peers::better_sse(count).await;
    line("resident memory per idle stream, nchan", kib(nchan.bytes_per_stream), "");
    line("  better-sse", kib(better.bytes_per_stream), "");
    line("  Panda to nchan", format!("{:.2}", fanout.bytes_per_stream / nchan.bytes_per_stream), "1.2");
    let to_nchan = fanout.deliveries_per_cpu_second / nchan.deliveries_per_cpu_second;
    let to_better = fanout.deliveries_per_cpu_second / better.deliveries_per_cpu_second;
    line("deliveries per CPU-second, nchan", rate(&nchan), "");
    line("  better-sse", rate(&better), "");
    line("  Panda to nchan", format!("{to_nchan:.2}"), "0.9");
    line("  Panda to better-sse", format!("{to_better:.2}"), "2");
    let latency = latency(&server.database().await, watched).await;
    let (p50, p99) = (percentile(&latency, 0.5), percentile(&latency, 0.99));
    line("commit to client, 1,000 viewers, 50 events/s, p50", format!("{p50:.2} ms"), "5 ms");
    line("  p99", format!("{p99:.2} ms"), "50 ms");
    let (with, without) = append_rates(&server).await;
    line("appends with notifications", format!("{with:.0}/s"), "");
    line("  without", format!("{without:.0}/s"), "");
    line("  ratio", format!("{:.3}", with / without), "0.95");
    let restart = restart::restart(&server.database().await, count).await;
    line("SIGTERM with as many streams: end of the process", format!("{:.2} s", restart.exit.as_secs_f64()), "2 s");
    line("  all back on the other replica", format!("{:.2} s", restart.back.as_secs_f64()), "10 s");
    line("  not back, or not with each event once", restart.lost, "0");
    let (alone, beside) = hostile::hostile(&server.database().await).await;
    line("healthy viewers, p99", format!("{alone:.2} ms"), "");
    line("  beside 1,000 stalled and 1,000 slow heads", format!("{beside:.2} ms"), "");
    line("  ratio", format!("{:.2}", beside / alone), "1.2");
    println!(
        "{}",
        serde_json::json!({
            "viewers": count, "bytes_per_idle_stream": fanout.bytes_per_stream, "nchan_bytes_per_idle_stream": nchan.bytes_per_stream,
            "better_sse_bytes_per_idle_stream": better.bytes_per_stream,
            "deliveries_per_cpu_second": fanout.deliveries_per_cpu_second,
            "nchan_deliveries_per_cpu_second": nchan.deliveries_per_cpu_second,
            "better_sse_deliveries_per_cpu_second": better.deliveries_per_cpu_second,
            "commit_to_client_p50_ms": p50, "commit_to_client_p99_ms": p99,
            "appends_per_second_notified": with, "appends_per_second": without, "append_ratio": with / without,
            "exit_seconds": restart.exit.as_secs_f64(), "back_seconds": restart.back.as_secs_f64(), "not_back": restart.lost,
            "healthy_p99_ms": alone, "healthy_p99_ms_beside_hostile": beside,
        })
    );
}

fn rate(of: &Fanout) -> String {
    format!("{:.0}", of.deliveries_per_cpu_second)
}

fn kib(bytes: f64) -> String {
    format!("{:.1} KiB", bytes / 1_024.0)
}

/// Starts a server that accepts this many streams from one address.
async fn serve(database: &Database) -> Panda {
    let options = ["--max-streams=100000", "--max-streams-per-client=100000", "--stream-rotation-ms=3600000"];
    Panda::start_with(&database.url, &options.map(str::to_owned), &[]).await
}

async fn panda_fanout(database: &Database, count: usize) -> Fanout {
    let db = &database.db;
    let (me, mut rows) = own(db, "shop", 1).await;
    let row = &mut rows[0];
    let panda = serve(database).await;
    let path = format!("/api/v1/deploy/{}/events", row.id);
    // Excludes the one-time cost of the first streams.
    let warm = Viewers::open(panda.address(), &path, 100).await;
    drop(warm);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = panda.resident_mib();
    let mut viewers = Viewers::open(panda.address(), &path, count).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let bytes_per_stream = (panda.resident_mib() - before) * 1_024.0 * 1_024.0 / count as f64;
    let mut rates = Vec::new();
    for n in 0..ROUNDS {
        let cpu = scheduled_seconds(panda.pid());
        append(db, row, me, build_line(n, format!("line {n}"))).await;
        db.notify_events(std::slice::from_ref(&row.id)).await.unwrap();
        viewers.all_have(n + 1).await;
        rates.push(count as f64 / (scheduled_seconds(panda.pid()) - cpu));
    }
    Fanout { bytes_per_stream, deliveries_per_cpu_second: median(&rates) }
}

/// Returns the milliseconds from a commit's return to the event's arrival, for every viewer.
async fn latency(database: &Database, watched: Duration) -> Vec<f64> {
    let (deployments_count, count, rate) = LATENCY;
    let db = &database.db;
    let (me, mut rows) = own(db, "shop", deployments_count).await;
    let panda = serve(database).await;
    let begun = Instant::now();
    let mut viewers = Viewers::none();
    for row in &rows {
        let path = format!("/api/v1/deploy/{}/events", row.id);
        viewers.add_timed(panda.address(), &path, count / deployments_count, begun).await;
    }
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / rate));
    let mut n = 0;
    while begun.elapsed() < watched {
        ticks.tick().await;
        let row = &mut rows[n % deployments_count];
        // The viewer reads the time at which the commit was sent from the text; it returned at most the commit's duration later.
        let sent = begun.elapsed().as_micros();
        append(db, row, me, build_line(n, format!("at={sent};"))).await;
        let committed = begun.elapsed().as_micros();
        viewers.committed(sent, committed);
        db.notify_events(std::slice::from_ref(&row.id)).await.unwrap();
        n += 1;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let latencies = viewers.latencies();
    assert_eq!(latencies.len(), n * count / deployments_count, "every event came to every viewer");
    latencies
}

/// Measures commits with one event per second by eight concurrent deployments, with and without notifications; medians over the rounds.
async fn append_rates(server: &Server) -> (f64, f64) {
    let database = server.database().await;
    let db = &database.db;
    let (me, mut rows) = own(db, "shop", 8).await;
    let (mut with, mut without, mut n) = (Vec::new(), Vec::new(), 0);
    let panda = serve(&database).await;
    for round in 0..10 {
        let (notify, begun) = (round % 2 == 0, Instant::now());
        let commits: Vec<usize> = stream::iter(rows.iter_mut().enumerate())
            .map(|(which, row)| async move {
                let mut done = 0;
                while begun.elapsed() < Duration::from_secs(2) {
                    let key = round * 1_000_000 + n + done * 8 + which;
                    append(db, row, me, build_line(key, "line".to_owned())).await;
                    if notify && done % 10 == 0 {
                        // As the program does, which notifies once for several gathered commits.
                        db.notify_events(std::slice::from_ref(&row.id)).await.unwrap();
                    }
                    done += 1;
                }
                done
            })
            .buffer_unordered(8)
            .collect()
            .await;
        let total: usize = commits.iter().sum();
        n += total;
        if notify { &mut with } else { &mut without }.push(total as f64 / begun.elapsed().as_secs_f64());
    }
    drop(panda);
    (median(&with), median(&without))
}
