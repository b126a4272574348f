//! Cleanup on a replica's own machine.

use std::fs;

use panda::clients::docker::Docker;
use panda::domain::maintenance::RetentionKind;
use panda::steps::DEPLOYMENT_LABEL;
use serde_json::json;
use tempfile::tempdir;

use super::{Keeper, age};
use crate::clients::docker::{build, context, engine, name};
use crate::http::{Api, Fixture};
use crate::support::db::TestDb;
use crate::support::wait_for;

#[tokio::test]
async fn local_cleanup__unused_sources_removed() {
    let db = TestDb::new().await;
    let (building, mut ended) = (Fixture::begin(&db.db).await, Fixture::begin(&db.db).await);
    ended.fail().await;
    sqlx::query("UPDATE deployments SET step = 'build_image' WHERE id = $1")
        .bind(building.id())
        .execute(&mut db.psql().await)
        .await
        .unwrap();
    let folder = tempdir().unwrap();
    for name in [building.id(), ended.id(), "dep_of_nobody", "other"] {
        fs::create_dir_all(folder.path().join(name).join("src")).unwrap();
    }
    let nowhere = Docker::connect(Some("unix:///nonexistent")).unwrap();
    let keeper = Keeper::at(&db.db, RetentionKind::Workspaces, "", "here/1", folder.path(), nowhere);
    let run = keeper.tick(1).await;
    assert_eq!((run.state.as_str(), run.removed, run.place.as_str()), ("done", 2, "here/1"));
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [building.id(), "other"]);
}

#[tokio::test]
async fn local_cleanup__old_images_removed_from_engine() {
    let db = TestDb::new().await;
    let (mut old, mut young) = (Fixture::begin(&db.db).await, Fixture::begin(&db.db).await);
    old.fail().await;
    young.fail().await;
    age(&db, old.id(), 8).await;
    let mut images = Vec::new();
    for id in [old.id(), young.id(), "dep_of_another_installation"] {
        let (folder, tag) = (context(&[("Dockerfile", "FROM busybox:1\nCOPY Dockerfile /\n"), ("id", id)]), name());
        build(folder.path(), &tag, &[(DEPLOYMENT_LABEL, id)]).await.0.unwrap();
        images.push(tag);
    }
    let keeper = Keeper::at(&db.db, RetentionKind::Images, "7d", "here/1", "/nonexistent".as_ref(), engine());
    let run = keeper.tick(1).await;
    assert_eq!((run.state.as_str(), run.removed, run.error), ("done", 1, None));
    let mut there = Vec::new();
    for image in &images {
        there.push(engine().find_image(image).await.unwrap().is_some());
    }
    assert_eq!(there, [false, true, true]);
    for image in &images[1..] {
        engine().remove_image(image).await.unwrap();
    }
}

#[tokio::test]
async fn local_cleanup__unreachable_engine_recorded() {
    let db = TestDb::new().await;
    let nowhere = Docker::connect(Some("unix:///nonexistent")).unwrap();
    let keeper = Keeper::at(&db.db, RetentionKind::Images, "7d", "here/1", "/nonexistent".as_ref(), nowhere);
    let run = keeper.tick(1).await;
    assert_eq!((run.state.as_str(), run.removed), ("failed", 0));
    assert!(run.error.unwrap().contains("no Docker engine"), "{:?}", keeper.runs().await);
    let text = keeper.metrics.text();
    assert!(text.contains("panda_maintenance_runs_total{kind=\"images\",end=\"failed\"} 1"), "{text}");
}

#[tokio::test]
async fn local_cleanup__requested_from_every_live_replica() {
    let db = TestDb::new().await;
    for name in ["a/1", "b/2", "dead/3"] {
        db.db
            .register_replica(uuid::Uuid::new_v4(), uuid::Uuid::now_v7(), name, std::time::Duration::from_mins(5))
            .await
            .unwrap();
    }
    sqlx::query("UPDATE replicas SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE name = 'dead/3'")
        .execute(&mut db.psql().await)
        .await
        .unwrap();
    let api = Api::serve(&db.db).await;
    let asked = api.post("/api/v1/maintenance/runs", &json!({"kind": "workspaces"})).await;
    assert_eq!(asked.data("보존 작업이 요청되었습니다.")["runs"].as_array().unwrap().len(), 2);
    let folder = tempdir().unwrap();
    let nowhere = || Docker::connect(Some("unix:///nonexistent")).unwrap();
    let keeper = Keeper::asked(&db.db, RetentionKind::Workspaces, "", "a/1", folder.path(), nowhere());
    let running = tokio::spawn(keeper.maintenance.clone().run(api.shutdown.clone()));
    wait_for("replica a's run ended", async || {
        keeper.runs().await.iter().any(|run| run.place == "a/1" && run.state == "done")
    })
    .await;
    assert!(keeper.runs().await.iter().any(|run| run.place == "b/2" && run.state == "requested"), "b has its own");
    // Replica b ended before it began the run.
    sqlx::query("UPDATE replicas SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE name = 'b/2'")
        .execute(&mut db.psql().await)
        .await
        .unwrap();
    sqlx::query("UPDATE maintenance_runs SET requested_at = requested_at - interval '3 minutes' WHERE place = 'b/2'")
        .execute(&mut db.psql().await)
        .await
        .unwrap();
    assert!(!db.db.expire_maintenance_runs().await.unwrap(), "no run is pending");
    let given_up = keeper.runs().await.into_iter().find(|run| run.place == "b/2").unwrap();
    assert_eq!((given_up.state.as_str(), given_up.error.as_deref()), ("interrupted", Some("its replica is gone")));
    api.shutdown.cancel();
    running.await.unwrap();
}
