//! Chromium on Panda's web page, driven by Playwright in Node (`readers/page.mjs`). Each action waits for its element.

use std::path::PathBuf;
use std::process::Stdio;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::installed::{installed, program};
use crate::readers::browser::NAMES;
use crate::root;

/// A browser with one page; dropping it closes it.
pub struct WebPage {
    pipes: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    _node: Child,
}

/// How a browser shows pages.
#[derive(Clone, Copy, Debug)]
pub struct Display {
    /// Language of the browser, such as `ko-KR`.
    pub locale: &'static str,
    pub dark: bool,
    /// Width and height of the window, in CSS pixels.
    pub size: (u32, u32),
    pub scripts: bool,
}

impl Default for Display {
    fn default() -> Self {
        Self { locale: "en-US", dark: false, size: (1440, 900), scripts: true }
    }
}

impl WebPage {
    /// A browser in English, light, 1440 pixels wide.
    pub async fn open() -> Self {
        Self::with(Display::default()).await
    }

    pub async fn with(display: Display) -> Self {
        let mut command = Command::new("node");
        command.arg(root().join("crates/testing/readers/page.mjs")).arg(installed()).arg(program(&NAMES));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut node = command.spawn().unwrap();
        let (input, output) = (node.stdin.take().unwrap(), node.stdout.take().unwrap());
        let page = Self { pipes: Mutex::new((input, BufReader::new(output).lines())), _node: node };
        page.profile(display).await;
        page
    }

    /// Begins a new profile: no cookies, nothing cached.
    pub async fn profile(&self, display: Display) {
        let Display { locale, dark, size: (width, height), scripts } = display;
        let options = json!({
            "locale": locale, "colorScheme": if dark { "dark" } else { "light" }, "timezoneId": "Asia/Seoul",
            "viewport": {"width": width, "height": height}, "javaScriptEnabled": scripts, "reducedMotion": "reduce",
        });
        self.call(json!(["profile", options])).await;
    }

    /// Sends a command, and returns its value.
    pub async fn call(&self, command: Value) -> Value {
        let (input, output) = &mut *self.pipes.lock().await;
        input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let line = output.next_line().await.unwrap().expect("the browser ended");
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer.get("error").is_none(), "{command} at {}: {}", answer["url"], answer["error"]);
        answer["value"].take()
    }

    pub async fn goto(&self, url: &str) {
        self.call(json!(["goto", url])).await;
    }

    pub async fn click(&self, selector: &str) {
        self.call(json!(["click", selector])).await;
    }

    pub async fn fill(&self, selector: &str, text: &str) {
        self.call(json!(["fill", selector, text])).await;
    }

    pub async fn select(&self, selector: &str, value: &str) {
        self.call(json!(["select", selector, value])).await;
    }

    pub async fn press(&self, key: &str) {
        self.call(json!(["press", key])).await;
    }

    /// Waits until the element is visible.
    pub async fn visible(&self, selector: &str) {
        self.call(json!(["visible", selector])).await;
    }

    /// Waits until the element is hidden or gone.
    pub async fn gone(&self, selector: &str) {
        self.call(json!(["gone", selector])).await;
    }

    pub async fn text(&self, selector: &str) -> String {
        serde_json::from_value(self.call(json!(["text", selector])).await).unwrap()
    }

    pub async fn texts(&self, selector: &str) -> Vec<String> {
        serde_json::from_value(self.call(json!(["texts", selector])).await).unwrap()
    }

    pub async fn count(&self, selector: &str) -> usize {
        serde_json::from_value(self.call(json!(["count", selector])).await).unwrap()
    }

    pub async fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        serde_json::from_value(self.call(json!(["attribute", selector, name])).await).unwrap()
    }

    /// The value of a JavaScript expression in the page, which may await.
    pub async fn evaluate<T: DeserializeOwned>(&self, expression: &str) -> T {
        serde_json::from_value(self.call(json!(["evaluate", expression])).await).unwrap()
    }

    /// Waits until a JavaScript expression is true.
    pub async fn until(&self, expression: &str) {
        self.call(json!(["until", expression])).await;
    }

    pub async fn url(&self) -> String {
        serde_json::from_value(self.call(json!(["url"])).await).unwrap()
    }

    /// Saves the whole view as `target/page/{name}.png`.
    pub async fn screenshot(&self, name: &str) {
        let folder = screenshots();
        std::fs::create_dir_all(&folder).unwrap();
        self.call(json!(["screenshot", folder.join(format!("{name}.png")), true])).await;
    }

    /// Checks and saves a view in three widths, light and dark: sound, and no wider than the window.
    pub async fn expect_fit(&self, name: &str) {
        for (width, height) in [(360, 740), (768, 1_024), (1_440, 900)] {
            for scheme in ["light", "dark"] {
                let view = format!("{name}-{width}-{scheme}");
                self.call(json!(["size", width, height])).await;
                self.call(json!(["media", {"colorScheme": scheme}])).await;
                self.screenshot(&view).await;
                self.expect_sound(&view).await;
                let overflow: f64 =
                    self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
                assert!(overflow <= 0.0, "{view} is {overflow} px too wide");
            }
        }
    }

    /// Fails on a violation of an accessibility rule, an error of a script or a message of the console.
    pub async fn expect_sound(&self, view: &str) {
        self.expect_axe(view).await;
        self.expect_no_complaints(view).await;
    }

    /// Fails on a violation of an accessibility rule. The console of a view that showed a refused request has a message.
    pub async fn expect_axe(&self, view: &str) {
        let violations: Vec<String> = serde_json::from_value(self.call(json!(["axe"])).await).unwrap();
        assert!(violations.is_empty(), "{view}: {violations:#?}");
    }

    /// Fails on an error of a script or a message of the console, such as a refusal by the content security policy.
    pub async fn expect_no_complaints(&self, view: &str) {
        self.expect_no_complaints_but(&[], view).await;
    }

    /// The same, without messages that contain one of these texts.
    pub async fn expect_no_complaints_but(&self, expected: &[&str], view: &str) {
        let mut complaints: Vec<String> = serde_json::from_value(self.call(json!(["complaints"])).await).unwrap();
        complaints.retain(|complaint| !expected.iter().any(|text| complaint.contains(text)));
        assert!(complaints.is_empty(), "{view}: {complaints:#?}");
    }
}

/// Folder of screenshots: `PANDA_TEST_SCREENSHOTS`, else `page` in cargo's target folder.
pub fn screenshots() -> PathBuf {
    let target = || std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    std::env::var_os("PANDA_TEST_SCREENSHOTS").map_or_else(|| target().join("page"), PathBuf::from)
}
