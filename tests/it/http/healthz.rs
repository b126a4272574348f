use super::{Api, unreachable_db};

#[tokio::test]
async fn healthz__alive_without_database() {
    let api = Api::serve(&unreachable_db()).await;
    let answer = api.get("/healthz").await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("ok")));
}
