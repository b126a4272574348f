//! States and codes that are not accepted.

use panda::db::DbError;
use panda::domain::Caller;
use panda::domain::keyring::{KeyError, Keyring};
use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use serde_json::json;

use super::{APPS, CREATED, EXCHANGE, Site, create_at};
use crate::db::encryption::with_keys;
use crate::http::auth::Token;
use crate::http::{Api, ExternalServices};
use crate::support::db::TestDb;

#[tokio::test]
async fn github_apps__state_is_the_callers_and_for_one_code_and_one_hour() {
    let site = Site::open(&["--auth=required"]).await;
    let mine = site.api.signed_in(&Token::of(&site.db.db, Role::Deployer).await.secret);
    // The same name and role, and another token.
    let other = site.api.signed_in(&Token::of(&site.db.db, Role::Deployer).await.secret);
    let narrow = site.api.signed_in(&Token::scoped(&site.db.db, Role::Deployer, &["acme/shop"]).await.secret);
    let viewer = site.api.signed_in(&Token::of(&site.db.db, Role::Viewer).await.secret);
    viewer.post(APPS, &json!({})).await.problem(403, "NOT_ALLOWED");
    let begun = site.begin(&mine, &json!({})).await;
    assert!(
        begun["address"].as_str().unwrap().starts_with(&format!("{}/settings/apps/new?state=", site.github.git_url()))
    );
    let returned = create_at(&site.github, &begun).await;
    for foreign in [&other, &narrow] {
        assert_eq!(foreign.post(EXCHANGE, &returned).await.refused_field("GITHUB_APP_STATE_REFUSED"), "state");
    }
    site.api.post(EXCHANGE, &returned).await.problem(401, "NOT_SIGNED_IN");
    let unknown = json!({"code": returned["code"], "state": "0".repeat(64)});
    assert_eq!(mine.post(EXCHANGE, &unknown).await.refused_field("GITHUB_APP_STATE_REFUSED"), "state");
    let app = mine.post(EXCHANGE, &returned).await.data(CREATED);
    // Used: no other code is sent to GitHub for it.
    let another = json!({"code": "a".repeat(40), "state": returned["state"]});
    assert_eq!(mine.post(EXCHANGE, &another).await.refused_field("GITHUB_APP_STATE_REFUSED"), "state");
    // Callers with the same repositories see it, and others do not.
    assert_eq!((site.apps(&other).await.len(), site.apps(&narrow).await.len()), (1, 0));
    let id = app["githubAppId"].as_str().unwrap();
    narrow.delete(&format!("{APPS}/{id}")).await.problem(404, "GITHUB_APP_NOT_FOUND");
    let connect =
        json!({"owner": "acme", "repo": "shop", "branch": "main", "app": {"githubAppId": id, "installationId": 1}});
    narrow.post("/api/v1/connect/github", &connect).await.problem(404, "GITHUB_APP_NOT_FOUND");

    let late = site.begin(&mine, &json!({})).await;
    let returned = create_at(&site.github, &late).await;
    let over = "UPDATE github_apps SET expires_at = clock_timestamp() - interval '1 second' WHERE status = 'begun'";
    sqlx::query(over).execute(&mut site.db.psql().await).await.unwrap();
    assert_eq!(mine.post(EXCHANGE, &returned).await.refused_field("GITHUB_APP_STATE_REFUSED"), "state");
    // The next one that is begun removes it.
    site.begin(&mine, &json!({})).await;
    let rows: Vec<String> = sqlx::query_scalar("SELECT status FROM github_apps ORDER BY created_at")
        .fetch_all(&mut site.db.psql().await)
        .await
        .unwrap();
    assert_eq!(rows, ["created", "begun"]);
}

