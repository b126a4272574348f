use chrono::{DateTime, Utc};
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::auth::{Token, serve};
use super::{Answer, Api, count, fixture};
use crate::support::db::TestDb;

const PATH: &str = "/api/v1/schedules";
const MADE: &str = "배포 일정이 등록되었습니다.";
const CHANGED: &str = "배포 일정이 변경되었습니다.";
const SHOWN: &str = "배포 일정 조회 성공";
const LISTED: &str = "배포 일정 목록 조회 성공";
const RUNS: &str = "배포 일정 실행 기록 조회 성공";
const STARTED: &str = "배포가 시작되었습니다.";

async fn body(db: &TestDb) -> Value {
    let (github, aws) = fixture::connections(&db.db).await;
    let deploy = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"});
    json!({"name": "morning", "cron": "30 6 * * mon-fri", "timeZone": "Asia/Seoul", "deploy": deploy})
}

async fn patch(api: &Api, id: &str, change: &Value) -> Answer {
    Answer::of(api.request(Method::PATCH, &format!("{PATH}/{id}")).json(change).send().await.unwrap()).await
}

fn id(data: &Value) -> String {
    data["scheduleId"].as_str().unwrap().to_owned()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn schedules_api__life_cycle() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let body = body(&db).await;
    let made = api.post(PATH, &body).await.data(MADE);
    let id = id(&made);
    assert!(id.starts_with("sch_") && time(&made["createdAt"]) == time(&made["updatedAt"]));
    let mut expected = json!({
        "scheduleId": id, "name": "morning", "cron": "30 6 * * MON-FRI", "timeZone": "Asia/Seoul", "deploy": body["deploy"],
        "concurrency": "reject", "missed": "run_once", "paused": false, "madeBy": "nobody", "stopped": null, "lastRun": null, "lastError": null,
    });
    for name in ["createdAt", "updatedAt", "nextRunAt", "nextRuns"] {
        expected[name] = made[name].clone();
    }
    assert_eq!(made, expected);
    let next: Vec<DateTime<Utc>> = made["nextRuns"].as_array().unwrap().iter().map(time).collect();
    assert!(next.len() == 5 && next[0] == time(&made["nextRunAt"]) && next.is_sorted() && next[0] > Utc::now());
    assert!(next.iter().all(|time| time.format("%H:%M").to_string() == "21:30"), "half past six in Seoul: {next:?}");
    let path = format!("{PATH}/{id}");
    assert_eq!(api.get(&path).await.data(SHOWN), made);

    let changed =
        patch(&api, &id, &json!({"cron": "@daily", "timeZone": "UTC", "missed": "skip", "concurrency": "queue"}))
            .await
            .data(CHANGED);
    let shown = ["cron", "timeZone", "missed", "concurrency", "name"].map(|name| changed[name].as_str().unwrap());
    assert_eq!(shown, ["0 0 * * *", "UTC", "skip", "queue", "morning"]);
    assert!(
        time(&changed["nextRunAt"]).format("%H:%M").to_string() == "00:00"
            && time(&changed["updatedAt"]) > time(&made["updatedAt"])
    );
    let paused = patch(&api, &id, &json!({"paused": true})).await.data(CHANGED);
    assert_eq!(
        (&paused["paused"], &paused["nextRunAt"], &paused["nextRuns"]),
        (&json!(true), &Value::Null, &json!([]))
    );
    let resumed = patch(&api, &id, &json!({"paused": false})).await.data(CHANGED);
    assert_eq!((&resumed["paused"], &resumed["nextRunAt"]), (&json!(false), &changed["nextRunAt"]));

    let delete = async || Answer::of(api.request(Method::DELETE, &path).send().await.unwrap()).await;
    assert_eq!(delete().await.data("배포 일정이 삭제되었습니다."), json!({"scheduleId": id}));
    delete().await.problem(404, "SCHEDULE_NOT_FOUND");
    api.get(&path).await.problem(404, "SCHEDULE_NOT_FOUND");
    api.get(&format!("{path}/runs")).await.problem(404, "SCHEDULE_NOT_FOUND");
    patch(&api, &id, &json!({"paused": true})).await.problem(404, "SCHEDULE_NOT_FOUND");
    api.post(&format!("{path}/run"), &json!({})).await.problem(404, "SCHEDULE_NOT_FOUND");
}

