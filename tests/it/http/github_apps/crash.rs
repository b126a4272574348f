//! A process that dies between GitHub's answer and the commit that stores it.
#![cfg(feature = "failpoints")]

use panda_testing::answer::Caller;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{APPS, BEGUN, CREATED, EXCHANGE, create_at};
use crate::http::external_services;
use crate::support::db::TestDb;
use crate::support::panda::Panda;

/// Ends the server at `point` of an exchange, and returns the answers of another one: first immediately, then once the exchange counts as ended, with the row.
async fn end_at(point: &str) -> (Value, Value, Value) {
    let db = TestDb::new().await;
    let (github, _root) = external_services::github().await;
    let (api, pages) = (format!("--github-api={}", github.api_url()), format!("--github-url={}", github.git_url()));
    let flags = [api.as_str(), pages.as_str(), "--public-url=http://localhost/"];
    let server = || Panda::builder().on(&db).flags(&flags).process();
    let mut first = server().variables(&[("FAILPOINTS", &format!("{point}=return"))]).ready().await;
    let caller = Caller::of(&first.url);
    let begun = caller.post(APPS, &json!({"organization": "acme"})).await.data(BEGUN);
    let returned = create_at(&github, &begun).await;
    caller.request(reqwest::Method::POST, EXCHANGE).json(&returned).send().await.unwrap_err();
    first.wait().await;
    let next = server().variables(&[("RUST_LOG", "debug")]).ready().await;
    let caller = Caller::of(&next.url);
    // GitHub leads the browser to an address with code and state, which no log repeats.
    let (code, state) = (returned["code"].as_str().unwrap(), returned["state"].as_str().unwrap());
    let view = caller.get(&format!("/connections/github-apps/callback?code={code}&state={state}")).await;
    assert!(view.status == 200 && view.text.contains(code), "{}", view.text);
    let early = caller.post(EXCHANGE, &returned).await.json();
    let over = "UPDATE github_apps SET exchange_until = clock_timestamp()";
    sqlx::query(over).execute(&mut db.psql().await).await.unwrap();
    let late = caller.post(EXCHANGE, &returned).await;
    if late.status == 200 {
        late.data(CREATED);
    }
    assert!(!next.log().contains(code) && !next.log().contains(state), "{}", next.log());
    let row = caller.get(APPS).await.json()["data"]["apps"][0].clone();
    (early, late.json(), row)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_apps__crash_between_exchange_and_commit_leaves_a_remedy() {
    let (early, late, row) = end_at("replica/GitHub App manifest/after").await;
    assert_eq!(early["errorCode"], "GITHUB_APP_EXCHANGING");
    assert_eq!((&late["errorCode"], &late["field"]), (&json!("GITHUB_APP_CODE_REFUSED"), &json!("code")));
    assert!(late["detail"].as_str().unwrap().contains("generate a private key of it"), "{late}");
    assert_eq!(row["status"], "refused");
    // Before GitHub has seen the code, the same request simply succeeds later.
    let (early, _, row) = end_at("replica/GitHub App manifest/before").await;
    assert_eq!((&early["errorCode"], &row["status"]), (&json!("GITHUB_APP_EXCHANGING"), &json!("created")));
}
