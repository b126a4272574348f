//! Selection of the Dockerfile and the build context, and the message when the selection is ambiguous.

use panda::domain::catalogue::Lang;
use panda::domain::failure::ErrorCode;
use panda_sandbox::git::SourceFile;
use serde_json::json;

use super::events;
use super::failures::{fails, said};
use crate::support::environment::Environment;

/// A Dockerfile whose build prints its name and fails.
fn failing(name: &str) -> String {
    format!("FROM busybox:1\nRUN echo THIS-IS-{name}; exit 3\n")
}

#[tokio::test]
async fn dockerfile__linked_built_and_both_paths_reported() {
    let env = Environment::with_files(vec![
        SourceFile::link("Dockerfile", "deploy/prod.Dockerfile"),
        SourceFile::new("deploy/prod.Dockerfile", failing("PROD")),
        SourceFile::new("deploy/prod.Dockerfile.dockerignore", "examples"),
        SourceFile::new("examples/hello/Dockerfile", failing("THE-EXAMPLE")),
    ])
    .await;
    let failed = fails(&env, &[], "main", ErrorCode::BuildFailed).await;
    assert!(said(&env, &failed.id).await.contains("THIS-IS-PROD"));
    let emitted = events(&env, &failed.id).await;
    let found = emitted.iter().find(|event| event.code == "dockerfile_found").unwrap().render(Lang::En);
    assert_eq!(found.message, "[Stage 1] Dockerfile found");
    let mut details = found.details.unwrap();
    assert!(details.remove("path").unwrap().as_str().unwrap().ends_with("/Dockerfile"));
    let expected = json!({
        "stage": 1,
        "dockerfile": "Dockerfile",
        "linkTarget": "deploy/prod.Dockerfile",
        "context": ".",
        "ignoreFile": "deploy/prod.Dockerfile.dockerignore",
    });
    assert_eq!(serde_json::Value::Object(details), expected);
}

#[tokio::test]
async fn dockerfile__dangling_link_named() {
    for target in ["missing", "/etc/hostname", "examples"] {
        let env = Environment::with_files(vec![
            SourceFile::link("Dockerfile", target),
            SourceFile::new("examples/hello/Dockerfile", failing("THE-EXAMPLE")),
        ])
        .await;
        let failed = fails(&env, &[], "main", ErrorCode::DockerfileNotFound).await;
        let said = said(&env, &failed.id).await;
        assert!(said.contains("Dockerfile") && !said.contains("THE-EXAMPLE"), "{said}");
    }
}

#[tokio::test]
async fn dockerfile__ambiguous_candidates_listed() {
    let env = Environment::with_files(vec![
        SourceFile::new("docker/app.Dockerfile", failing("APP")),
        SourceFile::new("test/fixtures/Dockerfile", failing("FIXTURE")),
    ])
    .await;
    let failed = fails(&env, &[], "main", ErrorCode::DockerfileAmbiguous).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("`docker/app.Dockerfile`, `test/fixtures/Dockerfile`"), "{said}");
}

#[tokio::test]
async fn dockerfile__unusable_ignore_file_named_before_build() {
    for (file, what) in [
        (SourceFile::new(".dockerignore", "ok\n[a\n"), "`.dockerignore`: line 2"),
        (SourceFile::link(".dockerignore", "missing"), "`.dockerignore` is a link"),
        (SourceFile::new("Dockerfile.dockerignore/x", ""), "`Dockerfile.dockerignore` is a folder"),
    ] {
        let env = Environment::with_files(vec![SourceFile::new("Dockerfile", failing("BUILT")), file]).await;
        let failed = fails(&env, &[], "main", ErrorCode::BuildContextInvalid).await;
        let said = said(&env, &failed.id).await;
        assert!(said.contains(what), "{said}");
    }
}

#[tokio::test]
async fn dockerfile__buildkit_syntax_refused_with_line_and_remedy() {
    let text = "FROM busybox:1\nRUN cat > /f <<EOF\nhello\nEOF\nCOPY --link index.html /\n";
    let env = Environment::with_files(vec![SourceFile::new("Dockerfile", text)]).await;
    let failed = fails(&env, &[], "main", ErrorCode::BuildkitRequired).await;
    let said = said(&env, &failed.id).await;
    assert!(said.contains("`Dockerfile`, line 2: ") && said.contains("line 5: `COPY --link`"), "{said}");
}
