//! The crash matrix: SIGKILL at each fail point that a deployment reaches.
//!
//! The list of points is not maintained by hand: an undisturbed deployment of each scenario records the points that it reaches. Each later deployment
//! is killed several times, at points far apart, and each killed process is followed by another.

use std::any::Any;
use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, stream};
use nix::sys::signal::Signal;
use panda::commands::CommandError;
use panda::steps::Step;
use panda_sandbox::RolloutStyle;
use pretty_assertions::assert_eq;

use super::event_summary::{EventSummary, emitted};
use super::scenario::{BEFORE_THE_ROLLOUT, Command, OF_ECS, ONLY_OF_ECS, SCENARIOS, Scenario};
use crate::reconcile::deploy;
use crate::support::commands::Commands;
use crate::support::environment::{Environment, tiny};
use crate::support::process::Serve;
use crate::support::wait_for;
use panda_testing::failpoint_trace::{Point, Trace};

/// Concurrent deployments. Each spends most of its time waiting for leases and polls; Postgres permits a hundred connections.
const CONCURRENT_DEPLOYMENTS: usize = 10;

const KILLS_PER_DEPLOYMENT: usize = 4;

/// Polls of a finished deployment before its replica counts as done: the last points come after the last commit.
const POLLS_AFTER_END: usize = 25;

/// The shortest lease, for killed replicas and their successors; few connections each.
const FLAGS: [&str; 2] = ["--lease-ms=1000", "--database-max-connections=10"];

/// The points at which a deployment was killed, or the error that followed.
type Killed = Result<HashSet<Point>, String>;

/// Result of an undisturbed deployment.
struct Undisturbed {
    trace: Trace,
    emitted: Vec<EventSummary>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash__killed_at_every_fail_point_is_taken_over() {
    let env = Environment::with_files(tiny()).await;
    // The first deployment in a new account creates everything; later ones find parts of it.
    let style = RolloutStyle::CodeDeploy;
    let new = undisturbed(&env, &SCENARIOS[0], style).await;
    let mut covered: HashSet<String> = HashSet::new();
    let mut killed = 0;
    for scenario in SCENARIOS {
        let known = undisturbed(&env.neighbour(tiny()).await, scenario, style).await;
        covered.retain(|step| !scenario.again.contains(&step.as_str()));
        let points = known.trace.points(&covered);
        if covered.is_empty() {
            assert_eq!(new.emitted, known.emitted, "two undisturbed deployments emit the same events");
            let mut once_for_an_account = new.trace.points(&covered);
            once_for_an_account.retain(|point| !points.contains(point));
            killed += killed_at_all(None, (scenario, style), once_for_an_account, &known.emitted).await;
        }
        killed += killed_at_all(Some(&env), (scenario, style), points, &known.emitted).await;
        covered.extend(known.trace.steps().into_iter().map(str::to_owned));
    }
    let missing = Step::NAMES.iter().filter(|step| !covered.contains(**step) && !ONLY_OF_ECS.contains(step));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "no scenario reaches {missing:?}: add one that does to SCENARIOS in crash/scenario.rs");
    println!("killed at {killed} points");
}

/// The same for rollouts of ECS: the steps before the rollout are covered above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash__killed_during_rollouts_of_ecs_is_taken_over() {
    let env = Environment::with_files(tiny()).await;
    let mut covered: HashSet<String> = BEFORE_THE_ROLLOUT.map(str::to_owned).into();
    let style = RolloutStyle::BlueGreen;
    let mut killed = 0;
    // Scripted histories name CodeDeploy's deployments alone.
    for scenario in
        OF_ECS.iter().chain(SCENARIOS.iter().filter(|scenario| scenario.name != "succeeded_without_approval"))
    {
        let known = undisturbed(&env.neighbour(tiny()).await, scenario, style).await;
        covered.retain(|step| !scenario.again.contains(&step.as_str()));
        let points = known.trace.points(&covered);
        killed += killed_at_all(Some(&env), (scenario, style), points, &known.emitted).await;
        covered.extend(known.trace.steps().into_iter().map(str::to_owned));
    }
    assert!(ONLY_OF_ECS.iter().all(|step| covered.contains(*step)), "no scenario reaches one of {ONLY_OF_ECS:?}");
    println!("killed at {killed} points");
}

