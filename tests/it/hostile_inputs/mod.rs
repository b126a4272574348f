//! Hostile input for owners, repositories, branches and references, as data: each line of a file beside this one is an input. Other tests read
//! further files of this folder: the health check reads hosts, git reads names in trees, the build context reads paths.

use std::collections::BTreeMap;

use panda::clients::docker::Docker;
use panda::clients::workspace::{DockerfileError, find_dockerfile};
use panda_sandbox::github::{GitHub, GitHubFaults};
use serde_json::json;
use tokio::net::TcpListener;

use crate::http::{Api, ExternalServices, count};
use crate::support::db::TestDb;
use crate::support::environment::{OWNER, TOKEN};

/// The lines of a file without comments. `
/// `, `\r`, `\t`, `\0`, `\u{…}` stand for characters that a line cannot hold or an editor would not show.
pub fn inputs(file: &str) -> Vec<String> {
    let text =
        std::fs::read_to_string(format!("{}/tests/it/hostile_inputs/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    lines.map(unescaped).collect()
}

fn unescaped(line: &str) -> String {
    let mut text = line.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t").replace("\\0", "\0");
    while let Some((before, rest)) = text.split_once("\\u{") {
        let (code, after) = rest.split_once('}').unwrap();
        let shown = char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap();
        text = format!("{before}{shown}{after}");
    }
    text
}

#[tokio::test]
async fn hostile_names__never_connected_or_requested() {
    let db = TestDb::new().await;
    let dir = tempfile::tempdir().unwrap();
    let github = GitHub::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), dir.path()).await.unwrap();
    github.repositories().add_repository(OWNER, "shop", Some(TOKEN.into()), "main", vec![]).await.unwrap();
    let api =
        Api::serve_with(&db.db, &ExternalServices { github_api: github.api_url(), ..ExternalServices::default() }, &[])
            .await;
    let body = json!({"owner": OWNER, "repo": "shop", "branch": "main", "token": TOKEN});
    assert_eq!(api.post("/api/v1/connect/github", &body).await.status, 200, "ordinary input is connected");
    // Any request to GitHub would now be answered with 502, which the test detects.
    github.set_faults(GitHubFaults { unavailable: true, ..GitHubFaults::default() });
    let mut tried = 0;
    for (field, file) in [("owner", "owners.txt"), ("repo", "repos.txt"), ("branch", "branches.txt")] {
        for input in inputs(file) {
            let mut body = body.clone();
            body[field] = input.clone().into();
            let answer = api.post("/api/v1/connect/github", &body).await;
            let refused = answer.status == 400 && answer.refused_field("INVALID_FIELD") == field;
            // Git accepts many unusual branch names: GitHub is asked for them as one path segment, and has no such branch.
            let only_strange = field == "branch" && answer.status == 502;
            assert!(refused || only_strange, "{field} {input:?}: {}", answer.text);
            tried += 1;
        }
    }
    assert!(tried > 150, "{tried}");
    assert_eq!(count(&db, "github_connections").await, 1);
}

#[tokio::test]
async fn hostile_names__unusual_branch_stays_one_path_segment() {
    let db = TestDb::new().await;
    let dir = tempfile::tempdir().unwrap();
    let github = GitHub::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), dir.path()).await.unwrap();
    github.repositories().add_repository(OWNER, "shop", Some(TOKEN.into()), "main", vec![]).await.unwrap();
    let api =
        Api::serve_with(&db.db, &ExternalServices { github_api: github.api_url(), ..ExternalServices::default() }, &[])
            .await;
    for input in inputs("branches.txt") {
        let body = json!({"owner": OWNER, "repo": "shop", "branch": input, "token": TOKEN});
        let answer = api.post("/api/v1/connect/github", &body).await;
        assert_eq!(answer.status, 400, "{input:?}: {}", answer.text);
    }
    assert_eq!(count(&db, "github_connections").await, 0);
}

#[tokio::test]
async fn hostile_references__never_change_engine_request() {
    let docker = Docker::connect(None).unwrap();
    for input in inputs("image_references.txt") {
        let found = docker.find_image(&input).await;
        assert!(
            matches!(&found, Err(error) if error.message.contains("not an image reference")),
            "{input:?}: {found:?}"
        );
        assert!(docker.tag(&input, "panda-hostile:x").await.is_err(), "{input:?}");
        assert!(docker.remove_image(&input).await.is_err(), "{input:?}");
    }
}

/// Folders and links that look like a Dockerfile, or form cycles.
#[test]
fn hostile_tree__only_regular_dockerfile_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.join(at)).unwrap();
    std::fs::create_dir_all(root.join("a/Dockerfile")).unwrap();
    std::fs::create_dir_all(root.join("deep/er/and/deeper")).unwrap();
    std::fs::write(root.join("deep/er/and/deeper/Dockerfile"), "FROM scratch").unwrap();
    let links = BTreeMap::from([
        ("loop", "."),
        ("up", ".."),
        ("self", "self"),
        ("proc", "/proc/self/root"),
        ("a/back", "../a"),
    ]);
    for (at, to) in links {
        link(to, at);
    }
    assert_eq!(find_dockerfile(root, None).unwrap().path.to_str(), Some("deep/er/and/deeper/Dockerfile"));
    // A Dockerfile at the root is explicit, and is never replaced by another.
    link("/etc/passwd", "Dockerfile");
    assert!(matches!(find_dockerfile(root, None), Err(DockerfileError::Unusable(_))));
}
