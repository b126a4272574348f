//! `packaging/compose.yaml`: valid, with the chart's images, and its container of Panda becomes ready as it is described.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use panda_dev_services::Engine;
use panda_testing::compose::start;
use panda_testing::process::free_address;
use panda_testing::{KEY_FILE, Program as _, root, text};
use serde_json::json;

use super::systemd::serves;
use super::{installed, known, succeeds, version, yaml};
use crate::dev_services::forget_image;
use crate::support::container::build;
use crate::support::db::TestDb;
use crate::support::panda::Panda;

const FILE: &str = "packaging/compose.yaml";
const TOKEN: &str = "only-the-tests-know-this-token-of-theirs";

#[test]
fn compose_file__valid_with_known_options_and_pinned_images() {
    succeeds(
        Command::new(installed("check-jsonschema"))
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(root().join(FILE)),
    );
    let services = &yaml(FILE)["services"];
    known(FILE, services["panda"]["environment"].as_object().unwrap().keys().map(String::as_str));
    assert_eq!(services["panda"]["image"], format!("${{PANDA_IMAGE:-ghcr.io/panda-deploy/panda:{}}}", version()));
    // One list of images to keep up to date: the chart's.
    let chart = text("helm/panda/values.yaml");
    for service in ["postgres", "engine"] {
        let image = services[service]["image"].as_str().unwrap();
        assert!(
            image.contains("@sha256:") && chart.contains(&format!("image: {image}\n")),
            "{image} is not the chart's"
        );
    }
    let ports = services.as_object().unwrap().values().filter_map(|service| service["ports"].as_array());
    assert_eq!(ports.collect::<Vec<_>>(), [&vec![json!("127.0.0.1:${PORT:-8080}:8080")]], "only on this machine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_file__server_becomes_ready() {
    let parts = tempfile::tempdir().unwrap();
    let engine = Engine::find_or_start(&parts.path().join("docker")).await.unwrap();
    engine.ensure_base_image("busybox:1").await.unwrap();
    let image = build(&engine, &Panda::path()).await;
    let db = TestDb::new().await.into_owners();
    let secrets = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    for (name, text) in [
        ("database-url", db.url().to_owned()),
        ("keys", std::fs::read_to_string(KEY_FILE).unwrap()),
        ("admin-token", TOKEN.to_owned()),
    ] {
        std::fs::write(secrets.path().join(name), format!("{text}\n")).unwrap();
    }
    let listen = free_address();
    let changed = [
        ("PANDA_LISTEN", listen.to_string()),
        ("PANDA_CONTROLLER_REGION", "ap-northeast-2".to_owned()),
        ("AWS_ACCESS_KEY_ID", "none".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "none".to_owned()),
    ];
    let server = start(&engine, &image, &yaml(FILE)["services"]["panda"], &changed, secrets.path()).await;
    server.answers(&format!("http://{listen}/readyz")).await;
    serves(&format!("http://{listen}"), TOKEN).await;
    assert_eq!(server.stop().await, (Some(0), Some(false)), "{}", server.log().await);
    server.remove().await;
    forget_image(&engine, &image).await;
}
