//! The crash matrix: `kill -9` at each fail point that a deployment comes to.
//!
//! Nobody writes the list of points: an undisturbed deployment of each scenario leaves a trace of those that it came to. Each deployment
//! after that dies several times on its way, at points far apart, each time in a process that another one follows.

use std::any::Any;
use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, stream};
use nix::sys::signal::Signal;
use panda::steps::Step;
use pretty_assertions::assert_eq;

use super::scenario::{SCENARIOS, Scenario, Wish};
use super::told::{Told, told};
use super::trace::{Point, Trace};
use crate::reconcile::deploy;
use crate::support::process::Serve;
use crate::support::wait_for;
use crate::support::wishes::Wishes;
use crate::support::world::{World, tiny};

/// Deployments at once: each waits most of its time for leases and polls. Postgres takes a hundred connections.
const AT_ONCE: usize = 10;

/// How often a deployment is killed on its way.
const DEATHS: usize = 3;

/// How long the replica of a deployment at its end is looked at: the last points come after the last commit.
const LOOKS_AFTER_THE_END: usize = 25;

/// The shortest lease, for those that are killed and those that take over; few connections each.
const FLAGS: [&str; 2] = ["--lease-ms=1000", "--database-max-connections=10"];

/// The points that a deployment was killed at, or what was wrong with it then.
type Killed = Result<HashSet<Point>, String>;

