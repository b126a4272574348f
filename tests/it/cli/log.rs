//! `panda log` against a server.

use serde_json::Value;

use super::{panda, run};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

#[tokio::test]
async fn cli_log__shown_set_and_reset() {
    let db = TestDb::new().await;
    let server = Panda::builder().on(&db).process().ready().await;
    let panda = async |args: &[&str]| run(panda(args).env("PANDA_SERVER", &server.url)).await;
    let shown = panda(&["log"]).await;
    assert!(shown.code == 0 && shown.stdout.contains("info"), "{shown:?}");

    let set = panda(&["log", "set", "info,panda::reconcile=debug", "--for", "2h", "--json"]).await;
    assert_eq!(set.code, 0, "{set:?}");
    let data: Value = serde_json::from_str(&set.stdout).unwrap();
    assert_eq!(data["filter"], "info,panda::reconcile=debug");
    let lasts: f64 = sqlx::query_scalar("SELECT extract(epoch FROM until - set_at)::float8 FROM log_filter")
        .fetch_one(&mut db.psql().await)
        .await
        .unwrap();
    assert!((lasts - 7_200.0).abs() < f64::EPSILON, "{lasts}");
    let shown = panda(&["log"]).await;
    assert!(shown.stdout.contains("info,panda::reconcile=debug"), "{}", shown.stdout);
    let reset = panda(&["log", "reset"]).await;
    assert!(reset.code == 0 && !reset.stdout.contains("panda::reconcile"), "{reset:?}");

    for (args, word) in [
        (["log", "set", "off", "--for", "1m"], "begin with a level for all"),
        (["log", "set", "info", "--for", "15"], "such as 90s, 15m or 2h"),
        (["log", "set", "panda=loud", "--for", "1m"], "target=level"),
    ] {
        let wrong = panda(&args).await;
        assert!(wrong.code == 2 && wrong.stderr.contains(word), "{wrong:?}");
    }
}
