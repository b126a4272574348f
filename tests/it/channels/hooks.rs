//! Teams and Discord, by incoming webhooks.

use std::process::Command;

use panda_testing::installed::{installed, program};
use panda_testing::root;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{Chat, PATH, caller, channel, hostile, ready, server, shown, valid};
use crate::support::db::TestDb;
use crate::support::wait_for;

/// Checks messages with the library of Teams' cards.
fn valid_cards(teams: &Chat) {
    let bodies: Vec<Value> = teams.messages().into_iter().map(|message| message.body).collect();
    let script = root().join("tests/it/channels/cards.cjs");
    valid(Command::new(program(&["node"])).arg(script).arg(installed().join("node_modules")), &bodies);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_hooks__discord_updates_and_teams_posts_milestones() {
    let db = TestDb::new().await;
    let (discord, teams) = (Chat::start().await, Chat::start().await);
    let serve = server(&db).ready().await;
    let mentions = json!({"default": ["&123456789012345678"], "subjects": {"alice": "223456789012345678"}});
    let body = json!({"kind": "discord", "secret": discord.discord(), "language": "en", "mentions": mentions});
    let in_discord = channel(&serve, &body).await;
    let mentions = json!({"default": ["ops@example.com"]});
    let body = json!({"kind": "teams", "secret": teams.teams(), "language": "en", "events": ["stage", "success", "fail"],
                      "mentions": mentions});
    let in_teams = channel(&serve, &body).await;
    for (id, kind) in [(&in_discord, "discord"), (&in_teams, "teams")] {
        let view = shown(&serve, id).await;
        assert_eq!((&view["kind"], &view["host"]), (&json!(kind), &json!("127.0.0.1")));
        assert!(!view.to_string().contains("very-secret"), "{view}");
    }
    let mut deployment = hostile(&db).await;
    deployment.build_lines(1, 20).await;
    ready(&mut deployment).await;
    wait_for("both have it", async || discord.messages().len() == 1 && teams.messages().len() == 1).await;
    let message = &discord.messages()[0].body;
    let allowed = json!({"parse": [], "users": ["223456789012345678"], "roles": ["123456789012345678"]});
    assert_eq!(message["allowed_mentions"], allowed);
    assert_eq!(
        message["content"],
        "<@&123456789012345678> <@223456789012345678> The traffic switch awaits an approval"
    );
    let text = message["embeds"].to_string();
    assert!(
        text.contains("\\\\@everyone") && text.contains("\\\\[click\\\\]") && !text.contains("[click](https"),
        "{text}"
    );
    let card = teams.messages()[0].body.to_string();
    assert!(card.contains("<at>ops@example.com</at>") && !card.contains("[click](https"), "{card}");

    deployment.complete().await;
    wait_for("the end is shown", async || discord.messages()[0].updates == 1 && teams.messages().len() == 2).await;
    assert_eq!(discord.messages().len(), 1);
    let message = &discord.messages()[0].body;
    assert_eq!((&message["content"], &message["allowed_mentions"]["users"]), (&json!(""), &json!([])));
    let tested = caller(&serve).post(&format!("{PATH}/{in_teams}/test"), &json!({})).await;
    assert_eq!(tested.data("채널 테스트 메시지를 보냈습니다.")["accepted"], true);
    assert_eq!(teams.messages().len(), 3, "two milestones and the test");
    valid_cards(&teams);
    assert!(!serve.log().contains("very-secret"));
}
