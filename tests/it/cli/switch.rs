//! `panda switch` that the listener guard refuses.

use secrecy::ExposeSecret as _;

use super::{panda, run};
use crate::support::environment::{Environment, OWNER, TOKEN, hello};
use crate::support::panda::Panda;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_switch__refused_by_the_listener_guard_then_switched() {
    let env = Environment::with_files(hello("1.0.0")).await;
    let server = Panda::builder().environment(&env).flags(&["--migrate=true"]).server().await;
    let url = server.base.clone();
    let command = async |args: &[&str]| run(panda(args).args(["--lang", "en", "--server", &url])).await;
    wait_for("the server is ready", async || {
        reqwest::get(format!("{url}/readyz")).await.ok()?.status().is_success().then_some(())
    })
    .await;
    let mut github = panda(&["connect", "github", "--owner", OWNER, "--repo", &env.repo, "--server", &url]);
    assert_eq!(run(github.env("PANDA_GITHUB_TOKEN", TOKEN)).await.code, 0);
    let keys = env.sandbox.user_credentials();
    let mut aws = panda(&["connect", "aws", "--region", env.sandbox.region(), "--server", &url]);
    aws.env("AWS_ACCESS_KEY_ID", &keys.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.expose_secret());
    assert_eq!(run(&mut aws).await.code, 0);
    let started = command(&["deploy"]).await;
    let id = started.stdout.trim().to_owned();
    assert_eq!(command(&["watch", &id]).await.code, 0);

    let weights = |blue: u32, green: u32| env.sandbox.set_weights(&env.ecr_repository(), blue, green);
    weights(0, 1);
    let refused = command(&["switch", &id, "--wait"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("The traffic was not switched"), "{refused:?}");
    assert!(refused.stderr.contains("not switched; the events have the cause"), "{refused:?}");
    assert!(refused.stdout.contains("DEPLOYMENT_READY"), "{refused:?}");
    weights(1, 0);
    let switched = command(&["switch", &id, "--wait"]).await;
    assert!(switched.code == 0 && switched.stdout.contains("COMPLETED"), "{switched:?}");
    assert!(!switched.stdout.contains("not switched"), "what was seen before is not shown again: {switched:?}");
}