#[tokio::test]
async fn schedules_api__invalid_fields_named_and_nothing_stored() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let good = body(&db).await;
    let deploy = |name: &str, value: Value| {
        let mut deploy = good["deploy"].clone();
        deploy[name] = value;
        deploy
    };
    let id = id(&api.post(PATH, &good).await.data(MADE));
    for (name, value, field, says) in [
        ("cron", json!("60 * * * *"), "cron", "minute: \"60\" must be *, 0 to 59"),
        ("cron", json!("0 0 30 2 *"), "cron", "never fires"),
        ("cron", json!("0 * * * * *"), "cron", "seconds"),
        ("cron", json!(5), "cron", "must be a string"),
        ("timeZone", json!("Mars/Olympus"), "timeZone", "such as Europe/Berlin"),
        ("timeZone", json!("asia/seoul"), "timeZone", "did you mean Asia/Seoul?"),
        ("name", json!(""), "name", "1 to 100"),
        ("name", json!("a\nb"), "name", "control"),
        ("concurrency", json!("parallel"), "concurrency", "use reject, queue or supersede"),
        ("missed", json!("never"), "missed", "use run_once or skip"),
        ("paused", json!("yes"), "paused", "must be a boolean"),
        ("deploy", json!([1, 2, 3, 4, 5]), "deploy", "must be a JSON object"),
        ("deploy", json!({}), "deploy.githubConnectionId", "is missing"),
        ("deploy", deploy("branch", json!("-x")), "deploy.branch", "must be a Git branch name"),
        ("deploy", deploy("owner", json!("other")), "deploy.owner", "must be acme"),
        ("deploy", deploy("repo", json!(7)), "deploy.repo", "must be a string"),
        ("deploy", deploy("force", json!(true)), "deploy.force", "is not a known field"),
        (
            "deploy",
            deploy("githubConnectionId", json!("gh_unknown")),
            "deploy.githubConnectionId",
            "names no connection",
        ),
        ("deploy", deploy("awsConnectionId", json!("aws_unknown")), "deploy.awsConnectionId", "names no connection"),
        ("when", json!("now"), "when", "is not a known field"),
    ] {
        let mut body = good.clone();
        body[name] = value.clone();
        for answer in [api.post(PATH, &body).await, patch(&api, &id, &json!({ name: value })).await] {
            let problem = answer.problem(400, "INVALID_FIELD");
            assert_eq!(problem["field"], field, "{body}");
            assert!(problem["detail"].as_str().unwrap().contains(says), "{body}: {problem}");
        }
    }
    assert_eq!(patch(&api, &id, &json!({})).await.refused_field("INVALID_FIELD"), "body");
    for query in ["?owner=a/b", "?limit=0", "?cursor=!", "?since=x"] {
        api.get(&format!("{PATH}{query}")).await.problem(400, "INVALID_FIELD");
    }
    assert_eq!(count(&db, "schedules").await, 1);
}

#[tokio::test]
async fn schedules_api__idempotency_key_makes_one_schedule_and_run() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let body = body(&db).await;
    let send = async |path: &str, body: &Value| {
        Answer::of(api.request(Method::POST, path).header("idempotency-key", "k").json(body).send().await.unwrap())
            .await
    };
    let first = send(PATH, &body).await;
    assert_eq!(send(PATH, &body).await.text, first.text);
    send(PATH, &json!({"cron": "@daily", "deploy": body["deploy"]})).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    let run = format!("{PATH}/{}/run", id(&first.data(MADE)));
    let started = send(&run, &json!({})).await;
    assert_eq!(send(&run, &json!({})).await.text, started.text);
    send(&run, &json!({"why": "other"})).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!((count(&db, "schedules").await, count(&db, "deployments").await), (1, 1));
}

#[tokio::test]
async fn schedules_api__manual_run_belongs_to_caller() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let token = Token::of(&db.db, Role::Deployer).await;
    let made = token.post(&api, PATH, &body(&db).await).await.data(MADE);
    let (path, id) = (format!("{PATH}/{}", id(&made)), id(&made));
    let started = token.post(&api, &format!("{path}/run"), &json!({})).await.data(STARTED);
    let deployment = started["deploymentId"].as_str().unwrap();
    let problem = token.post(&api, &format!("{path}/run"), &json!({})).await.problem(409, "TARGET_TAKEN");
    assert_eq!(problem["deploymentId"], deployment);
    let runs = token.get(&api, &format!("{path}/runs")).await.data(RUNS);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "an error returned to the caller is not recorded: {runs}");
    let run = &runs["runs"][0];
    assert_eq!(
        (&run["result"], &run["deploymentId"], &run["askedBy"]),
        (&json!("started"), &json!(deployment), &json!("deployer-test"))
    );
    let shown = token.get(&api, &path).await.data(SHOWN);
    assert_eq!((&shown["lastRun"], &shown["nextRunAt"]), (run, &made["nextRunAt"]));
    let result = token.get(&api, &format!("/api/v1/deploy/{deployment}/result")).await.data("배포 결과 조회 성공");
    assert_eq!(result["scheduleId"], id.as_str());
    let by: Option<String> =
        sqlx::query_scalar("SELECT started_by FROM deployments").fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(by.as_deref(), Some("deployer-test"));
}

