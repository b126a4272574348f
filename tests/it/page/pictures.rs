//! The pictures of the documents: views of a real deployment on the sandbox. `make page-screenshots` writes them again.

use panda_testing::root;
use panda_testing::web_page::{Display, WebPage};
use serde_json::json;

use crate::reconcile::status;
use crate::support::environment::{Environment, hello};
use crate::support::panda::Panda;
use crate::support::wait_for;

/// Pictures in `docs`, without the prefix `page-`, with the view of each; `{id}` is the deployment.
const PICTURES: [(&str, &str); 3] =
    [("deployments", "/"), ("deployment", "/deployments/{id}"), ("history", "/history?days=7&tz=UTC")];

/// Largest picture, in bytes.
const LARGEST: u64 = 160_000;

#[test]
fn page_pictures__are_small_and_used() {
    let documents = panda_testing::text("README.md") + &panda_testing::text("docs/page.md");
    for (name, _) in PICTURES {
        let file = format!("page-{name}.png");
        let Ok(found) = std::fs::metadata(root().join("docs").join(&file)) else { continue };
        assert!(found.len() <= LARGEST, "{file} has {} bytes", found.len());
        assert!(documents.contains(&file), "{file} is not used");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_pictures__written_from_a_real_deployment() {
    if std::env::var_os("PANDA_WRITE_DOCS").is_none() {
        return;
    }
    let env = Environment::with_files(hello("2.0.0")).await;
    let panda = Panda::builder().environment(&env).server().await;
    wait_for("the server is ready", async || panda.is_ready().await).await;
    let request = panda.connect(&env).await;
    let first = panda.deploy(&request).await;
    status(&env, &first, &["DEPLOYMENT_READY"]).await;
    panda.command(&first, "switch").await;
    status(&env, &first, &["COMPLETED"]).await;
    let cancelled = panda.deploy(&request).await;
    status(&env, &cancelled, &["DEPLOYMENT_READY"]).await;
    panda.command(&cancelled, "cancel").await;
    status(&env, &cancelled, &["FAILED"]).await;
    let ready = panda.deploy(&request).await;
    status(&env, &ready, &["DEPLOYMENT_READY"]).await;

    let page = WebPage::with(Display { size: (1200, 750), ..Display::default() }).await;
    for (name, path) in PICTURES {
        let address = format!("{}{}", panda.base, path.replace("{id}", &ready));
        if reqwest::get(&address).await.unwrap().status() != 200 {
            continue;
        }
        page.goto(&address).await;
        page.call(json!(["screenshot", root().join(format!("docs/page-{name}.png")), false])).await;
    }
    panda.stop().await;
}
