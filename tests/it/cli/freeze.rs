//! `panda freeze`, and what it holds.

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::{panda, run};
use crate::http::{Fixture, fixture};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

#[tokio::test]
async fn cli_freeze__created_listed_overridden_and_lifted() {
    let db = TestDb::new().await;
    let mut ready = Fixture::begin_of(&db.db, "acme", "other").await;
    ready.ready().await;
    fixture::github_connection(&db.db, "acme", "shop").await;
    let server = Panda::builder().on(&db).process().ready().await;
    let command = async |args: &[&str]| run(panda(args).args(["--lang", "en", "--server", &server.url])).await;
    let none = command(&["freeze", "list"]).await;
    assert!(none.code == 0 && none.stdout.contains("no freezes"), "{none:?}");
    let made = command(&["freeze", "create", "owner:Acme", "--until", "2d", "--reason", "Stocktaking", "--json"]).await;
    assert_eq!(made.code, 0, "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let id = made["freezeId"].as_str().unwrap();
    let listed = command(&["freeze", "list", "--pending"]).await;
    assert!(
        listed.stdout.contains(id) && listed.stdout.contains("owner:acme") && listed.stdout.contains("in_force"),
        "{listed:?}"
    );

    let held = command(&["deploy", "--owner", "acme", "--repo", "shop"]).await;
    assert!(
        held.code == 0 && held.stderr.contains("A freeze holds the start until") && held.stderr.contains("Stocktaking"),
        "{held:?}"
    );
    let deployment = held.stdout.trim();
    let result = command(&["result", deployment]).await;
    assert!(result.stdout.contains(id) && result.stdout.contains("Stocktaking"), "{result:?}");
    let refused = command(&["switch", ready.id()]).await;
    assert!(refused.code == 4 && refused.stderr.contains("SWITCH_FROZEN"), "{refused:?}");
    for part in ["repeat the command with --override-freeze REASON", &format!("panda freeze lift {id}")] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    let other = command(&["switch", ready.id(), "--pause", "hook:1", "--override-freeze", "checkout is down"]).await;
    assert!(other.code == 4 && other.stderr.contains("PAUSE_CHANGED"), "{other:?}");
    let overridden = command(&["switch", ready.id(), "--override-freeze", "checkout is down"]).await;
    assert_eq!(overridden.code, 0, "{overridden:?}");
    let passes = [
        "deploy",
        "--owner",
        "acme",
        "--repo",
        "shop",
        "--concurrency",
        "queue",
        "--override-freeze",
        "urgent",
        "--json",
    ];
    let passes = command(&passes).await;
    assert!(passes.code == 0 && !passes.stdout.contains("heldBy"), "{passes:?}");

    for (args, part) in [
        (["freeze", "create", "team:acme", "--until", "2d", "--reason", "x"], "repository:OWNER/NAME"),
        (["freeze", "create", "all", "--until", "2001-01-01T00:00:00Z", "--reason", "x"], "in the past"),
        (["freeze", "create", "all", "--until", "soon", "--reason", "x"], "a duration such as"),
        (["freeze", "create", "all", "--until", "2d", "--holds", "all"], "starts, switches or both"),
        (["freeze", "create", "all", "--until", "2d", "--reason", ""], "--reason"),
        (["freeze", "create", "region:mars", "--until", "2d", "--reason", "x"], "AWS region"),
    ] {
        let wrong = command(&args).await;
        assert!(wrong.code == 2 && wrong.stderr.contains(part), "{wrong:?}");
    }
    let ends_first = command(&["freeze", "create", "all", "--from", "3d", "--until", "2d", "--reason", "x"]).await;
    assert!(ends_first.code == 2 && ends_first.stderr.contains("--until"), "{ends_first:?}");
    assert!(ends_first.stderr.contains("later than --from"), "{ends_first:?}");
    let unknown = command(&["freeze", "lift", "frz_nothing"]).await;
    assert!(unknown.code != 0 && unknown.stderr.contains("frz_nothing"), "{unknown:?}");
    let far = command(&["freeze", "create", "all", "--until", "400d", "--reason", "x"]).await;
    assert!(far.code == 2 && far.stderr.contains("--until") && far.stderr.contains("366"), "{far:?}");
    let gone = command(&["freeze", "lift", &id[..10]]).await;
    assert!(gone.code == 0 && gone.stdout.contains("lifted"), "{gone:?}");
}