#[tokio::test]
async fn schedules_api__pages_complete_without_repeats() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let body = body(&db).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.insert(0, id(&api.post(PATH, &body).await.data(MADE)));
    }
    let first = api.get(&format!("{PATH}?limit=2&owner=acme&repo=shop")).await.data(LISTED);
    let second =
        api.get(&format!("{PATH}?limit=2&cursor={}", first["nextCursor"].as_str().unwrap())).await.data(LISTED);
    let ids: Vec<String> =
        [&first, &second].iter().flat_map(|page| page["schedules"].as_array().unwrap().iter().map(id)).collect();
    assert_eq!((ids, &second["nextCursor"]), (made.clone(), &Value::Null));
    assert_eq!(api.get(&format!("{PATH}?owner=other")).await.data(LISTED)["schedules"], json!([]));
    let sql = "INSERT INTO schedule_runs (schedule_id, due_at, result) SELECT $1, now() - n * interval '1 h', 'skipped' FROM generate_series(1, 3) n";
    sqlx::query(sql).bind(&made[0]).execute(&mut db.psql().await).await.unwrap();
    let runs = format!("{PATH}/{}/runs?limit=2", made[0]);
    let first = api.get(&runs).await.data(RUNS);
    let second = api.get(&format!("{runs}&cursor={}", first["nextCursor"].as_str().unwrap())).await.data(RUNS);
    let due: Vec<DateTime<Utc>> = [&first, &second]
        .iter()
        .flat_map(|page| page["runs"].as_array().unwrap().iter().map(|run| time(&run["dueAt"])))
        .collect();
    assert!(due.len() == 3 && due.is_sorted_by(|a, b| a > b) && second["nextCursor"].is_null(), "{due:?}");
}

#[tokio::test]
async fn schedules_api__roles_and_scopes() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let all = Token::of(&db.db, Role::Deployer).await;
    let viewer = Token::of(&db.db, Role::Viewer).await;
    let theirs = Token::scoped(&db.db, Role::Admin, &["toys/*"]).await;
    let body = body(&db).await;
    let id = id(&all.post(&api, PATH, &body).await.data(MADE));
    let path = format!("{PATH}/{id}");
    viewer.get(&api, &path).await.data(SHOWN);
    assert_eq!(viewer.get(&api, PATH).await.data(LISTED)["schedules"].as_array().unwrap().len(), 1);
    assert_eq!(theirs.get(&api, PATH).await.data(LISTED)["schedules"], json!([]));
    theirs.get(&api, &path).await.problem(404, "SCHEDULE_NOT_FOUND");
    theirs.get(&api, &format!("{path}/runs")).await.problem(404, "SCHEDULE_NOT_FOUND");
    assert_eq!(theirs.post(&api, PATH, &body).await.refused_field("INVALID_FIELD"), "deploy.githubConnectionId");
    for (token, status, code) in [(&viewer, 403, "NOT_ALLOWED"), (&theirs, 404, "SCHEDULE_NOT_FOUND")] {
        for (method, path) in
            [(Method::PATCH, path.clone()), (Method::DELETE, path.clone()), (Method::POST, format!("{path}/run"))]
        {
            let answer = token.request(&api, method, &path).json(&json!({"paused": true})).send().await.unwrap();
            Answer::of(answer).await.problem(status, code);
        }
    }
    viewer.post(&api, PATH, &body).await.problem(403, "NOT_ALLOWED");
    assert_eq!((count(&db, "schedules").await, count(&db, "deployments").await), (1, 0));
    // The audit names the refused caller and the schedule.
    let admin = Token::of(&db.db, Role::Admin).await;
    let page = admin.get(&api, &format!("/api/v1/audit?target={id}")).await.data("감사 기록 조회 성공");
    let received: Vec<_> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", entry["action"], entry["errorCode"]))
        .collect();
    let refused = ["schedule.run", "schedule.delete", "schedule.change"];
    let expected = [
        refused.map(|action| format!("\"{action}\" \"SCHEDULE_NOT_FOUND\"")),
        refused.map(|action| format!("\"{action}\" \"NOT_ALLOWED\"")),
    ];
    assert_eq!(received, [expected.concat(), vec!["\"schedule.create\" null".to_owned()]].concat());
}

