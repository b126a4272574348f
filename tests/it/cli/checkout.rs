//! Commands in a checkout, ids by their beginning, and what is generated from the command line itself.

use panda_testing::Program as _;
use pretty_assertions::assert_eq;
use serde_json::Value;

use super::{panda, run};
use crate::http::external_services::{self, TOKEN};
use crate::http::{Api, ExternalServices, fixture};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

fn git(folder: &std::path::Path, args: &[&str]) {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    let status = std::process::Command::new("git").current_dir(folder).args(identity).args(args).output().unwrap();
    assert!(status.status.success(), "{args:?}: {status:?}");
}

fn checkout(repository: &str, branch: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q"]);
    git(folder.path(), &["remote", "add", "origin", &format!("git@github.com:{repository}.git")]);
    git(folder.path(), &["checkout", "-q", "-b", branch]);
    git(folder.path(), &["commit", "-q", "--allow-empty", "-m", "x"]);
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    folder
}

#[tokio::test]
async fn cli_checkout__repository_and_branch_known() {
    let db = TestDb::new().await;
    let server = Panda::builder().on(&db).flags(&["--max-deployments=1"]).process().ready().await;
    fixture::github_connection(&db.db, "acme", "shop").await;
    fixture::github_connection(&db.db, "acme", "blog").await;
    fixture::aws_connection(&db.db).await;
    let list = async || -> Value {
        let list = run(&mut panda(&["list", "--json", "--server", &server.url])).await;
        serde_json::from_str(&list.stdout).unwrap()
    };

    let shop = checkout("acme/shop", "feature/x");
    let mut command = panda(&["deploy", "--server", &server.url]);
    let started = run(command.current_dir(shop.path().join("sub"))).await;
    assert_eq!(started.code, 0, "{started:?}");
    assert!(started.stderr.contains("acme/shop") && started.stderr.contains("feature/x"), "{started:?}");
    let id = started.stdout.trim().to_owned();
    assert!(id.starts_with("dep_") && !id.contains('\n'), "scripts use the output unchanged: {started:?}");
    let newest = list().await["deployments"][0].clone();
    assert_eq!((&newest["repo"], &newest["branch"]), (&"shop".into(), &"feature/x".into()));

    let other = checkout("acme/api", "main");
    let refused = run(panda(&["deploy", "--server", &server.url]).current_dir(other.path())).await;
    assert!(refused.code == 2 && refused.stderr.contains("acme/api"), "{refused:?}");
    let named = ["deploy", "--repo", "blog", "--server", &server.url];
    let named = run(panda(&named).current_dir(other.path())).await;
    assert_eq!(named.code, 0, "{named:?}");
    assert_eq!(list().await["deployments"][0]["repo"], "blog");

    // The beginning of an id.
    for part in [&id[..12], &id[4..14], &id] {
        let result = run(&mut panda(&["result", part, "--json", "--server", &server.url])).await;
        let result: Value = serde_json::from_str(&result.stdout).unwrap();
        assert_eq!(result["deploymentId"], id.as_str());
    }
    let ambiguous = run(&mut panda(&["result", "dep_nope", "--server", &server.url])).await;
    assert!(ambiguous.code == 4 && ambiguous.stderr.contains("dep_nope"), "{ambiguous:?}");
    crate::schedules::end_all(&db).await;
}

#[tokio::test]
async fn cli_init__connects_from_flags() {
    let (github, _root) = external_services::github().await;
    let sandbox = external_services::sandbox().await;
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github).with_aws(&sandbox), &[]).await;
    let url = format!("http://{}", api.address);
    let shop = checkout("acme/shop", "main");
    let keys = sandbox.user_credentials();
    let init = async |more: &[&str]| {
        let mut command = panda(&["init", "--no-deploy", "--server", &url]);
        command.args(more).current_dir(shop.path()).env("PANDA_GITHUB_TOKEN", TOKEN);
        command.env("AWS_SECRET_ACCESS_KEY", secrecy::ExposeSecret::expose_secret(&keys.secret_access_key));
        run(&mut command).await
    };
    let missing = init(&[]).await;
    assert!(missing.code == 2 && missing.stderr.contains("--region"), "{missing:?}");
    let flags = ["--region", sandbox.region(), "--access-key-id", &keys.access_key_id];
    let made = init(&flags).await;
    assert_eq!(made.code, 0, "{made:?}");
    assert!(
        made.stdout.contains("deploy --github gh_") && made.stdout.contains(&format!("--server {url}")),
        "{made:?}"
    );
    let again = init(&["--json"]).await;
    assert_eq!(again.code, 0, "the connections exist: {again:?}");
    let ids: Value = serde_json::from_str(&again.stdout).unwrap();
    assert!(made.stdout.contains(ids["githubConnectionId"].as_str().unwrap()), "{made:?} {ids}");
}

#[tokio::test]
async fn cli_generated__completion_and_man_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&mut panda(&["completion", shell])).await;
        assert_eq!(script.code, 0, "{script:?}");
        for command in ["deploy", "schedule", "init"] {
            assert!(script.stdout.contains(command), "{shell}: {command}");
        }
        if ["bash", "zsh"].contains(&shell) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &script.stdout).unwrap();
            let Ok(checked) = std::process::Command::new(shell).arg("-n").arg(file.path()).output() else { continue };
            assert!(checked.status.success(), "{shell}: {checked:?}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let written = run(panda(&["man", "--dir"]).arg(folder.path())).await;
    assert_eq!(written.code, 0, "{written:?}");
    for page in ["panda.1", "panda-deploy.1", "panda-schedule-create.1"] {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap_or_else(|_| panic!("{page}"));
        assert!(text.contains(".TH"), "{page}");
    }
    assert!(!folder.path().join("panda-fetch-source.1").exists(), "hidden commands have no page");
    let main = run(&mut panda(&["man"])).await;
    assert!(main.code == 0 && main.stdout.contains(".TH"), "{main:?}");
    assert!(Panda::path().exists());
}
