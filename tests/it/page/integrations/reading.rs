//! What the views show: to whom, in all sizes and languages, without scripts, and of hostile receivers.

use panda::domain::principal::Role;
use panda_testing::web_page::Display;
use serde_json::json;
use uuid::Uuid;

use super::Installation;
use crate::http::auth::Token;
use crate::pushes::ping;

#[tokio::test]
async fn integrations__state_deliveries_and_reasons_in_every_size_and_without_scripts() {
    let installation = Installation::new().await;
    let Installation { page, db, .. } = &installation;
    let webhook = installation
        .webhook(&json!({
            "url": format!("https://hooks.example.com/{}", "very-long-path-".repeat(12)), "description": "<b>board</b>\u{202e}",
            "events": ["success", "fail"], "repositories": ["acme/shop"], "labels": {"environment": "production"},
            "language": "en",
        }))
        .await;
    installation.deliveries(&webhook, &["dead", "pending", "waiting"]).await;
    let gone = installation.webhook(&json!({"url": "https://gone.example.com/"})).await;
    sqlx::query("UPDATE receivers SET disabled_at = clock_timestamp(), disabled_reason = 'gone' WHERE id = $1")
        .bind(&gone)
        .execute(&mut db.psql().await)
        .await
        .unwrap();
    let slack = json!({"kind": "slack", "secret": "xoxb-very-secret", "slack": {"channel": "C0123456789"},
        "quietHours": {"from": "22:00", "to": "08:00", "timeZone": "Asia/Seoul", "except": ["fail"]},
        "mentions": {"default": ["S0123456789"], "subjects": {"alice": "U0123456789"}}});
    let slack = installation.channel(&slack).await;
    let mail = json!({"kind": "mail", "secret": "smtp-very-secret", "mail": {"host": "smtp.example.com", "user": "panda",
        "from": "panda@example.com", "to": ["deploys@example.com"]}});
    let mail = installation.channel(&mail).await;
    let github = json!({"kind": "github", "repositories": ["acme/*"], "github": {"environment": "staging"}});
    installation.channel(&github).await;
    let (hook, at_github) = installation.hook("shop <i>").await;
    at_github.send("ping", &ping()).await;
    at_github.unsigned("push", Uuid::new_v4()).body("{}").send().await.unwrap();

    let views = [
        ("list", "/integrations".to_owned(), "C0123456789"),
        ("webhook", format!("/integrations/webhooks/{webhook}"), "<b>board</b><U+202E>"),
        ("gone", format!("/integrations/webhooks/{gone}"), "gone.example.com"),
        ("slack", format!("/integrations/channels/{slack}"), "22:00–08:00 Asia/Seoul"),
        ("mail", format!("/integrations/channels/{mail}"), "smtp.example.com:587 (STARTTLS)"),
        ("hook", format!("/integrations/hooks/{hook}"), "SIGNATURE_INVALID"),
    ];
    for (name, path, shown) in &views {
        installation.goto(path).await;
        let text = page.text("main").await;
        assert!(text.contains(shown), "{name}: {text}");
        assert!(!text.contains("very-secret") && !text.contains("integrations."), "{name}: {text}");
        if ["list", "webhook", "hook"].contains(name) {
            page.expect_fit(&format!("integrations-{name}")).await;
        } else {
            page.expect_sound(name).await;
        }
    }
    installation.goto(&views[1].1).await;
    assert_eq!(page.text("#last-failure").await.matches("<img src=x onerror=alert(1)> <U+202E>gpj").count(), 1);
    assert!(page.text("#deliveries").await.contains("17 failed attempts"));
    page.click(".links a[href='?state=dead']").await;
    page.until("document.querySelectorAll('#deliveries li').length === 1").await;
    assert_eq!(page.count(".badge.delivery-dead").await, 1);

    installation.sign_in_with(Display { locale: "ko-KR", ..Display::default() }).await;
    page.expect_sound("integrations in Korean").await;
    let text = page.text("main").await;
    assert!(text.contains("푸시 훅") && !text.contains("integrations."), "{text}");

    installation.sign_in_with(Display { scripts: false, ..Display::default() }).await;
    for (name, path, shown) in &views {
        installation.goto(path).await;
        let text = page.text("main").await;
        assert!(text.contains(shown), "{name}: {text}");
        assert_eq!(page.count("main form:not([method=post])").await, 0, "{name}");
        assert_eq!(page.count("main form button:visible").await, 0, "{name}");
        if *name == "hook" {
            assert!(text.contains(&installation.public_url("/api/v1/hooks/github/hok_")), "{text}");
        }
    }
    assert!(page.text("main").await.contains(&format!("/api/v1/hooks/github/{hook}")));
}

#[tokio::test]
async fn integrations__only_for_admins_of_their_repositories() {
    let installation = Installation::new().await;
    let Installation { page, db, caller, .. } = &installation;
    let all = installation.webhook(&json!({"url": "https://all.example.com/"})).await;
    let shop = json!({"url": "https://shop.example.com/", "repositories": ["acme/shop"]});
    installation.webhook(&shop).await;
    let (hook, _) = installation.hook("shop").await;
    let views =
        ["/integrations".to_owned(), format!("/integrations/webhooks/{all}"), format!("/integrations/hooks/{hook}")];
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        let token = caller.signed_in(&Token::of(&db.db, role).await.secret);
        for view in &views {
            assert_eq!(token.get(view).await.status, 403, "{role} {view}");
        }
        let list = token.get("/").await;
        assert!(!list.text.contains("href=\"/integrations\""), "{role}");
    }
    let scoped = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    let of_shop = caller.signed_in(&scoped.secret);
    assert_eq!(of_shop.get(&views[1]).await.status, 404);
    assert_eq!(of_shop.get(&views[2]).await.status, 200);
    page.profile(Display::default()).await;
    installation.sign_in(&scoped.secret).await;
    let text = page.text("main").await;
    assert!(text.contains("shop.example.com") && !text.contains("all.example.com"), "{text}");
    let suggested = "document.querySelector('#create-webhook [name=repositories]').value";
    assert_eq!(page.evaluate::<String>(suggested).await, "acme/shop");
    for wrong in ["?cursor=x", "?state=x"] {
        let path = format!("/integrations/webhooks/{all}{wrong}");
        assert_eq!(caller.get(&path).await.status, 400, "{wrong}");
    }
}
