use serde_json::json;

use crate::http::{Api, Story};
use crate::support::db::TestDb;
use crate::support::wishes::Wishes;

const PATH: &str = "/api/v1/deploy/current";
const MESSAGE: &str = "현재 배포 조회 성공";

#[tokio::test]
async fn the_newest_unfinished_deployment_is_the_current_one() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    api.get(PATH).await.problem(404, "NO_CURRENT_DEPLOYMENT");
    let mut older = Story::begin(&db.db).await;
    let mut newer = Story::begin_of(&db.db, "acme", "site").await;
    let current = async || api.get(PATH).await.data(MESSAGE);
    assert_eq!(current().await, json!({"deploymentId": newer.id(), "isActive": true}));
    newer.fail().await;
    assert_eq!(current().await, json!({"deploymentId": older.id(), "isActive": true}));
    older.ready().await;
    assert_eq!(current().await["deploymentId"], older.id(), "one that waits for a person is not finished");
    db.db.request_switch(older.id()).await.unwrap();
    older.claim_again().await;
    older.complete().await;
    api.get(PATH).await.problem(404, "NO_CURRENT_DEPLOYMENT");
}
