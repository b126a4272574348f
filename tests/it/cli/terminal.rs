//! A server, or text that it relays, contains terminal escapes or misleading characters: the command line shows them escaped.

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use panda::domain::text::misleads;
use serde_json::{Value, json};

use super::{Ended, panda, run};

/// A title, a cleared screen, a hidden and a reversed text, a forged line by carriage return, tags, and what most programs take for line ends.
const HOSTILE: &str = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[8mb\u{9b}1mc\u{202e}d\u{2066}e\u{200b}f\u{200f}g\u{61c}h\u{feff}i\u{e0041}j\rk\u{2028}l\u{8}m\u{85}n";

/// Fields of every list and object that a command shows, all of them hostile.
fn data() -> Value {
    let names = [
        "deploymentId",
        "owner",
        "repo",
        "branch",
        "startedAt",
        "errorCode",
        "errorMessage",
        "connectionId",
        "region",
        "at",
        "subject",
        "role",
        "address",
        "action",
        "target",
        "result",
        "requestId",
        "scheduleId",
        "name",
        "cron",
        "timeZone",
        "nextRunAt",
        "kind",
        "keep",
        "nextRun",
        "filter",
        "default",
        "until",
        "setBy",
        "setAt",
        "title",
        "createdAt",
        "state",
        "error",
        "id",
        "commitSha",
        HOSTILE,
    ];
    let mut object: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!(HOSTILE))).collect();
    object.insert("nested".to_owned(), json!({HOSTILE: [HOSTILE]}));
    let mut data = object.clone();
    data.extend([
        ("status".to_owned(), json!("FAILED")),
        ("eventCount".to_owned(), json!(1)),
        ("nextCursor".to_owned(), json!(HOSTILE)),
    ]);
    for list in
        ["deployments", "entries", "github", "aws", "schedules", "runs", "kinds", "reports", "attempts", "secrets"]
    {
        data.insert(list.to_owned(), json!([object]));
    }
    Value::Object(data)
}

fn report() -> Value {
    let (column, value) = (json!({"name": HOSTILE, "type": "text"}), json!([HOSTILE]));
    json!({"title": HOSTILE, "about": HOSTILE, "chart": null, "since": HOSTILE, "until": HOSTILE, "columns": [column], "rows": [value, [format!("={HOSTILE}")]], "truncated": false})
}

async fn answer(uri: Uri) -> Response {
    match uri.path() {
        path if path.ends_with("/events") => {
            let event = json!({"type": "fail", "message": HOSTILE, "details": {HOSTILE: HOSTILE, "stage": 1}});
            let stream = format!("id: 1\nevent: fail\ndata: {event}\n\n");
            ([(header::CONTENT_TYPE, "text/event-stream")], stream).into_response()
        }
        path if path.contains("/reports/") => axum::Json(json!({"data": report()})).into_response(),
        path if path.contains("/refused") => {
            let problem =
                json!({"status": 409, "message": HOSTILE, "errorCode": HOSTILE, "field": format!("{HOSTILE}x")});
            (StatusCode::CONFLICT, axum::Json(problem)).into_response()
        }
        path if path.contains("/elsewhere") => {
            (StatusCode::FOUND, [(header::LOCATION, "http://x/\u{9b}2J".escape_unicode().to_string())]).into_response()
        }
        _ => axum::Json(json!({"data": data()})).into_response(),
    }
}

fn is_harmless(args: &[&str], ended: &Ended) {
    for (name, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        let found: Vec<char> = text.chars().filter(|&c| c != '\n' && misleads(c)).collect();
        assert!(found.is_empty(), "{args:?}, {name}: {found:?} in {text:?}");
    }
}

#[tokio::test]
async fn terminal__server_text_cannot_send_escapes() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    let commands: [&[&str]; 18] = [
        &["list"],
        &["audit"],
        &["log"],
        &["current"],
        &["result", "dep_1"],
        &["connections"],
        &["schedule", "list"],
        &["schedule", "runs", "sch_1"],
        &["schedule", "show", "sch_1"],
        &["maintenance"],
        &["maintenance", "runs"],
        &["report"],
        &["report", "x"],
        &["report", "x", "--format", "csv"],
        &["watch", "dep_1"],
        &["cancel", "dep_1"],
        &["retry", "dep_1"],
        &["switch", "dep_1"],
    ];
    for args in commands {
        let shown = run(panda(args).args(["--server", &url])).await;
        is_harmless(args, &shown);
        let all = format!("{}{}", shown.stdout, shown.stderr);
        assert!(all.contains("<U+202E>") && all.contains("<U+E0041>"), "{args:?} shows it escaped: {shown:?}");
        if !args.contains(&"csv") {
            let json = run(panda(args).args(["--json", "--server", &url])).await;
            is_harmless(args, &json);
            let lines = json.stdout.lines().map(serde_json::from_str::<Value>).filter_map(Result::ok);
            let values: Vec<Value> = lines.collect();
            assert!(
                values.iter().any(|value| value.to_string().contains('\u{202e}')),
                "{args:?} loses nothing: {json:?}"
            );
        }
    }
    for args in [&["result", "refused"][..], &["cancel", "refused"], &["result", "elsewhere"], &["watch", "refused"]] {
        let refused = run(panda(args).args(["--server", &url])).await;
        assert_ne!(refused.code, 0, "{args:?}: {refused:?}");
        is_harmless(args, &refused);
    }
}

#[tokio::test]
async fn terminal__csv_cells_are_no_formulas() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    let shown = run(panda(&["report", "x", "--format", "csv"]).args(["--server", &url])).await;
    let last = shown.stdout.lines().last().unwrap();
    assert!(last.trim_start_matches('"').starts_with("'="), "{shown:?}");
}
