//! The stored history of an execution, read again.

use panda::domain::principal::Role;
use panda_sandbox::{ExecutionFault, Faults, Outcome};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use sqlx::Executor as _;

use super::retry::retry;
use super::{Replica, deploy, status};
use crate::cli::{Ended, panda, run};
use crate::http::auth::{Token, serve};
use crate::http::{Api, Fixture};
use crate::support::db::TestDb;
use crate::support::environment::{Environment, TOKEN, tiny};

async fn replay(api: &Api, id: &str) -> Value {
    api.get(&format!("/api/v1/deploy/{id}/replay")).await.data("이벤트 이력 재현 성공")
}

fn differences(replay: &Value) -> Vec<&str> {
    let findings = replay["findings"].as_array().unwrap();
    findings.iter().filter_map(|found| found["difference"].as_str()).collect()
}

async fn panda_replay(api: &Api, id: &str) -> Ended {
    let server = format!("http://{}", api.address);
    run(&mut panda(&["replay", id, "--server", &server, "--lang", "en"])).await
}

/// A deployment that is ready for its switch.
async fn ready(env: &Environment) -> String {
    let replica = Replica::start(env, &[]);
    let id = deploy(env, "main").await;
    status(env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay__equals_what_was_published() {
    let env = Environment::with_files(tiny()).await;
    let id = ready(&env).await;
    let api = Api::serve(&env.db.db).await;
    let replayed = replay(&api, &id).await;
    assert!(replayed["storedEvents"].as_u64().unwrap() > 6, "{replayed}");
    assert_eq!((differences(&replayed), &replayed["differences"]), (vec![], &json!(0)));
    let findings = replayed["findings"].as_array().unwrap();
    let produced: Vec<&str> = findings
        .iter()
        .flat_map(|found| found["produced"].as_array().unwrap())
        .map(|code| code.as_str().unwrap())
        .collect();
    let expected = [
        "infra_started",
        "infra_completed",
        "blue_green_started",
        "blue_running",
        "green_ready",
        "blue_green_in_progress",
    ];
    assert_eq!(produced, expected);
    assert!(findings.iter().all(|found| found["produced"] == found["published"] && found["eventId"].is_i64()));
    let ended = panda_replay(&api, &id).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stdout.contains("blue_green_in_progress") && ended.stdout.contains("0 differences"),
        "{}",
        ended.stdout
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay__difference_named() {
    let env = Environment::with_files(tiny()).await;
    let id = ready(&env).await;
    let api = Api::serve(&env.db.db).await;
    let mut psql = env.db.psql().await;
    let changed = r#"UPDATE deployment_events SET params = params || '{"cluster_name": "another"}' WHERE code = 'infra_completed'"#;
    psql.execute(changed).await.unwrap();
    psql.execute("DELETE FROM deployment_events WHERE code = 'green_ready'").await.unwrap();
    let replayed = replay(&api, &id).await;
    let found = differences(&replayed);
    assert!(found.len() == 2 && found[0].contains("was published as \"another\""), "{found:?}");
    assert!(found[1].contains("green_ready was not published"), "{found:?}");
    let ended = panda_replay(&api, &id).await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stdout.contains("2 differences"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay__covers_all_attempts() {
    let env = Environment::with_files(tiny()).await;
    let outcome = Outcome::Fail { error: "Lambda.Unknown".into(), cause: "the task broke".into() };
    let fault = ExecutionFault { state: "CheckDeployment".into(), outcome };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() });
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    status(&env, &id, &["FAILED"]).await;
    env.sandbox.faults().clear();
    retry(&env, &id).await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
    let replayed = replay(&Api::serve(&env.db.db).await, &id).await;
    assert_eq!(differences(&replayed), [""; 0]);
    let of = |attempt: i64| {
        replayed["findings"].as_array().unwrap().iter().filter(|found| found["attempt"] == attempt).count()
    };
    assert!(of(1) > 6 && of(2) > 6, "{replayed}");
}

#[tokio::test]
async fn replay__without_stored_events() {
    let db = TestDb::new().await;
    let fixture = Fixture::begin(&db.db).await;
    let api = Api::serve(&db.db).await;
    let replayed = replay(&api, fixture.id()).await;
    assert_eq!((&replayed["storedEvents"], &replayed["findings"]), (&json!(0), &json!([])));
    let ended = panda_replay(&api, fixture.id()).await;
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(ended.stdout.contains("no history events of"), "{}", ended.stdout);
}

#[tokio::test]
async fn replay__only_admins() {
    let db = TestDb::new().await;
    let (api, fixture) = (serve(&db.db).await, Fixture::begin(&db.db).await);
    let path = format!("/api/v1/deploy/{}/replay", fixture.id());
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        Token::of(&db.db, role).await.get(&api, &path).await.problem(403, "NOT_ALLOWED");
    }
    assert_eq!(Token::of(&db.db, Role::Admin).await.get(&api, &path).await.status, 200);
}

/// The state machine's outputs may repeat a secret of the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay__secrets_masked_in_stored_events() {
    let env = Environment::with_files(tiny()).await;
    let registered = json!({"codeDeployDeploymentId": "{codeDeployDeploymentId}", "clusterName": format!("c-{TOKEN}")});
    let checked = json!({"status": "WAITING_APPROVAL", "token": TOKEN});
    let history = super::histories::unapproved(&registered, Some(&checked));
    env.sandbox.faults().set(Faults { histories: [("*".to_owned(), history)].into(), ..Faults::default() });
    let id = ready(&env).await;
    let sql = "SELECT string_agg(events, '') FROM history_pieces";
    let stored: String = sqlx::query_scalar(sql).fetch_one(&mut env.db.psql().await).await.unwrap();
    assert!(stored.contains("WAITING_APPROVAL") && !stored.contains(TOKEN), "{stored}");
    let replayed = replay(&Api::serve(&env.db.db).await, &id).await;
    assert_eq!(differences(&replayed), [""; 0], "masked as the events were");
}