/// Runs a traced deployment to its end.
async fn undisturbed(env: &Environment, scenario: &Scenario, style: RolloutStyle) -> Undisturbed {
    scenario.prepare(env, style).await;
    let path = trace_of(env, 0);
    let mut replica = Serve::start(env, &FLAGS, &[("PANDA_FAILPOINTS_TRACE", path.to_str().unwrap())]);
    let id = deploy(env, "main").await;
    assert!(!is_killed(scenario, env, &id, &mut replica, 0).await, "it is not killed:\n{}", replica.log());
    wait_for("the end is notified", async || Trace::read(&path).is_complete()).await;
    replica.kill().await;
    scenario.check_effects(env);
    let emitted = emitted(env, &id).await;
    let (status, error) = scenario.end;
    let end = error.unwrap_or(status).to_lowercase();
    let ends: Vec<usize> = (0..emitted.len()).filter(|&n| emitted[n].0 == end).collect();
    assert_eq!(ends, [emitted.len() - 1], "{end} is emitted once, as the last event");
    Undisturbed { trace: Trace::read(&path), emitted }
}

/// Kills at all `points`, in neighbours of `env` or each time in a new environment; returns their number.
async fn killed_at_all(
    env: Option<&Environment>,
    (scenario, style): (&Scenario, RolloutStyle),
    points: Vec<Point>,
    undisturbed: &[EventSummary],
) -> usize {
    let mut count = 0;
    let mut left = points;
    // A kill may divert the deployment from another point: points that were not reached are tried again alone.
    for kills in [KILLS_PER_DEPLOYMENT, 1] {
        let deployments = left.len().div_ceil(kills);
        let results: Vec<(Vec<Point>, Killed)> = stream::iter(0..deployments)
            .map(|n| {
                let points: Vec<Point> = left.iter().skip(n).step_by(deployments).cloned().collect();
                async move {
                    let env = match env {
                        Some(env) => env.neighbour(tiny()).await,
                        None => Environment::with_files(tiny()).await,
                    };
                    let ended =
                        AssertUnwindSafe(killed_at(&env, (scenario, style), &points, undisturbed)).catch_unwind().await;
                    // One broken point should not hide the others.
                    let said = |panic: Box<dyn Any + Send>| {
                        panic.downcast::<String>().map_or_else(|_| "?".into(), |said| *said)
                    };
                    (points, ended.map_err(said))
                }
            })
            .buffer_unordered(CONCURRENT_DEPLOYMENTS)
            .collect()
            .await;
        let broken: Vec<_> = results.iter().filter(|(_, result)| result.is_err()).collect();
        let name = scenario.name;
        assert!(broken.is_empty(), "{name}: {} of {} deployments: {broken:#?}", broken.len(), results.len());
        let killed: HashSet<Point> = results.into_iter().filter_map(|(_, result)| result.ok()).flatten().collect();
        count += killed.len();
        left.retain(|point| !killed.contains(point));
        if kills == KILLS_PER_DEPLOYMENT {
            // The number of polls differs between runs, and so does whether waiting is needed; every other point must be reached.
            left.retain(|(name, times)| *times == 1 && !name.contains("/progress/"));
        }
    }
    assert!(left.is_empty(), "{}: never reached {left:?}", scenario.name);
    count
}

