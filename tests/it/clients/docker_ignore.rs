//! `.dockerignore` compared with Docker's own client: the client sends its context to a fake engine, and the paths are compared with Panda's.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::DefaultBodyLimit, extract::State, routing::post};
use futures_util::{StreamExt as _, stream};
use panda::clients::build_context::{BuildContext, ContextError, Descent};
use tempfile::TempDir;
use tokio::{net::UnixListener, process::Command};

use super::docker::context;

/// Files of the tree, one per line of `docker_ignore/paths.txt`; `docker_ignore/patterns.txt` has the pattern lists.
const PATHS: &str = include_str!("docker_ignore/paths.txt");
const LISTS: &str = include_str!("docker_ignore/patterns.txt");

/// A fake engine that accepts every build and records the context.
struct Engine {
    folder: TempDir,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Engine {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let ping = || async { [("Api-Version", "1.41"), ("OSType", "linux"), ("Content-Type", "text/plain")] };
        let build = |State(sent): State<Arc<Mutex<Vec<u8>>>>, body: Bytes| async move {
            *sent.lock().unwrap() = body.to_vec();
            ([("Content-Type", "application/json")], "{\"stream\":\"sha256:0\\n\"}\r\n")
        };
        let routes = Router::new()
            .route("/_ping", axum::routing::get(ping).head(ping))
            .route("/{version}/build", post(build))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&sent));
        let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { folder, sent }
    }

    /// The paths that `docker build` sends of `root`, or its error message.
    async fn paths_of(&self, root: &Path) -> Result<BTreeSet<PathBuf>, String> {
        self.sent.lock().unwrap().clear();
        let run = Command::new("docker")
            .args(["build", "--file"])
            .args([&root.join("Dockerfile"), root])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.folder.path())
            .env("DOCKER_BUILDKIT", "0")
            .env("DOCKER_HOST", format!("unix://{}", self.folder.path().join("engine.sock").display()))
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let body = std::mem::take(&mut *self.sent.lock().unwrap());
        if body.is_empty() {
            return Err(String::from_utf8_lossy(&run.stderr).into_owned());
        }
        let mut archive = tar::Archive::new(body.as_slice());
        let entries = archive.entries().map_err(|error| format!("no tar: {error}"))?;
        Ok(entries.map(|entry| entry.unwrap().path().unwrap().into_owned()).collect())
    }
}

fn ours(root: &Path) -> Result<BTreeSet<PathBuf>, ContextError> {
    let context = BuildContext::open(root, Path::new(""), Path::new("Dockerfile"), Descent::Classic)?;
    Ok(context.entries().map(|entry| entry.unwrap().path).collect())
}

/// The client sends the two files that the engine reads regardless of the patterns, and leaves it to the engine to create folders that are named only
/// by their contents.
fn comparable(paths: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let paths = paths.into_iter().filter(|path| path != Path::new("Dockerfile") && path != Path::new(".dockerignore"));
    let with_parents = |path: PathBuf| path.ancestors().map(Path::to_owned).collect::<Vec<_>>();
    paths.flat_map(with_parents).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// A line of the data with `\n`, `\r`, `\t`, `\u{…}` for characters that it cannot hold.
fn unescaped(line: &str) -> String {
    let mut text = line.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t");
    while let Some((before, rest)) = text.split_once("\\u{") {
        let (code, after) = rest.split_once('}').unwrap();
        text = format!("{before}{}{after}", char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
    }
    text
}

/// Lists of one to four patterns, combined at random from pieces, for cases that were not foreseen.
fn put_together(count: usize) -> Vec<String> {
    const PIECES: [&str; 32] = [
        "a", "b", "c", "z", "/", "/", "/", "*", "*", "**", "**/", "?", ".", "..", "[ab]", "[^a]", "[a-c]", "\\", "\\*",
        "x", ".env", "abc", "sub", " ", "~", "deep", "|", "{2}", "{", "}", "$", "+",
    ];
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut pattern = || {
        let exception = if next(3) == 0 { "!" } else { "" };
        let pieces: String = (0..=next(5)).map(|_| PIECES[next(PIECES.len())]).collect();
        format!("{exception}{pieces}")
    };
    let mut lists: Vec<Vec<String>> = (0..count).map(|_| vec![pattern()]).collect();
    for (index, list) in lists.iter_mut().enumerate() {
        list.extend((0..index % 4).map(|_| pattern()));
        if index % 5 == 0 {
            list.insert(0, "*".into());
        }
    }
    lists.into_iter().map(|list| list.join("\n")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn docker_ignore__same_files_as_docker_client() {
    if Command::new("docker").arg("--version").output().await.is_err() {
        println!("SKIPPED: there is no program `docker` to compare with; scripts/install.sh test installs it");
        return;
    }
    let paths: Vec<String> = PATHS.lines().map(unescaped).collect();
    let mut lists: Vec<String> = LISTS.lines().filter(|line| !line.starts_with("## ")).map(unescaped).collect();
    assert!(lists.len() >= 150 && paths.len() >= 50, "{} lists, {} paths", lists.len(), paths.len());
    lists.extend(put_together(400));
    let count = lists.len();
    let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
    let differences: Vec<String> = stream::iter(lists)
        .map(|list| {
            let folder = context(&files);
            fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
            fs::write(folder.path().join(".dockerignore"), &list).unwrap();
            tokio::spawn(async move {
                let theirs = Engine::start().paths_of(folder.path()).await;
                match (ours(folder.path()), theirs) {
                    (Ok(ours), Ok(theirs)) => {
                        let (ours, theirs) = (comparable(ours), comparable(theirs));
                        let more: Vec<_> = ours.difference(&theirs).collect();
                        let fewer: Vec<_> = theirs.difference(&ours).collect();
                        (ours != theirs).then(|| format!("{list:?}: ours alone {more:?}, theirs alone {fewer:?}"))
                    }
                    (Err(_), Err(_)) => None,
                    // A malformed exception that Docker never evaluated; a Unicode class, which is refused.
                    (Err(ContextError::IgnoreRules { .. }), Ok(_)) if list.contains('!') || list.contains("\\p") => {
                        None
                    }
                    (ours, theirs) => Some(format!("{list:?}: ours {ours:?}, theirs {theirs:?}")),
                }
            })
        })
        .buffer_unordered(4)
        .filter_map(|difference| async { difference.unwrap() })
        .collect()
        .await;
    println!("compared {count} lists over {} paths with Docker's client", paths.len());
    assert!(differences.is_empty(), "{} of {count} lists differ:\n{}", differences.len(), differences.join("\n"));
}
