//! The forms that create integrations.

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{Installation, text};
use crate::http::fixture;
use crate::page::start::problem_at;

impl Installation {
    /// The only item of a list of the API.
    async fn only(&self, path: &str, list: &str) -> Value {
        let answer = self.caller.get(path).await.json();
        let items = answer["data"][list].as_array().unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(items.len(), 1, "{answer}");
        items[0].clone()
    }
}

#[tokio::test]
async fn integrations__webhook_and_push_hook_are_created_with_a_secret_shown_once() {
    let installation = Installation::new().await;
    let Installation { page, .. } = &installation;
    page.expect_sound("no integrations").await;
    page.click("#create-webhook summary").await;
    page.fill("#create-webhook [name=url]", "ftp://hooks.example.com/").await;
    page.click("#create-webhook .primary").await;
    problem_at(page, "#create-webhook [name=url]").await;
    page.fill("#create-webhook [name=url]", "https://hooks.example.com/panda").await;
    page.fill("#create-webhook [name=events]", "success nothing").await;
    page.click("#create-webhook .primary").await;
    assert!(problem_at(page, "#create-webhook [name=events]").await.contains("nothing"));
    page.fill("#create-webhook [name=events]", "success\nbuild_failed").await;
    page.fill("#create-webhook [name=repositories]", "acme/shop").await;
    page.fill("#create-webhook [name=labels]", "environment=production").await;
    page.click("#create-webhook .primary").await;
    page.visible("dialog.secret").await;
    assert!(page.text("dialog.secret output[data-value=secret]").await.starts_with("whsec_"));
    page.click("dialog.secret [data-close]").await;
    page.visible("#list-webhooks .row").await;
    assert!(!page.evaluate::<bool>("document.documentElement.innerHTML.includes('whsec_')").await);
    let made = installation.only("/api/v1/webhooks", "webhooks").await;
    assert_eq!((&made["events"], &made["language"]), (&json!(["success", "build_failed"]), &json!("en")));
    assert_eq!(made["labels"], json!({"environment": "production"}));

    // Connections appear, and with them the form of push hooks.
    assert_eq!(page.count("#create-hook").await, 0);
    let github = fixture::github_connection(&installation.db.db, "acme", "shop").await;
    let aws = fixture::aws_connection(&installation.db.db).await;
    installation.goto("/integrations").await;
    page.click("#create-hook > summary").await;
    page.click("#create-hook .primary").await;
    page.visible("#create-hook .problem").await;
    page.select("[name='rules[0].githubConnectionId']", &github).await;
    page.select("[name='rules[0].awsConnectionId']", &aws).await;
    page.fill("[name='rules[0].ignorePaths']", "docs/** **/*.md").await;
    page.click("#create-hook [data-add]").await;
    page.select("[name='rules[1].githubConnectionId']", &github).await;
    page.select("[name='rules[1].awsConnectionId']", &aws).await;
    page.fill("[name='rules[1].branches']", "").await;
    page.fill("[name='rules[1].tags']", "/v1").await;
    page.click("#create-hook .primary").await;
    problem_at(page, "[name='rules[1].tags']").await;
    page.fill("[name='rules[1].tags']", "v*").await;
    page.expect_axe("a push hook").await;
    page.screenshot("integrations-new-hook").await;
    page.click("#create-hook .primary").await;
    page.visible("dialog.secret [data-part]").await;
    let secret = page.text("dialog.secret output[data-value=secret]").await;
    let address = page.text("dialog.secret output[data-value=address]").await;
    page.click("dialog.secret [data-close]").await;
    let made = installation.only("/api/v1/hooks", "hooks").await;
    let path = text(&made["payloadPath"]);
    assert_eq!(address, installation.public_url(&path));
    let rules = &made["rules"];
    assert_eq!((&rules[0]["branches"], &rules[0]["ignorePaths"]), (&json!(["main"]), &json!(["docs/**", "**/*.md"])));
    assert_eq!((&rules[1]["tags"], &rules[1]["owner"]), (&json!(["v*"]), &json!("acme")));
    let webhook = crate::pushes::Webhook { url: address, secret, client: reqwest::Client::new() };
    assert_eq!(webhook.send("ping", &crate::pushes::ping()).await.status, 202, "GitHub can use both");
}