#[tokio::test]
async fn schedules_api__change_moves_ownership_pause_does_not() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let (deployer, approver) = (Token::of(&db.db, Role::Deployer).await, Token::of(&db.db, Role::Approver).await);
    let id = id(&approver.post(&api, PATH, &body(&db).await).await.data(MADE));
    let changed = async |token: &Token, change: Value| {
        let answer = token.request(&api, Method::PATCH, &format!("{PATH}/{id}")).json(&change).send().await.unwrap();
        let data = Answer::of(answer).await.data(CHANGED);
        let sql = "SELECT role || ' ' || made_by_token FROM schedules";
        let role: String = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
        (data["madeBy"].as_str().unwrap().to_owned(), role)
    };
    assert_eq!(
        changed(&deployer, json!({"paused": true})).await,
        ("approver-test".to_owned(), format!("approver {}", approver.id))
    );
    assert_eq!(
        changed(&deployer, json!({"paused": false})).await,
        ("deployer-test".to_owned(), format!("deployer {}", deployer.id))
    );
}

#[tokio::test]
async fn four_eyes__schedule_owner_cannot_approve() {
    let db = TestDb::new().await;
    let api =
        Api::serve_with(&db.db, &super::ExternalServices::default(), &["--auth=required", "--another-approves"]).await;
    let approver = Token::of(&db.db, Role::Approver).await;
    let other = Token::of(&db.db, Role::Admin).await;
    let id = id(&approver.post(&api, PATH, &body(&db).await).await.data(MADE));
    crate::schedules::due_now(&db, &id).await;
    let started = crate::schedules::deployment(crate::schedules::look(&db.db).await);
    let sql = "UPDATE deployments SET status = 'DEPLOYMENT_READY'";
    sqlx::query(sql).execute(&mut db.psql().await).await.unwrap();
    let switch = format!("/api/v1/deploy/{started}/switch");
    approver.post(&api, &switch, &json!({})).await.problem(403, "APPROVER_STARTED_IT");
    assert_eq!(other.post(&api, &switch, &json!({})).await.status, 200);
}

#[tokio::test]
async fn schedules_api__deploys_tag_with_build_options_and_reason() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut body = body(&db).await;
    body["deploy"].as_object_mut().unwrap().remove("branch");
    assert_eq!(api.post(PATH, &body).await.refused_field("INVALID_FIELD"), "deploy.branch");
    body["deploy"]["tag"] = json!("nightly");
    body["deploy"]["build"] = json!({"target": "runtime", "args": {"A": "1"}});
    body["deploy"]["reason"] = json!("Every night");
    body["deploy"]["kind"] = json!("hotfix");
    body["deploy"]["labels"] = json!({"team": "payments"});
    let made = api.post(PATH, &body).await.data(MADE);
    assert_eq!(made["deploy"], body["deploy"]);
    let path = format!("{PATH}/{}", id(&made));
    let started = api.post(&format!("{path}/run"), &json!({})).await.data(STARTED);
    let result = format!("/api/v1/deploy/{}/result", started["deploymentId"].as_str().unwrap());
    let shown = api.get(&result).await.data("배포 결과 조회 성공");
    let requested = &shown["requested"];
    assert_eq!(shown["labels"], body["deploy"]["labels"]);
    for name in ["tag", "build", "reason", "kind"] {
        assert_eq!(requested[name], body["deploy"][name], "{name}");
    }

    // Omitted fields stay; a given field is replaced as a whole.
    let renamed = patch(&api, &id(&made), &json!({"name": "nights"})).await.data(CHANGED);
    assert_eq!(renamed["deploy"], body["deploy"]);
    for (field, value, refused) in [
        ("build", json!({"secrets": ["npm"]}), "deploy.build.secrets[0]"),
        ("build", json!({"x": 1}), "deploy.build.x"),
        ("image", json!("latest"), "deploy.image"),
        ("labels", json!({"team": ""}), "deploy.labels.team"),
    ] {
        let mut deploy = body["deploy"].clone();
        deploy[field] = value;
        let answer = patch(&api, &id(&made), &json!({"deploy": deploy})).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), refused);
    }
    let mut deploy = body["deploy"].clone();
    for name in ["tag", "build", "reason", "kind", "labels"] {
        deploy.as_object_mut().unwrap().remove(name);
    }
    deploy["branch"] = json!("main");
    assert_eq!(patch(&api, &id(&made), &json!({"deploy": deploy})).await.data(CHANGED)["deploy"], deploy);
}
