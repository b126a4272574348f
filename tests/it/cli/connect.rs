//! Connecting and renewing from the command line.

use std::process::Stdio;

use pretty_assertions::assert_eq;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{panda, run};
use crate::http::external_services::{self, TOKEN};
use crate::http::github_apps::{CREATED, EXCHANGE, Site, create_at, install};
use crate::http::{Api, ExternalServices};
use crate::support::db::TestDb;

#[tokio::test]
async fn cli_connect__role_uses_shown_external_id() {
    let (db, sandbox) = (TestDb::new().await, external_services::sandbox().await);
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_aws(&sandbox), &[]).await;
    let url = format!("http://{}", api.address);
    let role = format!("arn:aws:iam::{}:role/panda", sandbox.user_account_id());
    let args = ["connect", "aws", "--region", sandbox.region(), "--role-arn", &role, "--server", &url];
    let refused = run(&mut panda(&args)).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(
        refused.stderr.contains("AWS_ROLE_NOT_TRUSTING") && refused.stderr.contains("sts:ExternalId"),
        "{refused:?}"
    );
    let id = refused.stderr.split("\"panda-").nth(1).unwrap().split('"').next().unwrap();
    let id = format!("panda-{id}");
    sandbox.put_role_for(&role, &id);
    let made = run(&mut panda(&args)).await;
    assert_eq!(made.code, 0, "{made:?}");
    let connection = made.stdout.trim();
    assert!(connection.starts_with("aws_") && !connection.contains('\n'), "scripts use the output unchanged: {made:?}");
    assert!(made.stderr.contains(&id), "{made:?}");

    let renew = ["connect", "aws", "--renew", connection, "--role-arn", &role, "--server", &url, "--json"];
    let renewed = run(panda(&renew).env("AWS_REGION", "us-east-1")).await;
    assert_eq!(renewed.code, 0, "the region of the environment is not this connection's: {renewed:?}");
    let data: serde_json::Value = serde_json::from_str(&renewed.stdout).unwrap();
    assert_eq!(data, serde_json::json!({"awsConnectionId": connection, "externalId": id}));
}

#[tokio::test]
async fn cli_connect__external_id_argument_refused() {
    let role = ["connect", "aws", "--region", "ap-northeast-2", "--role-arn", "arn:aws:iam::123456789012:role/panda"];
    let by_file = run(panda(&role).args(["--external-id-file", "id.txt"])).await;
    let by_variable = run(panda(&role).env("PANDA_AWS_EXTERNAL_ID", "chosen-id")).await;
    for (ended, name) in [(by_file, "--external-id-file"), (by_variable, "PANDA_AWS_EXTERNAL_ID")] {
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(name) && ended.stderr.contains("derives"), "{ended:?}");
        assert!(!ended.stderr.contains("chosen-id"), "{ended:?}");
    }
    let help = run(&mut panda(&["connect", "aws", "--help"])).await;
    assert!(!help.stdout.contains("external-id-file") && help.stdout.contains("--renew"), "{}", help.stdout);
}

#[tokio::test]
async fn cli_connect__github_renewed_by_id() {
    let (github, _root) = external_services::github().await;
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github), &[]).await;
    let url = format!("http://{}", api.address);
    let connect = async |args: &[&str]| {
        let args = [&["connect", "github"], args, &["--server", &url]].concat();
        run(panda(&args).env("PANDA_GITHUB_TOKEN", TOKEN)).await
    };
    let unnamed = connect(&[]).await;
    assert_eq!(unnamed.code, 2, "{unnamed:?}");
    assert!(unnamed.stderr.contains("--owner"), "{unnamed:?}");
    let made = connect(&["--owner", "acme", "--repo", "shop"]).await;
    let id = made.stdout.trim();
    assert_eq!(connect(&["--renew", id]).await.stdout, made.stdout);
    assert_eq!(
        connect(&["--owner", "acme", "--repo", "shop"]).await.stdout,
        made.stdout,
        "repeating it gives the same"
    );
    let other = connect(&["--renew", id, "--branch", "next"]).await;
    assert_eq!(other.code, 4, "{other:?}");
    assert!(other.stderr.contains("CONNECTION_DIFFERS"), "{other:?}");
    assert_eq!(db.db.github_connection(id).await.unwrap().unwrap().token.expose_secret(), TOKEN);
}

