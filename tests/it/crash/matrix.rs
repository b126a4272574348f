//! The crash matrix: `kill -9` at each fail point that a deployment comes to, one after the other, each in a deployment of its own.
//!
//! Nobody writes the list of points: an undisturbed deployment leaves a trace of those that it came to.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, stream};
use nix::sys::signal::Signal;
use panda::domain::StoredEvent;
use panda::steps::Step;
use pretty_assertions::assert_eq;

use crate::reconcile::{deploy, events};
use crate::support::process::Serve;
use crate::support::wait_for;
use crate::support::wishes::Wishes;
use crate::support::world::{World, tiny};

/// Deployments at once: each waits most of its time for leases and polls. Postgres takes a hundred connections.
const AT_ONCE: usize = 8;

/// How often a point that is come to again and again is tried: the first time and once more.
const TIMES: usize = 2;

/// How long a completed deployment's replica is looked at: the last points come after the last commit.
const LOOKS_AFTER_THE_END: usize = 25;

/// The shortest lease, for those that are killed and those that take over; few connections each.
const FLAGS: [&str; 2] = ["--lease-ms=1000", "--database-max-connections=3"];

/// A fail point, and the how-manieth time that it is come to.
type Point = (String, usize);

/// What an undisturbed deployment leaves.
struct Undisturbed {
    points: Vec<Point>,
    told: Vec<Told>,
}

