use super::{Api, absent_db};

#[tokio::test]
async fn a_process_without_a_database_is_alive() {
    let api = Api::serve(&absent_db()).await;
    let answer = api.get("/healthz").await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("ok")));
}