/// Runs one deployment whose process is killed at each of `points` and followed by another; returns the points reached.
async fn killed_at(
    env: &Environment,
    (scenario, style): (&Scenario, RolloutStyle),
    points: &[Point],
    undisturbed: &[EventSummary],
) -> HashSet<Point> {
    scenario.prepare(env, style).await;
    let id = deploy(env, "main").await;
    let mut killed: HashSet<Point> = HashSet::new();
    for life in 0.. {
        // When a point occurs twice, the second kill happens in the next process.
        let mut names = HashSet::new();
        let ahead = points.iter().filter(|point| !killed.contains(*point) && names.insert(&point.0));
        let ahead: Vec<&Point> = ahead.collect();
        let armed: Vec<String> = ahead
            .iter()
            .flat_map(|(name, times)| {
                let names = [Some(name.clone()), alternative(name)].into_iter().flatten();
                names.map(move |name| format!("{name}={}*off->return", times - 1))
            })
            .collect();
        let trace = trace_of(env, life);
        let variables = [("FAILPOINTS", armed.join(";")), ("PANDA_FAILPOINTS_TRACE", trace.display().to_string())];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut replica = Serve::start(env, &FLAGS, &variables);
        let longer = if ahead.is_empty() { 0 } else { POLLS_AFTER_END };
        let is_killed = is_killed(scenario, env, &id, &mut replica, longer).await;
        replica.kill().await;
        if !is_killed {
            break;
        }
        let trace = Trace::read(&trace);
        let at = trace.killed_at();
        let is_there = |name: &str| at.contains(name) || alternative(name).is_some_and(|name| at.contains(&*name));
        let there = ahead.into_iter().filter(|(name, _)| is_there(name));
        let before = killed.len();
        killed.extend(there.cloned().collect::<Vec<_>>());
        assert!(killed.len() > before, "it died at another place:\n{}", replica.log());
    }
    scenario.check_effects(env);
    assert_eq!(undisturbed, emitted(env, &id).await, "killed at {killed:?}");
    killed
}

/// The other call by which a rollout of ECS is ended: which one depends on whether it has come to its pause, and so on the load of this machine.
fn alternative(point: &str) -> Option<String> {
    const CALLS: [&str; 2] = ["StopServiceDeployment", "ContinueServiceDeployment"];
    // Continuing is also what a switch does.
    let ends = point.starts_with("resume/") || point.starts_with("cancel/");
    let of = |from: usize| point.contains(CALLS[from]).then(|| point.replace(CALLS[from], CALLS[1 - from]));
    if ends { of(0).or_else(|| of(1)) } else { None }
}

/// Sends the commands as they become due, until the deployment has ended (false) or the replica was killed (true). After the end it polls `longer`
/// times more, because the last points come after the last commit.
async fn is_killed(scenario: &Scenario, env: &Environment, id: &str, replica: &mut Serve, longer: usize) -> bool {
    let mut polls = 0;
    wait_for(&format!("{id} is {:?}", scenario.end), async || {
        if let Some(status) = replica.ended() {
            assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}:\n{}", replica.log());
            return Some(true);
        }
        let view = env.db.db.deployment(id).await.unwrap().unwrap();
        let is_end = (view.status.as_str(), view.error_code.as_deref()) == scenario.end;
        match scenario.command(&view) {
            Some(Command::Switch) => accepted_or_late(&env.db.db.request_switch(id).await),
            Some(Command::Rollback) => accepted_or_late(&env.db.db.request_rollback(id, None).await.map(drop)),
            Some(Command::Cancel) => accepted_or_late(&env.db.db.request_cancel(id).await),
            Some(Command::Retry) => {
                Scenario::clear_faults(env);
                accepted_or_late(&env.db.db.request_retry(id).await);
            }
            Some(Command::FailHook) => {
                Scenario::fail_hook(env);
                // As the watch does, whose period is longer than a replica's life here.
                env.db.db.request_looks(&[id.to_owned()]).await.unwrap();
                env.db.db.notify_work(id).await.unwrap();
            }
            None => assert!(is_end || view.status != "FAILED", "{:?}\n{}", view.error_message, replica.log()),
        }
        polls += usize::from(is_end);
        (polls > longer).then_some(false)
    })
    .await
}

/// The replica may have changed the status since it was read, so that the command came too late.
fn accepted_or_late(outcome: &Result<(), CommandError>) {
    assert!(matches!(outcome, Ok(()) | Err(CommandError::Deploy(_))), "{outcome:?}");
}

fn trace_of(env: &Environment, life: usize) -> std::path::PathBuf {
    env.workspaces().with_file_name(format!("{}.{life}.trace", env.repo))
}
