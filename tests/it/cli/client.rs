//! Commands against a server: their output, and the exit code that scripts rely on.

use pretty_assertions::assert_eq;

use super::{panda, run};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

#[tokio::test]
async fn cli__empty_list_explains_first_step() {
    let db = TestDb::new().await;
    let server = Panda::builder().on(&db).process().ready().await;
    let list = run(&mut panda(&["list", "--server", &server.url])).await;
    assert_eq!((list.code, list.stdout.as_str()), (0, "no deployments\n"), "{list:?}");
    let connections = run(&mut panda(&["connections", "--server", &server.url])).await;
    assert_eq!(connections.code, 0);
    assert!(connections.stdout.contains("panda connect github --help"), "{connections:?}");
    let deploy = run(&mut panda(&["deploy", "--server", &server.url])).await;
    assert_eq!(deploy.code, 2);
    assert!(deploy.stderr.contains("panda connect github"), "{deploy:?}");
}

#[tokio::test]
async fn cli__exit_codes_separate_input_refusal_and_no_answer() {
    let db = TestDb::new().await;
    let mut server = Panda::builder().on(&db).process().ready().await;
    let unknown = run(&mut panda(&["result", "dep_nope", "--server", &server.url])).await;
    assert_eq!(unknown.code, 4);
    assert!(unknown.stderr.contains("panda list lists the existing ones. (DEPLOYMENT_NOT_FOUND)"), "{unknown:?}");
    let bad = run(&mut panda(&["list", "--owner", "a/b", "--server", &server.url])).await;
    assert_eq!(bad.code, 2);
    assert!(bad.stderr.starts_with("panda: owner: "), "{bad:?}");
    server.kill().await;
    let away = run(&mut panda(&["list", "--server", &server.url])).await;
    assert_eq!(away.code, 3);
    assert!(away.stderr.contains("PANDA_SERVER"), "{away:?}");
}

#[tokio::test]
async fn cli__other_server_recognised() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = axum::Router::new().fallback(async || "<html>another service</html>");
    tokio::spawn(async move { axum::serve(listener, other).await.unwrap() });
    for args in [["list", "--json"], ["watch", "dep_1"]] {
        let ended = run(panda(&args).args(["--server", &url])).await;
        assert_eq!(ended.code, 5, "{ended:?}");
        assert!(ended.stderr.contains("does not answer as Panda does"), "{ended:?}");
    }
}

#[tokio::test]
async fn cli__secret_as_argument_refused() {
    let github = ["connect", "github", "--owner", "acme", "--repo", "shop"];
    let ended = run(panda(&github).args(["--token", "ghp_x"])).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let ended = run(&mut panda(&github)).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("PANDA_GITHUB_TOKEN"), "{ended:?}");
}

#[tokio::test]
async fn cli__help_starts_with_examples() {
    let help = run(&mut panda(&["--help"])).await;
    assert_eq!(help.code, 0);
    for part in ["panda demo", "panda up", "Exit codes", "PANDA_SERVER"] {
        assert!(help.stdout.contains(part), "{part} is missing:\n{}", help.stdout);
    }
}

#[tokio::test]
async fn dev_services__provide_database_and_pass_exit_code() {
    let script = r#"[ -n "$DATABASE_URL" ] && [ -n "$DOCKER_HOST" ] && exit 7"#;
    let ended = run(&mut panda(&["parts", "--", "sh", "-c", script])).await;
    assert_eq!(ended.code, 7, "{ended:?}");
}

#[tokio::test]
async fn cli__server_without_key_refused_with_remedy() {
    let db = TestDb::new().await;
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", db.url()];
    let refused = run(&mut panda(&serve)).await;
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("panda keys generate") && refused.stderr.contains("PANDA_KEY_FILE"), "{refused:?}");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let file = file.to_str().unwrap();
    let made = run(&mut panda(&["keys", "generate", "--file", file])).await;
    assert_eq!(made.code, 0, "{made:?}");
    let key = std::fs::read_to_string(file).unwrap();
    let secret = key.trim().split_once(':').unwrap().1;
    assert!(!made.stdout.contains(secret), "the key is only in the file");
    let permissions = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(file).unwrap());
    assert_eq!(permissions & 0o777, 0o600);
    let again = run(&mut panda(&["keys", "generate", "--file", file])).await;
    assert_eq!(again.code, 2, "an existing key is never overwritten: {again:?}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), key);

    let rotated = run(&mut panda(&["keys", "rotate", "--database-url", db.url(), "--key-file", file])).await;
    assert_eq!(rotated.code, 0, "{rotated:?}");
    assert!(rotated.stdout.contains("0 rewrapped"), "{rotated:?}");
    std::fs::write(file, format!("{key}x:{secret}y\n")).unwrap();
    let wrong = run(panda(&serve).args(["--key-file", file])).await;
    assert_ne!(wrong.code, 0);
    assert!(wrong.stderr.contains("line 2") && !wrong.stderr.contains(secret), "{wrong:?}");
}
