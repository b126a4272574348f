//! `panda check`, and the check of `panda init`.

use std::time::{Duration, Instant};

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::{Ended, panda, run};
use crate::http::connect::check::Checks;

/// The command's own limit, with the start of a debug build.
const LIMIT: Duration = Duration::from_secs(5);

async fn check(server: &str, more: &[&str]) -> Ended {
    let begun = Instant::now();
    let args = [&["check", "--repo", "shop", "--server", server], more].concat();
    let ended = run(&mut panda(&args)).await;
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    ended
}

#[tokio::test]
async fn cli_check__exit_code_is_the_verdict() {
    let env = Checks::start().await;
    let url = format!("http://{}", env.api.address);
    let ready = check(&url, &["--lang", "en"]).await;
    assert_eq!(ready.code, 0, "{ready:?}");
    for text in ["would be created", "acme-shop", "a deployment creates it", "event-bus/panda", "present: "] {
        assert!(ready.stdout.contains(text), "{text}: {}", ready.stdout);
    }

    env.deny(&["ecr:PutImage"]);
    let missing = check(&url, &["--lang", "en"]).await;
    assert_eq!(missing.code, 6, "{missing:?}");
    assert!(missing.stdout.contains("Add ecr:PutImage to the policy"), "{}", missing.stdout);
    let korean = check(&url, &["--lang", "ko"]).await;
    assert!(korean.code == 6 && korean.stdout.contains("정책에 ecr:PutImage을(를) 추가하세요"), "{}", korean.stdout);
    let json = check(&url, &["--json"]).await;
    let data: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &data["state"], &data["counts"]["missing"]), (6, &"missing".into(), &1.into()));

    env.deny(&["iam:SimulatePrincipalPolicy"]);
    let unknown = check(&url, &["--lang", "en"]).await;
    assert_eq!(unknown.code, 7, "{unknown:?}");
    assert!(unknown.stdout.contains("iam-policy user --preflight"), "{}", unknown.stdout);
}

#[tokio::test]
async fn cli_init__starts_nothing_while_something_is_missing() {
    let env = Checks::start().await;
    env.deny(&["ecr:PutImage"]);
    let url = format!("http://{}", env.api.address);
    let init = async |more: &[&str]| {
        let args = [&["--lang", "en", "init", "--owner", "acme", "--repo", "shop", "--server", &url], more].concat();
        run(&mut panda(&args)).await
    };
    let refused = init(&["--yes"]).await;
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.stderr.contains("ecr:PutImage") && !refused.stderr.contains("acme-shop"), "{refused:?}");
    let connected = init(&["--no-deploy"]).await;
    assert!(connected.code == 0 && connected.stderr.contains("ecr:PutImage"), "{connected:?}");
    assert_eq!(crate::http::count(&env.db, "deployments").await, 0);
    assert!(!env.sandbox.all_effects().calls.contains_key("iam:CreateRole"), "the server has a role");
}

/// The role of the rules is created where there is none, and only then.
#[tokio::test]
async fn cli_init__creates_role_once() {
    let env = Checks::start().await;
    let api = env.other(|there| there.preflight.rule_target_role_arn = None).await;
    env.deny(&["ecr:PutImage"]);
    let url = format!("http://{}", api.address);
    for _ in 0..2 {
        let args = ["--lang", "en", "init", "--owner", "acme", "--repo", "shop", "--yes", "--server", &url];
        let refused = run(&mut panda(&args)).await;
        assert!(refused.code == 6 && !refused.stderr.contains("create-role"), "{refused:?}");
        assert_eq!(env.sandbox.all_effects().calls["iam:CreateRole"].succeeded, 1);
    }
}
