//! Tokens from the command line, and a server that requires them.

use std::process::Stdio;
use std::time::Duration;

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::{panda, run};
use crate::support::db::{KEY_FILE, TestDb};
use crate::support::panda::Panda;
use crate::support::process::free_address;
use crate::support::wait_for;

#[tokio::test]
async fn cli_token__created_used_listed_and_revoked() {
    let db = TestDb::new().await;
    let server = Panda::builder().on(&db).flags(&["--auth=required"]).process().ready().await;
    let database = ["--database-url", db.url()];
    let url = ["--server", server.url.as_str()];
    let refused = run(panda(&["list"]).args(url)).await;
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("NOT_SIGNED_IN") && refused.stderr.contains("panda token create"), "{refused:?}");

    let create = ["token", "create", "--name", "alice", "--role", "viewer", "--owner", "Acme", "--expires", "90d"];
    let made = run(panda(&create).args(database)).await;
    assert_eq!(made.code, 0, "{made:?}");
    let token = made.stdout.trim();
    assert!(token.starts_with("panda_") && made.stdout.lines().count() == 1, "only the token is printed: {made:?}");
    assert!(made.stderr.contains("acme/*") && made.stderr.contains("viewer") && !made.stderr.contains(token));

    let list = run(panda(&["list"]).args(url).env("PANDA_TOKEN", token)).await;
    assert_eq!((list.code, list.stdout.as_str()), (0, "no deployments\n"), "{list:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{token}\n")).unwrap();
    let list = run(panda(&["list", "--panda-token-file"]).arg(file.path()).args(url)).await;
    assert_eq!(list.code, 0, "{list:?}");
    let switch = run(panda(&["switch", "dep_x"]).args(url).env("PANDA_TOKEN", token)).await;
    assert_eq!(switch.code, 4);
    assert!(switch.stderr.contains("role approver") && switch.stderr.contains("NOT_ALLOWED"), "{switch:?}");

    let tokens = run(panda(&["token", "list", "--json"]).args(database)).await;
    let rows: Value = serde_json::from_str(&tokens.stdout).unwrap();
    assert_eq!(
        (&rows[0]["name"], &rows[0]["role"], &rows[0]["repositories"]),
        (&"alice".into(), &"viewer".into(), &"acme/*".into())
    );
    assert!(!tokens.stdout.contains(&token[6..]), "{tokens:?}");
    let id = rows[0]["id"].as_str().unwrap();
    assert!(run(panda(&["token", "list"]).args(database)).await.stdout.contains(id));
    let revoked = run(panda(&["token", "revoke", id]).args(database)).await;
    assert_eq!(revoked.code, 0, "{revoked:?}");
    wait_for("the token is refused", async || {
        run(panda(&["list"]).args(url).env("PANDA_TOKEN", token)).await.code == 4
    })
    .await;
    assert_eq!(run(panda(&["token", "revoke", "tok_none"]).args(database)).await.code, 2);
    assert_eq!(run(panda(&["list", "--token", "x"]).args(url)).await.code, 2, "refused on the command line");
}

#[tokio::test]
async fn cli_token__admin_file_token_required_on_loopback() {
    let db = TestDb::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let token = "0123456789abcdef0123456789abcdef";
    std::fs::write(file.path(), format!("{token}\n")).unwrap();
    let option = format!("--admin-token-file={}", file.path().display());
    let server = Panda::builder().on(&db).flags(&[&option]).process().ready().await;
    let list = |token: &str| panda(&["list", "--server", &server.url]).env("PANDA_TOKEN", token).output();
    assert_eq!(list(token).await.unwrap().status.code(), Some(0));
    assert_eq!(list("0123456789abcdef0123456789abcdeF").await.unwrap().status.code(), Some(4));
    std::fs::write(file.path(), "short").unwrap();
    let refused = run(&mut serve(&db, "127.0.0.1:0", &[&option])).await;
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("PANDA_ADMIN_TOKEN_FILE") && refused.stderr.contains("32"), "{refused:?}");
    assert!(!refused.stderr.contains("short"), "{refused:?}");
}