/// An event without what differs between any two deployments.
type Told = (String, BTreeMap<String, String>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_killed_at_any_point_is_taken_over_and_nothing_is_lost_or_done_twice() {
    let world = World::with_files(tiny()).await;
    // In a new account everything has to be made; after that some is there.
    let new = undisturbed(&world).await;
    let known = undisturbed(&world.neighbour(tiny()).await).await;
    assert_eq!(new.told, known.told, "two undisturbed deployments tell the same");
    let steps: HashSet<&str> = new.points.iter().filter_map(|(name, _)| name.split('/').next()).collect();
    // Its only turn that a driver runs is the one without a wish, which ends a step before it.
    let waited = |step: &&&str| **step != "await_switch";
    let missing: Vec<_> = Step::NAMES.iter().filter(waited).filter(|step| !steps.contains(**step)).collect();
    assert!(missing.is_empty(), "steps without a fail point: {missing:?}");

    let known: HashSet<Point> = known.points.into_iter().collect();
    let told = new.told;
    let results: Vec<(Point, Result<bool, String>)> = stream::iter(new.points)
        .map(|point| {
            let (world, told, is_known) = (&world, &told, known.contains(&point));
            async move {
                // What is done once for an account needs an account where it is not done yet.
                let world = if is_known { world.neighbour(tiny()).await } else { World::with_files(tiny()).await };
                let ended = AssertUnwindSafe(killed_at(&world, &point, told)).catch_unwind().await;
                // One broken point should not hide the others.
                let said =
                    |panic: Box<dyn Any + Send>| panic.downcast::<String>().map_or_else(|_| "?".into(), |said| *said);
                (point, ended.map_err(said))
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let broken: Vec<_> = results.iter().filter(|(_, result)| result.is_err()).collect();
    assert!(broken.is_empty(), "{} of {} points: {broken:#?}", broken.len(), results.len());
    // How often something is looked at differs, and whether it has to be waited for: all else must come.
    let must_come = |(name, times): &Point| *times == 1 && !name.contains("/progress/");
    let unreached: Vec<_> = results.iter().filter(|(point, result)| must_come(point) && *result == Ok(false)).collect();
    assert!(unreached.is_empty(), "never came to {unreached:?}");
    println!("killed at {} points", results.iter().filter(|(_, result)| *result == Ok(true)).count());
}

/// Runs a deployment to its end, traced.
async fn undisturbed(world: &World) -> Undisturbed {
    let trace = world.workspaces().with_file_name(format!("{}.trace", world.repo));
    let mut replica = Serve::start(world, &FLAGS, &[("PANDA_FAILPOINTS_TRACE", trace.to_str().unwrap())]);
    let id = deploy(world, "main").await;
    assert!(!completed_or_dead(world, &id, &mut replica).await, "nobody kills it:\n{}", replica.log());
    // The notification of the last commit comes after it.
    wait_for("the end is notified", async || {
        let text = std::fs::read_to_string(&trace).unwrap();
        text.lines().last().is_some_and(|line| line.ends_with("notify/after"))
    })
    .await;
    replica.kill().await;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut points = Vec::new();
    for name in std::fs::read_to_string(&trace).unwrap().lines() {
        let times = seen.entry(name.to_owned()).or_default();
        *times += 1;
        if *times <= TIMES {
            points.push((name.to_owned(), *times));
        }
    }
    check_effects(world);
    Undisturbed { points, told: told(world, &id).await }
}

/// One deployment whose replica is killed at `point`, finished by another. False when it never came there.
async fn killed_at(world: &World, (name, times): &Point, undisturbed: &[Told]) -> bool {
    let before = if *times > 1 { format!("{}*off->", times - 1) } else { String::new() };
    let mut dying = Serve::start(world, &FLAGS, &[("FAILPOINTS", &format!("{name}={before}return"))]);
    let id = deploy(world, "main").await;
    let killed = completed_or_dead(world, &id, &mut dying).await;
    dying.kill().await;
    let mut other = Serve::start(world, &FLAGS, &[]);
    assert!(!completed_or_dead(world, &id, &mut other).await, "the second replica ended:\n{}", other.log());
    check_effects(world);
    assert_eq!(undisturbed, told(world, &id).await, "killed at {name} ({times})");
    killed
}

/// Switches when it is time, until the deployment is completed (false) or the replica was killed (true).
async fn completed_or_dead(world: &World, id: &str, replica: &mut Serve) -> bool {
    let mut looks = 0;
    wait_for(&format!("{id} is completed"), async || {
        if let Some(status) = replica.ended() {
            assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}:\n{}", replica.log());
            return Some(true);
        }
        let view = world.db.db.deployment(id).await.unwrap().unwrap();
        assert_ne!(view.status, "FAILED", "{:?}\n{}", view.error_message, replica.log());
        if view.status == "DEPLOYMENT_READY" {
            // Repeating the wish is as good as wishing once.
            world.db.db.request_switch(id).await.unwrap();
        }
        looks += usize::from(view.status == "COMPLETED");
        (looks > LOOKS_AFTER_THE_END).then_some(false)
    })
    .await
}

/// One of each, in the outside.
fn check_effects(world: &World) {
    let effects = world.sandbox.effects(&world.ecr_repository());
    let once = |counters: &BTreeMap<String, u32>| counters.values().copied().collect::<Vec<_>>() == [1];
    assert_eq!((effects.created, effects.rules.len(), effects.targets.len()), (1, 1, 1), "{effects:?}");
    assert!(once(&effects.pushes), "one push of one digest: {effects:?}");
    assert!(once(&effects.executions), "one execution: {effects:?}");
    assert!(once(&effects.continued) && once(&effects.shifted), "one switch: {effects:?}");
    assert!(effects.stopped.is_empty() && effects.executions_stopped == 0, "{effects:?}");
    let permissions = world.sandbox.all_effects().permissions;
    assert!(once(&permissions), "one permission: {permissions:?}");
}

/// What was told, in order and without gap, without what differs between any two deployments. Lines of build and push are left out:
/// a build that runs again uses what the engine has kept, and says so.
async fn told(world: &World, id: &str) -> Vec<Told> {
    let events = events(world, id).await;
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(events.len()).unwrap()).collect::<Vec<_>>());
    let lines = |event: &&StoredEvent| !event.code.ends_with("_progress");
    events.iter().filter(lines).map(|event| (event.code.clone(), of_any(world, id, event))).collect()
}

fn of_any(world: &World, id: &str, event: &StoredEvent) -> BTreeMap<String, String> {
    let folder = world.workspaces().display().to_string();
    let of_any = |text: &str| {
        let text = text.replace(id, "{id}").replace(&world.repo, "{repo}").replace(&folder, "{workspaces}");
        // Ids, ports and digests: whatever has a digit, or is of capital letters alone.
        let mut words: Vec<String> = Vec::new();
        for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            let plain = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_id = plain.chars().any(|c| c.is_ascii_digit())
                || plain.len() > 8 && plain.chars().all(|c| c.is_ascii_uppercase());
            words.push(if is_id { word.replacen(plain, "#", 1) } else { word.to_owned() });
        }
        words.concat()
    };
    event.params.iter().map(|(name, value)| (name.clone(), of_any(&value.to_string()))).collect()
}
