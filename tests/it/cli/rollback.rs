//! `panda rollback`, at AWS and as a new deployment.

use panda_sandbox::{Faults, ShiftFault};
use secrecy::ExposeSecret as _;

use super::{panda, run};
use crate::support::environment::{Environment, OWNER, TOKEN, hello};
use crate::support::panda::Panda;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_rollback__returns_at_aws_then_as_a_deployment() {
    let env = Environment::with_files(hello("1.0.0")).await;
    let flags = ["--migrate=true", "--watch-interval-ms=300"];
    let server = Panda::builder().environment(&env).flags(&flags).server().await;
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
    let release = async || {
        let started = command(&["deploy"]).await;
        assert_eq!(started.code, 0, "{started:?}");
        let id = started.stdout.trim().to_owned();
        assert_eq!(command(&["watch", &id]).await.code, 0);
        assert_eq!(command(&["switch", &id, "--wait"]).await.code, 0);
        id
    };
    let good = release().await;
    let watched = async |id: &str| env.db.db.deployment(id).await.unwrap().unwrap().watched;
    wait_for("blue is gone", async || !watched(&good).await).await;
    // While blue lives, AWS takes the traffic back.
    let shifts = [("*".to_owned(), ShiftFault::HoldBlue)].into();
    env.sandbox.faults().set(Faults { shifts, ..Faults::default() });
    let bad = release().await;
    let back = command(&["rollback", &bad, "--wait", "--reason", "answers 500"]).await;
    assert_eq!(back.code, 0, "{back:?}");
    assert!(back.stdout.contains("Rolled back: the traffic is on the earlier version again"), "{back:?}");
    assert!(!back.stdout.contains("[Step 1]"), "what was seen before is not shown again: {}", back.stdout);
    // Afterwards a new deployment brings the image.
    env.sandbox.faults().clear();
    let bad = release().await;
    wait_for("blue is gone", async || !watched(&bad).await).await;
    let plain = command(&["rollback", &bad, "--to", &good, "--switch"]).await;
    assert!(plain.code == 0 && plain.stdout.contains("COMPLETED"), "{plain:?}");
    assert!(!plain.stdout.contains("[Stage 1]"), "nothing is cloned or built: {}", plain.stdout);
    let stale = command(&["rollback", &bad]).await;
    assert!(stale.code == 4 && stale.stderr.contains("ROLLBACK_NOT_LIVE"), "{stale:?}");
    assert!(stale.stderr.contains("panda rollback dep_") && stale.stderr.contains("--to"), "{stale:?}");
    let marked = command(&["outcome", &bad, "failed", "--reason", "answers 500", "--json"]).await;
    assert!(marked.code == 0 && marked.stdout.contains(r#""outcome":"failed""#), "{marked:?}");
    // Servers may run meanwhile.
    let rebuilt =
        run(&mut panda(&["migrate", "--rebuild-reports", "--json", "--database-url", env.db.owner_url().as_str()]))
            .await;
    assert!(rebuilt.code == 0 && rebuilt.stdout.contains(r#""reportsRebuilt":4"#), "{rebuilt:?}");
    server.stop().await;
}
