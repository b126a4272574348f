//! The views in all sizes, themes and languages, and without scripts.

use panda_testing::web_page::{Display, WebPage};
use serde_json::json;

use super::Installation;

#[tokio::test]
async fn start__readable_in_every_size_theme_and_language_and_without_scripts() {
    let installation = Installation::empty().await;
    let (github, aws) = installation.connect().await;
    let secret = json!({"value": "npm_0123456789"});
    installation.api.put(&format!("/api/v1/connect/github/{github}/secrets/npm_token"), &secret).await;
    let deploy = json!({
        "githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main",
        "reason": "<script>alert(1)</script>",
    });
    let schedule =
        json!({"name": "nightly <b>", "cron": "30 6 * * MON-FRI", "timeZone": "Asia/Seoul", "deploy": deploy});
    let schedule = installation.api.post("/api/v1/schedules", &schedule).await.json();
    let id = schedule["data"]["scheduleId"].as_str().unwrap_or_else(|| panic!("{schedule}"));
    installation.api.post(&format!("/api/v1/schedules/{id}/run"), &json!({})).await.data("배포가 시작되었습니다.");
    let views = [
        ("connections", "/connections"),
        ("new", "/new"),
        ("schedules", "/schedules"),
        ("schedule", &format!("/schedules/{id}")),
    ];

    let page = WebPage::open().await;
    for (width, dark, locale) in [
        (360, false, "en-US"),
        (360, true, "ko-KR"),
        (768, false, "ko-KR"),
        (768, true, "en-US"),
        (1440, false, "en-US"),
        (1440, true, "ko-KR"),
    ] {
        page.profile(Display { locale, dark, size: (width, 900), scripts: true }).await;
        for (name, path) in views {
            page.goto(&installation.url(path)).await;
            if name == "new" {
                page.visible(".check-summary").await;
            }
            let shown = format!("start-{name}-{width}-{}", if dark { "dark" } else { "light" });
            page.screenshot(&shown).await;
            page.expect_sound(&shown).await;
            let (wide, korean): (bool, bool) = page
                .evaluate("[document.documentElement.scrollWidth > innerWidth, /[가-힣]/.test(document.querySelector('main').innerText)]")
                .await;
            assert_eq!((wide, korean), (false, locale == "ko-KR"), "{shown}");
            assert!(!page.text("main").await.contains("start."), "{shown}: a text is missing");
        }
    }

    page.profile(Display { scripts: false, ..Display::default() }).await;
    for (name, path) in views {
        page.goto(&installation.url(path)).await;
        let text = page.text("main").await;
        assert!(text.contains("acme/shop"), "{name}: {text}");
        assert_eq!(
            page.count("main form:not([method=post])").await,
            0,
            "{name}: a form without scripts would put secrets into the address"
        );
        page.screenshot(&format!("start-{name}-no-script")).await;
    }
}