#[tokio::test]
async fn no_auth__reachable_server_without_tokens_refused() {
    let db = TestDb::new().await;
    let refused = run(&mut serve(&db, "0.0.0.0:0", &[])).await;
    assert_eq!(refused.code, 5, "{refused:?}");
    for part in ["panda token create", "--admin-token-file", "PANDA_ADMIN_TOKEN_FILE", "--no-auth"] {
        assert!(refused.stderr.contains(part), "{part} is missing: {refused:?}");
    }
    let database = ["--database-url", db.url()];
    let create = ["token", "create", "--name", "alice", "--role", "admin", "--json"];
    let made: Value = serde_json::from_str(&run(panda(&create).args(database)).await.stdout).unwrap();
    let address = format!("0.0.0.0:{}", free_address().port());
    let mut started = serve(&db, &address, &[]).stderr(Stdio::null()).spawn().unwrap();
    let url = format!("http://127.0.0.1:{}", address.rsplit(':').next().unwrap());
    let status = async |token: &str| {
        let answer = reqwest::Client::new().get(format!("{url}/api/v1/deploy")).bearer_auth(token).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    };
    wait_for("the server accepts the token", async || status(made["token"].as_str().unwrap()).await == Some(200)).await;
    assert_eq!(status("panda_other").await, Some(401));
    started.kill().await.unwrap();
    // A revoked token does not count.
    run(panda(&["token", "revoke", made["id"].as_str().unwrap()]).args(database)).await;
    assert_eq!(run(&mut serve(&db, "0.0.0.0:0", &[])).await.code, 5);
}

#[tokio::test]
async fn no_auth__explicit_option_admits_everyone() {
    let db = TestDb::new().await;
    let address = format!("0.0.0.0:{}", free_address().port());
    let mut started = serve(&db, &address, &["--no-auth"]).stderr(Stdio::piped()).spawn().unwrap();
    let url = format!("http://127.0.0.1:{}/api/v1/deploy", address.rsplit(':').next().unwrap());
    wait_for("the server accepts every caller", async || {
        reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    started.start_kill().unwrap();
    let ended = started.wait_with_output().await.unwrap();
    assert!(String::from_utf8_lossy(&ended.stderr).contains("authentication is off"));
}

#[tokio::test]
async fn no_auth__database_awaited_before_refusing() {
    let db = TestDb::new().await;
    let proxy = crate::support::postgres_proxy::PostgresProxy::before(&db, false).await;
    let url = proxy.url(&db).to_string();
    let mut command = serve(&db, "0.0.0.0:0", &["--database-url", &url]);
    let mut waiting = command.stderr(Stdio::null()).spawn().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(3), waiting.wait()).await;
    assert!(ended.is_err(), "it waits: {ended:?}");
    proxy.set(true);
    let ended = tokio::time::timeout(crate::support::WAIT_LIMIT, waiting.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(5));
}

/// `panda serve` at an address.
fn serve(db: &TestDb, listen: &str, args: &[&str]) -> tokio::process::Command {
    let mut command = panda(&["serve", "--listen", listen]);
    command.args(args).env("PANDA_KEY_FILE", KEY_FILE);
    if !args.contains(&"--database-url") {
        command.env("PANDA_DATABASE_URL", db.url());
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

#[tokio::test]
async fn cli_token__subject_revoked_listed_and_restored() {
    let db = TestDb::new().await;
    let token = async |args: &[&str]| run(panda(&["token"]).args(args).args(["--database-url", db.url()])).await;
    let who = ["--issuer", "https://issuer.example", "--subject", "repo:acme/shop"];
    let revoked = token(&[&["revoke"], &who[..], &["--reason", "stolen"]].concat()).await;
    assert!(revoked.code == 0 && revoked.stdout.starts_with("rev_"), "{revoked:?}");
    let id = revoked.stdout.split(' ').next().unwrap();
    let listed = token(&["revoked", "--json"]).await;
    let rows: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!((&rows[0]["id"], &rows[0]["subject"]), (&id.into(), &"repo:acme/shop".into()));
    assert_eq!(rows[0]["reason"], "stolen");
    assert_eq!(token(&["restore", id]).await.code, 0);
    assert_eq!(token(&["restore", id]).await.code, 2);
    assert!(token(&["revoked"]).await.stdout.starts_with("none"));
    for wrong in [
        &["revoke"][..],
        &["revoke", "tok_x", "--issuer", "https://issuer.example", "--subject", "x"],
        &["revoke", "--issuer", "https://issuer.example"],
        &["revoke", "--subject", "x"],
        &["revoke", "tok_x", "--reason", "y"],
        &["revoke", "--issuer", "http://issuer.example", "--subject", "x"],
        &["revoke", "--issuer", "https://issuer.example", "--subject", "a\nb"],
    ] {
        assert_eq!(token(wrong).await.code, 2, "{wrong:?}");
    }
}