#[tokio::test]
async fn integrations__channel_of_each_kind_has_only_its_fields() {
    let installation = Installation::new().await;
    let Installation { page, caller, .. } = &installation;
    let create = async |kind: &str, fields: &[(&str, &str)]| {
        installation.goto("/integrations").await;
        page.click("#create-channel summary").await;
        page.click(&format!("#create-channel [value={kind}]")).await;
        for (name, value) in fields {
            page.fill(&format!("#create-channel [name='{name}']:visible"), value).await;
        }
        if ["slack", "mail"].contains(&kind) {
            page.screenshot(&format!("integrations-new-{kind}")).await;
            page.expect_axe(kind).await;
        }
        page.click("#create-channel .primary").await;
    };
    create("slack", &[("slack.channel", "general"), ("secret", "xoxb-very-secret")]).await;
    problem_at(page, "#create-channel [name='slack.channel']").await;
    create("mail", &[("mail.host", "smtp.example.com"), ("mail.from", "panda@example.com")]).await;
    page.visible("#create-channel .problem").await;
    let hook = "https://discord.com/api/webhooks/1/very-secret";
    let kinds: [(&str, &[(&str, &str)]); 5] = [
        ("slack", &[("slack.channel", "C0123456789"), ("secret", "xoxb-very-secret"), ("events", "ready fail")]),
        ("teams", &[("secret", "https://acme.webhook.office.com/very-secret"), ("description", "team")]),
        ("discord", &[("secret", hook)]),
        (
            "mail",
            &[
                ("mail.host", "smtp.example.com"),
                ("mail.from", "panda@example.com"),
                ("mail.to", "a@example.com b@example.com"),
            ],
        ),
        ("github", &[("github.environment", "staging"), ("repositories", "acme/*")]),
    ];
    for (kind, fields) in kinds {
        create(kind, fields).await;
        page.until("location.pathname.startsWith('/integrations/channels/chn_')").await;
        let text = page.text("main").await;
        assert!(!text.contains("very-secret"), "{kind}: {text}");
    }
    let answer = caller.get("/api/v1/channels").await.json();
    let made = answer["data"]["channels"].as_array().unwrap();
    let found: Vec<(&str, &Value)> = made.iter().map(|one| (one["kind"].as_str().unwrap(), &one["events"])).collect();
    let default = json!(["ready", "completed", "fail"]);
    let slack = json!(["ready", "fail"]);
    assert_eq!(
        found,
        [("slack", &slack), ("teams", &default), ("discord", &default), ("mail", &default), ("github", &Value::Null)]
    );
    assert_eq!(
        (&made[3]["mail"]["to"], &made[3]["mail"]["port"]),
        (&json!(["a@example.com", "b@example.com"]), &json!(587))
    );
    assert_eq!(made[4]["github"]["environment"], json!("staging"));

    // The secret of one is replaced, and it stays disabled.
    let id = text(&made[1]["channelId"]);
    installation.goto(&format!("/integrations/channels/{id}")).await;
    page.click("#disable button").await;
    page.visible(".badge.state-disabled").await;
    page.click("#replace summary").await;
    page.fill("#replace input", "https://other.webhook.office.com/very-secret").await;
    page.click("#replace button").await;
    page.visible("#replace .done").await;
    let now = caller.get(&format!("/api/v1/channels/{id}")).await.json()["data"].clone();
    assert_eq!((&now["host"], &now["enabled"]), (&json!("other.webhook.office.com"), &json!(false)));
    assert_eq!(now["description"], json!("team"));
}
