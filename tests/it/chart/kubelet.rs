//! Runs the chart's pods in containers according to their manifests, as the kubelet would, as far as an engine can.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use panda::domain::schema::Fit;
use panda_dev_services::Engine;
use serde_json::{Value, json};
use sqlx::Executor as _;

use super::{chart, container, documents, only, pod_of, render3};
use crate::dev_services::forget_image;
use crate::support::container::build;
use crate::support::db::{KEY_FILE, TestDb};
use crate::support::panda::Panda;
use crate::support::process::free_address;
use panda_testing::Program as _;
use panda_testing::kubelet::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubelet__job_migrates_and_server_becomes_ready() {
    let parts = tempfile::tempdir().unwrap();
    let engine = Engine::find_or_start(&parts.path().join("docker")).await.unwrap();
    engine.ensure_base_image("busybox:1").await.unwrap();
    let image = build(&engine, &Panda::path()).await;
    let db = TestDb::new().await.into_owners();
    let mut psql = db.psql().await;
    psql.execute("DROP SCHEMA public, panda_report CASCADE").await.unwrap();
    psql.execute("CREATE SCHEMA public").await.unwrap();

    let port = free_address().port();
    let values = json!({
        "database": {"url": db.url()},
        "keys": {"value": std::fs::read_to_string(KEY_FILE).unwrap()},
        "auth": {"adminToken": {"value": "only-the-tests-know-this-token-of-theirs"}},
        "builder": {"mode": "none"},
        "config": {"controllerRegion": "ap-northeast-2", "maxBuilds": 3},
        "containerPort": port, "bindAddress": "127.0.0.1", "service": {"port": port},
    });
    let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let file = parts.path().join("values.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    let cluster = Cluster { objects: documents(&[render3(&chart(), &file, &[])]).remove(0), folder };
    let pod = |kind: &str| pod_of(only(&cluster.objects, kind)).unwrap();

    let job = cluster.start(&engine, &image, pod("Job"), "migrate").await;
    assert_eq!(job.end().await, 0, "{}", job.log().await);
    assert_eq!(db.db.schema().await.unwrap(), Fit::Fits { newer: None });
    job.remove().await;

    let deployment = pod("Deployment");
    let server = cluster.start(&engine, &image, deployment, "panda").await;
    let spec = container(deployment, "panda");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = spec[probe]["httpGet"]["path"].as_str().unwrap();
        server.answers(&format!("http://127.0.0.1:{port}{path}")).await;
    }
    let unknown = reqwest::get(format!("http://127.0.0.1:{port}/api/v1/deploy")).await.unwrap();
    assert_eq!(unknown.status(), 401, "a request without a token is refused");

    let test = cluster.start(&engine, &image, pod("Pod"), "list").await;
    assert_eq!(test.end().await, 0, "{}", test.log().await);
    test.remove().await;
    let log = server.log().await;
    let lines: BTreeMap<usize, Result<Value, _>> = log.lines().map(serde_json::from_str).enumerate().collect();
    assert!(!lines.is_empty() && lines.values().all(Result::is_ok), "the log is JSON: {log}");
    assert_eq!(server.stop().await, (Some(0), Some(false)), "{}", server.log().await);
    server.remove().await;
    forget_image(&engine, &image).await;
}
