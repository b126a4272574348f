//! Two replicas, and in the middle of the phase the primary crashes and its synchronous standby becomes the primary.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::noise::{self, Noise};
use super::viewer::Watched;
use super::{COMMITS, FOLLOWED, HISTORY, SPREAD, followed, leases, options};
use panda_benches::figures::{line, percentile};
use panda_benches::postgres::{Server, open};
use panda_benches::process::{Panda, token};
use panda_benches::rows;
use panda_benches::sandbox::{SandboxProcess, following, lateness};

/// From the start of a phase to the crash, as a share of the phase.
const CRASH_AFTER: f64 = 0.5;

/// Measures a failover beside the noise that `kinds` names.
pub async fn measure(name: &str, kinds: &str, window: Duration, events: usize) -> Value {
    let server = Server::start().await;
    let database = server.database().await;
    let sandbox = SandboxProcess::start();
    let arns = sandbox.executions(FOLLOWED).await;
    rows::place(&database.db, FOLLOWED, |n| following(&arns[n])).await;
    let mut look = database.look().await;
    let replayed = noise::fill(&database, &mut look, HISTORY, events).await;
    let (calm, noisy) =
        (token(&database.url, "calm", "viewer", &[]).await, token(&database.url, "noisy", "viewer", &[]).await);
    database.settle().await;
    let standby = server.standby().await;
    let url = standby.either(&database);
    let mut watched = Watched::create(&open(&url)).await;

    let (options, variables) = options(&sandbox);
    let one = Panda::start_at(&url, &options, &variables).await;
    let other = Panda::start_at(&url, &options, &variables).await;
    followed(&mut look).await;
    tokio::time::sleep(SPREAD).await;
    let registered = leases(&mut look).await;
    drop(look);
    let load = Noise { bases: vec![one.base.clone(), other.base.clone()], token: noisy, replayed }.start(kinds);
    sandbox.forget_gaps().await;
    let (told, (before, down)) = tokio::join!(watched.append_for(window, COMMITS, &one.base, &calm), async {
        tokio::time::sleep(window.mul_f64(CRASH_AFTER)).await;
        let before = sandbox.gaps().await;
        let crashed = Instant::now();
        server.crash();
        standby.promote().await;
        (before, crashed.elapsed())
    });
    let gaps = sandbox.gaps().await;
    let seen = load.stop().await;
    let mut look = standby.look(&database).await;
    let lost = leases(&mut look).await - registered;
    let (undisturbed, whole, longest) = (lateness(&before, 0.99), lateness(&gaps, 0.99), lateness(&gaps, 0.9999));
    line(
        name,
        format!("{whole} ms"),
        &format!(
            "{:.1}/s, {:.1} ms, {lost}, {:.2} s; before the crash {undisturbed} ms, latest {longest} ms, longest without a commit {:.2} s, \
             promoted after {:.2} s ({} done, {} refused, {} abandoned)",
            told.commits,
            percentile(&told.latencies_ms, 0.99),
            seen.longest_refusal.as_secs_f64(),
            told.longest_pause.as_secs_f64(),
            down.as_secs_f64(),
            seen.done,
            seen.refused,
            seen.abandoned,
        ),
    );
    json!({
        "name": name, "lateness_p99_ms": whole, "lateness_p99_before_ms": undisturbed, "lateness_latest_ms": longest,
        "commits_per_second": told.commits, "stream_p99_ms": percentile(&told.latencies_ms, 0.99), "leases_lost": lost,
        "longest_refusal_s": seen.longest_refusal.as_secs_f64(), "longest_pause_s": told.longest_pause.as_secs_f64(),
        "promoted_after_s": down.as_secs_f64(), "done": seen.done, "refused": seen.refused, "abandoned": seen.abandoned,
    })
}
