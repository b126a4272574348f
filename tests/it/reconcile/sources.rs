//! Which file of a repository is built, with what beside it, and what is said when that cannot be decided.

use panda::domain::catalogue::Lang;
use panda::domain::failure::ErrorCode;
use panda::sandbox::git::SourceFile;
use serde_json::json;

use super::events;
use super::failures::{fails, said};
use crate::support::world::World;

/// A Dockerfile whose build fails, and says its name.
fn failing(name: &str) -> String {
    format!("FROM busybox:1\nRUN echo THIS-IS-{name}; exit 3\n")
}

#[tokio::test]
async fn a_root_dockerfile_that_is_a_link_is_built_and_both_paths_are_told() {
    let world = World::with_files(vec![
        SourceFile::link("Dockerfile", "deploy/prod.Dockerfile"),
        SourceFile::new("deploy/prod.Dockerfile", failing("PROD")),
        SourceFile::new("deploy/prod.Dockerfile.dockerignore", "examples"),
        SourceFile::new("examples/hello/Dockerfile", failing("THE-EXAMPLE")),
    ])
    .await;
    let failed = fails(&world, &[], "main", ErrorCode::BuildFailed).await;
    assert!(said(&world, &failed.id).await.contains("THIS-IS-PROD"));
    let told = events(&world, &failed.id).await;
    let found = told.iter().find(|event| event.code == "dockerfile_found").unwrap().render(Lang::En);
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
async fn a_root_dockerfile_that_leads_nowhere_is_named_and_nothing_else_is_built() {
    for target in ["missing", "/etc/hostname", "examples"] {
        let world = World::with_files(vec![
            SourceFile::link("Dockerfile", target),
            SourceFile::new("examples/hello/Dockerfile", failing("THE-EXAMPLE")),
        ])
        .await;
        let failed = fails(&world, &[], "main", ErrorCode::DockerfileNotFound).await;
        let said = said(&world, &failed.id).await;
        assert!(said.contains("Dockerfile") && !said.contains("THE-EXAMPLE"), "{said}");
    }
}

#[tokio::test]
async fn several_candidates_are_listed_and_none_is_built() {
    let world = World::with_files(vec![
        SourceFile::new("docker/app.Dockerfile", failing("APP")),
        SourceFile::new("test/fixtures/Dockerfile", failing("FIXTURE")),
    ])
    .await;
    let failed = fails(&world, &[], "main", ErrorCode::DockerfileAmbiguous).await;
    let said = said(&world, &failed.id).await;
    assert!(said.contains("`docker/app.Dockerfile`, `test/fixtures/Dockerfile`"), "{said}");
}

#[tokio::test]
async fn an_ignore_file_that_cannot_be_used_is_named_before_the_build() {
    for (file, what) in [
        (SourceFile::new(".dockerignore", "ok\n[a\n"), "`.dockerignore`: line 2"),
        (SourceFile::link(".dockerignore", "missing"), "`.dockerignore` is a link"),
        (SourceFile::new("Dockerfile.dockerignore/x", ""), "`Dockerfile.dockerignore` is a folder"),
    ] {
        let world = World::with_files(vec![SourceFile::new("Dockerfile", failing("BUILT")), file]).await;
        let failed = fails(&world, &[], "main", ErrorCode::BuildContextInvalid).await;
        let said = said(&world, &failed.id).await;
        assert!(said.contains(what), "{said}");
    }
}

#[tokio::test]
async fn a_dockerfile_for_buildkit_is_refused_with_its_line_and_a_remedy() {
    let text = "FROM busybox:1\nRUN cat > /f <<EOF\nhello\nEOF\nCOPY --link index.html /\n";
    let world = World::with_files(vec![SourceFile::new("Dockerfile", text)]).await;
    let failed = fails(&world, &[], "main", ErrorCode::BuildkitRequired).await;
    let said = said(&world, &failed.id).await;
    assert!(said.contains("`Dockerfile`, line 2: ") && said.contains("line 5: `COPY --link`"), "{said}");
}