#[tokio::test]
async fn github_apps__each_refusal_names_its_field_and_remedy() {
    let site = Site::open(&[]).await;
    for (body, field) in [
        (json!({"name": "a".repeat(35)}), "name"),
        (json!({"organization": "-acme"}), "organization"),
        (json!({"organization": "../settings"}), "organization"),
    ] {
        assert_eq!(site.api.post(APPS, &body).await.refused_field("INVALID_FIELD"), field);
    }
    let begun = site.begin(&site.api, &json!({})).await;
    let state = create_at(&site.github, &begun).await["state"].clone();
    for code in ["", "../../user", "a b"] {
        let body = json!({"code": code, "state": state});
        assert_eq!(site.api.post(EXCHANGE, &body).await.refused_field("INVALID_FIELD"), "code");
    }
    // An address without a listener, as during an outage: the same code can be sent again.
    let away = Api::serve_with(&site.db.db, &ExternalServices::default().with_public_url(), &[]).await;
    let wrong = json!({"code": "0".repeat(40), "state": state});
    away.post(EXCHANGE, &wrong).await.problem(502, "GITHUB_UNAVAILABLE");
    assert_eq!(site.apps(&site.api).await[0]["status"], "exchanging");
    // GitHub does not know it.
    let refused = site.api.post(EXCHANGE, &wrong).await.problem(400, "GITHUB_APP_CODE_REFUSED");
    assert_eq!(refused["field"], "code");
    assert!(
        refused["detail"].as_str().unwrap().contains("delete it there")
            && !refused.to_string().contains(&"0".repeat(40))
    );
    assert_eq!(site.apps(&site.api).await[0]["status"], "refused");
    assert_eq!(site.api.post(EXCHANGE, &wrong).await.refused_field("GITHUB_APP_STATE_REFUSED"), "state");
    let id = begun["githubAppId"].as_str().unwrap();
    let connect = |app| json!({"owner": "acme", "repo": "shop", "branch": "main", "app": app});
    let unusable = connect(json!({"githubAppId": id, "installationId": 1}));
    site.api.post("/api/v1/connect/github", &unusable).await.problem(404, "GITHUB_APP_NOT_FOUND");
    let twice = connect(json!({"githubAppId": id, "installationId": 1, "privateKey": "x"}));
    let twice = site.api.post("/api/v1/connect/github", &twice).await;
    assert_eq!(twice.refused_field("INVALID_FIELD"), "app.privateKey");
    // Without an address to which GitHub could lead back.
    let none = Api::serve(&site.db.db).await;
    let missing = none.post(APPS, &json!({})).await.problem(409, "PUBLIC_URL_MISSING");
    assert!(missing["detail"].as_str().unwrap().contains("PANDA_PUBLIC_URL"));
    assert_eq!(none.get(APPS).await.json()["data"]["pageAddress"], json!(null));
}

#[tokio::test]
async fn github_apps__private_key_follows_key_rotation() {
    let test = TestDb::new().await;
    let (old, new) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
    let (both, rotated) = (with_keys(&test, &[&new, &old]), with_keys(&test, &[&new]));
    let before = with_keys(&test, &[&old]);
    let site = Site::of(test, &before, &[]).await;
    let begun = site.begin(&site.api, &json!({})).await;
    let app = site.api.post(EXCHANGE, &create_at(&site.github, &begun).await).await.data(CREATED);
    let (id, by) = (app["githubAppId"].as_str().unwrap(), Caller::local());
    let row = format!("github_apps/{id}");
    let unreadable = rotated.check_rows().await.unwrap();
    assert!(unreadable.unreadable().iter().any(|found| found.row == row), "{unreadable:?}");
    let refused = rotated.github_app_key(id, &by).await.unwrap_err();
    assert!(matches!(refused, DbError::Key(KeyError::Unknown { .. })), "{refused}");
    assert_eq!(both.rewrap_keys().await.unwrap(), both.check_rows().await.unwrap().totals().0);
    let (app_id, _) = rotated.github_app_key(id, &by).await.unwrap().unwrap();
    assert_eq!((app_id.as_str(), rotated.check_rows().await.unwrap().unreadable().len()), ("1000", 0));
}