/// What an undisturbed deployment leaves.
struct Undisturbed {
    trace: Trace,
    told: Vec<Told>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_killed_at_any_point_is_taken_over_and_nothing_is_lost_or_done_twice() {
    let world = World::with_files(tiny()).await;
    // In a new account everything has to be made; after that some is there.
    let new = undisturbed(&world, &SCENARIOS[0]).await;
    let mut covered: HashSet<String> = HashSet::new();
    let mut killed = 0;
    for scenario in SCENARIOS {
        let known = undisturbed(&world.neighbour(tiny()).await, scenario).await;
        let points = known.trace.points(&covered);
        if covered.is_empty() {
            assert_eq!(new.told, known.told, "two undisturbed deployments tell the same");
            let mut once_for_an_account = new.trace.points(&covered);
            once_for_an_account.retain(|point| !points.contains(point));
            killed += killed_at_all(None, scenario, once_for_an_account, &known.told).await;
        }
        killed += killed_at_all(Some(&world), scenario, points, &known.told).await;
        covered.extend(known.trace.steps().into_iter().map(str::to_owned));
    }
    let missing: Vec<_> = Step::NAMES.iter().filter(|step| !covered.contains(**step)).collect();
    assert!(
        missing.is_empty(),
        "no scenario comes to {missing:?}: add one that does to SCENARIOS in crash/scenario.rs"
    );
    println!("killed at {killed} points");
}

/// Runs a deployment to its end, traced.
async fn undisturbed(world: &World, scenario: &Scenario) -> Undisturbed {
    (scenario.trouble)(world);
    let path = trace_of(world, 0);
    let mut replica = Serve::start(world, &FLAGS, &[("PANDA_FAILPOINTS_TRACE", path.to_str().unwrap())]);
    let id = deploy(world, "main").await;
    assert!(!is_killed(scenario, world, &id, &mut replica, 0).await, "nobody kills it:\n{}", replica.log());
    wait_for("the end is notified", async || Trace::read(&path).is_complete()).await;
    replica.kill().await;
    scenario.check_effects(world);
    let told = told(world, &id).await;
    let (status, error) = scenario.end;
    let end = error.unwrap_or(status).to_lowercase();
    let ends: Vec<usize> = (0..told.len()).filter(|&n| told[n].0 == end).collect();
    assert_eq!(ends, [told.len() - 1], "{end} is told once, last of all");
    Undisturbed { trace: Trace::read(&path), told }
}

/// Kills at all `points`, in neighbours of `world` or each time in a new one; returns at how many.
async fn killed_at_all(world: Option<&World>, scenario: &Scenario, points: Vec<Point>, undisturbed: &[Told]) -> usize {
    let mut count = 0;
    let mut left = points;
    // One death may keep the deployment from another point: what was not come to is tried again alone.
    for deaths in [DEATHS, 1] {
        let deployments = left.len().div_ceil(deaths);
        let results: Vec<(Vec<Point>, Killed)> = stream::iter(0..deployments)
            .map(|n| {
                let points: Vec<Point> = left.iter().skip(n).step_by(deployments).cloned().collect();
                async move {
                    let world = match world {
                        Some(world) => world.neighbour(tiny()).await,
                        None => World::with_files(tiny()).await,
                    };
                    let ended =
                        AssertUnwindSafe(killed_at(&world, scenario, &points, undisturbed)).catch_unwind().await;
                    // One broken point should not hide the others.
                    let said = |panic: Box<dyn Any + Send>| {
                        panic.downcast::<String>().map_or_else(|_| "?".into(), |said| *said)
                    };
                    (points, ended.map_err(said))
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let broken: Vec<_> = results.iter().filter(|(_, result)| result.is_err()).collect();
        let name = scenario.name;
        assert!(broken.is_empty(), "{name}: {} of {} deployments: {broken:#?}", broken.len(), results.len());
        let killed: HashSet<Point> = results.into_iter().filter_map(|(_, result)| result.ok()).flatten().collect();
        count += killed.len();
        left.retain(|point| !killed.contains(point));
        if deaths == DEATHS {
            // How often something is looked at differs, and whether it has to be waited for: all else must come.
            left.retain(|(name, times)| *times == 1 && !name.contains("/progress/"));
        }
    }
    assert!(left.is_empty(), "{}: never came to {left:?}", scenario.name);
    count
}

/// One deployment, whose process is killed at each of `points` and followed by another. Those that it came to.
async fn killed_at(world: &World, scenario: &Scenario, points: &[Point], undisturbed: &[Told]) -> HashSet<Point> {
    (scenario.trouble)(world);
    let id = deploy(world, "main").await;
    let mut killed: HashSet<Point> = HashSet::new();
    for life in 0.. {
        // Of two times of one point, the second is the next process's.
        let mut names = HashSet::new();
        let ahead = points.iter().filter(|point| !killed.contains(*point) && names.insert(&point.0));
        let ahead: Vec<&Point> = ahead.collect();
        let armed: Vec<String> =
            ahead.iter().map(|(name, times)| format!("{name}={}*off->return", times - 1)).collect();
        let trace = trace_of(world, life);
        let env = [("FAILPOINTS", armed.join(";")), ("PANDA_FAILPOINTS_TRACE", trace.display().to_string())];
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut replica = Serve::start(world, &FLAGS, &env);
        let longer = if ahead.is_empty() { 0 } else { LOOKS_AFTER_THE_END };
        let is_killed = is_killed(scenario, world, &id, &mut replica, longer).await;
        replica.kill().await;
        if !is_killed {
            break;
        }
        let trace = Trace::read(&trace);
        let there = ahead.into_iter().filter(|(name, _)| trace.killed_at().contains(name.as_str()));
        let before = killed.len();
        killed.extend(there.cloned().collect::<Vec<_>>());
        assert!(killed.len() > before, "it died somewhere else:\n{}", replica.log());
    }
    scenario.check_effects(world);
    assert_eq!(undisturbed, told(world, &id).await, "killed at {killed:?}");
    killed
}

/// Makes the wishes as their time comes, until the deployment is at its end (false) or the replica was killed (true). At the end it is
/// looked at `longer` times more: the last points come after the last commit.
async fn is_killed(scenario: &Scenario, world: &World, id: &str, replica: &mut Serve, longer: usize) -> bool {
    let mut looks = 0;
    wait_for(&format!("{id} is {:?}", scenario.end), async || {
        if let Some(status) = replica.ended() {
            assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}:\n{}", replica.log());
            return Some(true);
        }
        let view = world.db.db.deployment(id).await.unwrap().unwrap();
        let is_end = (view.status.as_str(), view.error_code.as_deref()) == scenario.end;
        match scenario.wish(&view) {
            Some(Wish::Switch) => _ = world.db.db.request_switch(id).await.unwrap(),
            Some(Wish::Cancel) => _ = world.db.db.request_cancel(id).await.unwrap(),
            Some(Wish::Retry) => {
                Scenario::mend(world);
                world.db.db.request_retry(id).await.unwrap();
            }
            None => assert!(is_end || view.status != "FAILED", "{:?}\n{}", view.error_message, replica.log()),
        }
        looks += usize::from(is_end);
        (looks > longer).then_some(false)
    })
    .await
}

fn trace_of(world: &World, life: usize) -> std::path::PathBuf {
    world.workspaces().with_file_name(format!("{}.{life}.trace", world.repo))
}
