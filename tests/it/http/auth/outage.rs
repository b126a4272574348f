//! While the database is unavailable no caller can be identified: 503, and never on a stream.

use panda::domain::principal::Role;

use super::{Token, serve};
use crate::http::Fixture;
use crate::support::db::{TestDb, through};
use crate::support::postgres_proxy::PostgresProxy;
use crate::support::wait_for;

#[tokio::test]
async fn auth_outage__stream_pending_until_reader_verified() {
    let db = TestDb::new().await;
    let token = Token::of(&db.db, Role::Viewer).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let proxy = PostgresProxy::before(&db, false).await;
    for path in [format!("/api/v1/deploy/{}/events", fixture.id()), "/api/v1/events".to_owned()] {
        proxy.set(false);
        // This server has not seen the token yet.
        let api = serve(&through(&proxy, &db)).await;
        token.get(&api, "/api/v1/deploy").await.problem(503, "DATABASE_UNAVAILABLE");
        let mut held = token.follow(&api, &path).await;
        assert_eq!(held.status, 200);
        assert!(held.comment().await.contains("the database is unavailable"));
        // The stream sends nothing to an unidentified caller; once the database is back, the token is checked.
        proxy.set(true);
        assert_eq!(held.next().await, None);
        wait_for("the token is accepted", async || token.get(&api, "/api/v1/deploy").await.status == 200).await;
        assert_eq!(token.follow(&api, &path).await.status, 200);
        let anonymous = api.get(&path).await;
        anonymous.problem(401, "NOT_SIGNED_IN");
    }
}
