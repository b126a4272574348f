//! `packaging/ecs/task-definition.json`: valid for ECS and Fargate, and its containers run as it describes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use panda_dev_services::Engine;
use panda_testing::ecs::{Task, container, each};
use panda_testing::moto::server::python;
use panda_testing::process::free_address;
use panda_testing::{KEY_FILE, Program as _, root, text};
use serde_json::{Value, json};

use super::systemd::serves;
use super::{known, succeeds, version};
use crate::dev_services::forget_image;
use crate::support::authority::Authority;
use crate::support::container::build;
use crate::support::db::TestDb;
use crate::support::panda::Panda;

const FILE: &str = "packaging/ecs/task-definition.json";
const TOKEN: &str = "only-the-tests-know-this-token-of-theirs";

fn task() -> Value {
    serde_json::from_str(&text(FILE)).unwrap()
}

#[test]
fn ecs_task__valid_for_fargate() {
    succeeds(
        Command::new(python()).arg("-B").arg(root().join("tests/it/release/task_definition.py")).arg(root().join(FILE)),
    );
    let task = task();
    assert_eq!((&task["requiresCompatibilities"], &task["networkMode"]), (&json!(["FARGATE"]), &json!("awsvpc")));
    // Fargate's sizes: 1 vCPU with 2 to 8 GiB, in steps of 1.
    assert_eq!((&task["cpu"], &task["memory"]), (&json!("1024"), &json!("2048")));
    let (files, panda) = (container(&task, "files"), container(&task, "panda"));
    assert!(files["image"].as_str().unwrap().contains("@sha256:"), "foreign images are named by digest");
    assert_eq!(panda["image"], format!("ghcr.io/panda-deploy/panda:{}", version()));
    known(FILE, each(&panda["environment"], "name").into_iter().chain(each(&panda["secrets"], "name")));
    // Fargate refuses host paths, privileged containers, and a longer stop.
    assert!(task["volumes"].as_array().unwrap().iter().all(|volume| volume["host"].is_null()));
    assert!(panda["privileged"].is_null() && panda["stopTimeout"].as_u64().unwrap() <= 120);
    let stop = panda["stopTimeout"].as_u64().unwrap() * 1000;
    let drain =
        panda["environment"].as_array().unwrap().iter().find(|one| one["name"] == "PANDA_BUILD_DRAIN_MS").unwrap();
    assert!(
        drain["value"].as_str().unwrap().parse::<u64>().unwrap() < stop,
        "builds end before the container is killed"
    );
}

#[test]
fn ecs_task__has_no_secret_as_a_plain_value() {
    for one in task()["containerDefinitions"].as_array().unwrap() {
        for secret in one["secrets"].as_array().unwrap() {
            assert!(secret["valueFrom"].as_str().unwrap().starts_with("arn:aws:secretsmanager:"), "{secret}");
        }
        for variable in one["environment"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap();
            assert!(!["DATABASE_URL", "KEYS", "SECRET", "PASSWORD"].iter().any(|word| name.ends_with(word)), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ecs_task__containers_run_and_server_becomes_ready() {
    let parts = tempfile::tempdir().unwrap();
    let engine = Engine::find_or_start(&parts.path().join("docker")).await.unwrap();
    engine.ensure_base_image("busybox:1").await.unwrap();
    let image = build(&engine, &Panda::path()).await;
    let db = TestDb::new().await.into_owners();
    let authority = Authority::new();
    let certificates = authority.folder(&authority);
    let file = |name: &str| std::fs::read_to_string(certificates.path().join(name)).unwrap();
    let secrets = BTreeMap::from([
        ("ADMIN_TOKEN", TOKEN.to_owned()),
        ("BUILDKIT_CA", file("ca.pem")),
        ("BUILDKIT_CERT", file("cert.pem")),
        ("BUILDKIT_KEY", file("key.pem")),
        ("PANDA_DATABASE_URL", db.url().to_owned()),
        ("PANDA_KEYS", std::fs::read_to_string(KEY_FILE).unwrap()),
    ]);
    let task = Task::new(task(), secrets);
    task.run(&engine, "busybox:1", "files").await;
    let files = task.volume("files");
    assert_eq!(std::fs::read_to_string(files.join("buildkit/key.pem")).unwrap(), file("key.pem"));
    assert_eq!(files.join("admin-token").metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let listen = free_address();
    let none = || "none".to_owned();
    let more = [("PANDA_LISTEN", listen.to_string()), ("AWS_ACCESS_KEY_ID", none()), ("AWS_SECRET_ACCESS_KEY", none())];
    let server = task.start(&engine, &image, "panda", &more).await;
    server.answers(&format!("http://{listen}/readyz")).await;
    serves(&format!("http://{listen}"), TOKEN).await;
    assert_eq!(server.stop().await, (Some(0), Some(false)), "{}", server.log().await);
    server.remove().await;
    forget_image(&engine, &image).await;
}
