use serde_json::json;

use super::{Api, fixture};
use crate::support::db::TestDb;

const MESSAGE: &str = "연결 정보를 조회했습니다.";

#[tokio::test]
async fn connections__listed_without_secrets() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    assert_eq!(api.get("/api/v1/connections").await.data(MESSAGE), json!({"github": [], "aws": []}));
    let (github, aws) = fixture::connections(&db.db).await;
    let answer = api.get("/api/v1/connections").await;
    let expected = json!({
        "github": [{"connectionId": github, "owner": "acme", "repo": "shop", "branch": "main"}],
        "aws": [{"connectionId": aws, "region": "ap-northeast-2"}],
    });
    assert_eq!(answer.data(MESSAGE), expected);
    assert!(!answer.text.contains("very_secret"), "{}", answer.text);
}
