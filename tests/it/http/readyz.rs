use sqlx::Executor;

use super::{Api, unreachable_db};
use crate::support::db::TestDb;

#[tokio::test]
async fn readyz__ready_with_migrated_database() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    assert_eq!(api.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn readyz__missing_part_named() {
    let api = Api::serve(&unreachable_db()).await;
    let answer = api.get("/readyz").await;
    assert!(answer.problem(503, "NOT_READY")["detail"].as_str().unwrap().contains("database does not answer"));
    assert!(!answer.header("retry-after").is_empty());

    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    db.psql().await.execute("DELETE FROM _sqlx_migrations").await.unwrap();
    let answer = api.get("/readyz").await;
    assert!(answer.problem(503, "NOT_READY")["detail"].as_str().unwrap().contains("panda migrate"));
}
