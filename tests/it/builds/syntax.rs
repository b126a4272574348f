//! Current Dockerfile syntax gives the same result as `docker build`, or is refused with its line.

use std::path::Path;

use panda::clients::build::BuildError;
use panda::clients::buildkit::MountedSecrets;
use panda::domain::builder::BuilderChoice;

use super::{TestEngine, Wanted, build, build_folder};

/// Folder in `tests/it/builds/cases`, and text in its output.
const CASES: [(&str, &str); 10] = [
    ("a-heredoc-file", "-rwxr-xr-x"),
    ("b-heredoc-run", "/www/health"),
    ("b2-heredoc-copy", "answer=42"),
    ("b3-heredoc-one-word", "10 /conf"),
    ("c-mount-cache", "RUN --mount"),
    ("c2-mount-secret", "npm-token-of-this-test"),
    ("d-copy-chmod", "-rwxr-xr-x"),
    ("d2-copy-link", "COPY --link"),
    ("e-buildplatform", "target: ["),
    ("i-run-network", "offline"),
];

/// Cases that Engine 20.10's BuildKit does not support: each is refused with its line.
const NEWER_THAN_20_10: [&str; 6] =
    ["a-heredoc-file", "b-heredoc-run", "b2-heredoc-copy", "b3-heredoc-one-word", "d2-copy-link", "i-run-network"];

async fn case(engine: &TestEngine, choice: BuilderChoice, case: &str) -> super::Built {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/builds/cases").join(case);
    let secrets = MountedSecrets([("npm".to_owned(), "npm-token-of-this-test".to_owned().into())].into());
    build_folder(&engine.builder(choice), Wanted { secrets, ..Wanted::new("acme", &[]) }, &folder).await
}

#[tokio::test]
async fn syntax__current_engine_builds_like_docker_build() {
    let Some(engine) = TestEngine::current(serde_json::json!({})).await else { return };
    for (name, expected) in CASES {
        let built = case(&engine, BuilderChoice::Auto, name).await;
        let output = built.output();
        assert!(
            output.contains(expected) && !built.lines.iter().any(|line| line == "NOTHING-WAS-RUN"),
            "{name}: {built:#?}"
        );
    }
}

#[tokio::test]
async fn syntax__usual_engine_builds_or_refuses_with_line() {
    let engine = TestEngine::usual().await;
    let old = engine.docker().version().await.unwrap().starts_with("20.");
    for (name, expected) in CASES {
        let built = case(&engine, BuilderChoice::Auto, name).await;
        if old && NEWER_THAN_20_10.contains(&name) {
            let error = built.result.unwrap_err();
            assert!(matches!(error, BuildError::Unsupported(_)), "{name}: {error:?}");
            let text = error.to_string();
            assert!(text.contains("line ") && built.steps.is_empty(), "{name}: {text}");
        } else {
            let output = built.output();
            assert!(output.contains(expected), "{name}: {built:#?}");
        }
    }
}

#[tokio::test]
async fn syntax__classic_builder_refuses_what_it_would_misbuild() {
    let mut engines = vec![TestEngine::usual().await];
    engines.extend(TestEngine::current(serde_json::json!({})).await);
    for engine in &engines {
        for (name, _) in CASES {
            let built = case(engine, BuilderChoice::Classic, name).await;
            let error = built.result.unwrap_err();
            assert!(matches!(error, BuildError::Unsupported(_)), "{name}: {error:?}");
            assert!(error.to_string().contains("line "), "{name}: {error}");
            assert!(built.lines.is_empty(), "{name}: the build began: {:#?}", built.lines);
        }
        let plain = [("Dockerfile", "FROM busybox:1\nRUN echo plain\n")];
        let built = build(&engine.builder(BuilderChoice::Classic), Wanted::new("acme", &plain)).await;
        assert!(built.output().contains("plain"));
    }
}