#[tokio::test]
async fn cli_connect__role_of_rules_shown_before_it_is_created() {
    let (db, sandbox) = (TestDb::new().await, external_services::sandbox().await);
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_aws(&sandbox), &[]).await;
    let url = format!("http://{}", api.address);
    let keys = sandbox.user_credentials();
    let connect = async |more: &[&str]| {
        let args =
            ["connect", "aws", "--region", sandbox.region(), "--access-key-id", &keys.access_key_id, "--server", &url];
        run(panda(&[&args[..], more].concat()).env("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.expose_secret()))
            .await
    };
    let unconfirmed = connect(&["--create-role"]).await;
    assert_eq!(unconfirmed.code, 2, "{unconfirmed:?}");
    let id = unconfirmed.stdout.trim().to_owned();
    assert!(id.starts_with("aws_"), "the connection is stored: {unconfirmed:?}");
    for shown in ["role/panda-events-", "events.amazonaws.com", "events:PutEvents", &sandbox.bus_arn(), "--yes"] {
        assert!(unconfirmed.stderr.contains(shown), "{shown}: {unconfirmed:?}");
    }
    let role = async || db.db.aws_connection(&id).await.unwrap().unwrap().rule_target_role_arn;
    assert_eq!(role().await, None);

    let confirmed = connect(&["--create-role", "--yes"]).await;
    assert_eq!((confirmed.code, confirmed.stdout.trim()), (0, id.as_str()), "{confirmed:?}");
    let created = role().await.unwrap();
    let again = run(&mut panda(&["connections", "create-role", &id, "--server", &url])).await;
    assert_eq!((again.code, again.stdout.trim()), (0, created.as_str()), "it is there, so nothing is asked: {again:?}");
    let listed = run(&mut panda(&["connections", "--server", &url])).await;
    assert!(listed.stdout.contains(&created), "{listed:?}");

    assert_eq!(connect(&["--rule-target-role-arn", "none"]).await.code, 0);
    assert_eq!(role().await, None);
    let other = connect(&["--rule-target-role-arn", "arn:aws:iam::111122223333:role/x"]).await;
    assert!(other.code == 2 && other.stderr.contains("--rule-target-role-arn"), "{other:?}");
}

#[tokio::test]
async fn cli_connect__github_app_is_awaited_and_connects() {
    let site = Site::open(&[]).await;
    let server = ["--server", site.api.base.as_str()];
    let mut waiting = panda(&["connect", "github-app", "--organization", "acme"]);
    let mut waiting = waiting.args(server).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.ends_with("/connections/github-apps?organization=acme"), "{line}");
    let begun = site.begin(&site.api, &json!({"organization": "acme"})).await;
    let app = site.api.post(EXCHANGE, &create_at(&site.github, &begun).await).await.data(CREATED);
    let ended = waiting.wait_with_output().await.unwrap();
    let id = app["githubAppId"].as_str().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8(ended.stdout).unwrap().trim()), (Some(0), id));
    let next = lines.next_line().await.unwrap().unwrap();
    assert!(next.contains(app["installationAddress"].as_str().unwrap()), "{next}");

    let installation = install(&app).await.to_string();
    let args =
        ["connect", "github", "--owner", "acme", "--repo", "shop", "--app", id, "--installation-id", &installation];
    let connected = run(panda(&args).args(server)).await;
    assert!(connected.code == 0 && connected.stdout.starts_with("gh_"), "{connected:?}");
    let without = run(panda(&args[..6]).args(["--installation-id", &installation]).args(server)).await;
    assert!(without.code == 2 && without.stderr.contains("--app"), "{without:?}");
    let listed = run(panda(&["connect", "github-app", "--list"]).args(server)).await;
    assert!(listed.code == 0 && listed.stdout.contains(id), "{listed:?}");
    let removed = run(panda(&["connect", "github-app", "--remove", id]).args(server)).await;
    assert!(removed.code == 0 && removed.stdout.contains(id), "{removed:?}");
    let gone = run(panda(&["connect", "github-app", "--remove", id]).args(server)).await;
    assert!(gone.code == 4 && gone.stderr.contains("GITHUB_APP_NOT_FOUND"), "{gone:?}");
    // A server that does not know its address.
    let none = Api::serve(&site.db.db).await;
    let refused = run(&mut panda(&["connect", "github-app", "--server", &none.base])).await;
    assert!(refused.code == 2 && refused.stderr.contains("PANDA_PUBLIC_URL"), "{refused:?}");
}
