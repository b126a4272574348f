//! `panda channel`, against a server and a stand-in of Slack.

use serde_json::Value;

use super::{panda, run};
use crate::channels::{CHANNEL, Chat, TOKEN, server};
use crate::support::db::TestDb;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_channel__created_tested_changed_and_deleted() {
    let db = TestDb::new().await;
    let chat = Chat::start().await;
    let server = server(&db).ready().await;
    let command = async |args: &[&str]| {
        let mut command = panda(args);
        command.args(["--lang", "en", "--server", &server.url]).env("PANDA_CHANNEL_SECRET", TOKEN);
        run(&mut command).await
    };
    let api = chat.slack_api();
    let made = command(&[
        "channel",
        "create",
        "slack",
        "--slack-channel",
        CHANNEL,
        "--slack-api",
        &api,
        "--approver",
        "alice=U0123456789",
        "--quiet",
        "22:00-08:00",
        "--time-zone",
        "Asia/Seoul",
    ])
    .await;
    assert!(made.code == 0 && made.stdout.contains("U0123456789") && !made.stdout.contains(TOKEN), "{made:?}");
    let listed = command(&["channel", "list"]).await;
    let id = listed.stdout.split_whitespace().find(|word| word.starts_with("chn_")).unwrap();
    let tested = command(&["channel", "test", &id[..10]]).await;
    assert!(tested.stdout.contains("accepted  true") && chat.roots().len() == 1, "{tested:?}");
    let changed = command(&["channel", "change", id, "--no-quiet", "--disable", "--language", "en", "--json"]).await;
    let changed: Value = serde_json::from_str(&changed.stdout).unwrap();
    assert!(changed["quietHours"].is_null() && changed["enabled"] == false && changed["language"] == "en");
    assert_eq!(changed["mentions"]["subjects"]["alice"], "U0123456789", "what is not given stays");
    let wrong = command(&["channel", "change", id, "--slack-channel", "general"]).await;
    assert!(wrong.code != 0 && wrong.stderr.contains("C0123456789"), "{wrong:?}");
    assert_eq!(command(&["channel", "delete", id]).await.code, 0);
    let unknown = command(&["channel", "show", id]).await;
    assert!(unknown.code != 0 && unknown.stderr.contains("CHANNEL_NOT_FOUND"), "{unknown:?}");
}
