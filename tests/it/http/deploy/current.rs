use serde_json::json;

use crate::http::{Api, Fixture};
use crate::support::commands::Commands;
use crate::support::db::TestDb;

const PATH: &str = "/api/v1/deploy/current";
const MESSAGE: &str = "현재 배포 조회 성공";

#[tokio::test]
async fn current__newest_unfinished_deployment() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    api.get(PATH).await.problem(404, "NO_CURRENT_DEPLOYMENT");
    let mut older = Fixture::begin(&db.db).await;
    let mut newer = Fixture::begin_of(&db.db, "acme", "site").await;
    let current = async || api.get(PATH).await.data(MESSAGE);
    assert_eq!(current().await, json!({"deploymentId": newer.id(), "isActive": true}));
    newer.fail().await;
    assert_eq!(current().await, json!({"deploymentId": older.id(), "isActive": true}));
    older.ready().await;
    assert_eq!(current().await["deploymentId"], older.id(), "a deployment awaiting approval is not finished");
    db.db.request_switch(older.id()).await.unwrap();
    older.claim_again().await;
    older.complete().await;
    api.get(PATH).await.problem(404, "NO_CURRENT_DEPLOYMENT");
}
