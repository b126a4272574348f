//! While the database is away nobody can say who is there: 503, and never on a stream.

use panda::domain::principal::Role;

use super::{Token, serve};
use crate::http::Story;
use crate::support::db::TestDb;
use crate::support::gate::Gate;
use crate::support::wait_for;

#[tokio::test]
async fn a_stream_is_held_until_it_can_be_asked_who_reads_it() {
    let db = TestDb::new().await;
    let token = Token::of(&db.db, Role::Viewer).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 1).await;
    let gate = Gate::before(&db, false).await;
    for path in [format!("/api/v1/deploy/{}/events", story.id()), "/api/v1/events".to_owned()] {
        gate.set(false);
        // One that has not seen the token yet.
        let api = serve(&gate.db(&db)).await;
        token.get(&api, "/api/v1/deploy").await.problem(503, "DATABASE_UNAVAILABLE");
        let mut held = token.follow(&api, &path).await;
        assert_eq!(held.status, 200);
        assert!(held.comment().await.contains("the database is away"));
        // Nothing is told to whoever this is; back, they are asked.
        gate.set(true);
        assert_eq!(held.next().await, None);
        wait_for("it is a stream", async || token.get(&api, "/api/v1/deploy").await.status == 200).await;
        assert_eq!(token.follow(&api, &path).await.status, 200);
        let nobody = api.get(&path).await;
        nobody.problem(401, "NOT_SIGNED_IN");
    }
}
