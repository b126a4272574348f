//! The sandbox's git server, with further addresses of a git host: redirects and a silent one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use panda_sandbox::git::{Head, Repositories, SourceFile, router};
use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::http::serve;

/// The token for `/private/shop.git`.
pub const TOKEN: &str = "t0ken-5f2c";
const OWNERS: [(&str, Option<&str>); 2] = [("public", None), ("private", Some(TOKEN))];

/// A server with `/public/shop.git`, and `/private/shop.git` which needs [`TOKEN`]. `/renamed/…` redirects to the first on the same host, `/away/…`
/// to another host and `/port/…` to another port; `/silent/…` never answers.
pub struct GitServer {
    url: Url,
    asked: Arc<AtomicUsize>,
    old: Url,
    repositories: Repositories,
    folder: TempDir,
    _serving: [AbortOnDropHandle<()>; 2],
}

impl GitServer {
    /// Starts the server; both repositories have an empty branch `main`.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repositories = Repositories::open(folder.path()).await.unwrap();
        for (owner, token) in OWNERS {
            repositories.add_repository(owner, "shop", token.map(Into::into), "main", vec![]).await.unwrap();
        }
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let count = move |request: Request| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::ready(request)
        };
        let plain = router(repositories.clone()).layer(middleware::map_request(async |mut request: Request| {
            request.headers_mut().remove("git-protocol");
            request
        }));
        let (old, serving_old) = serve(plain).await;
        let other_port = old.clone();
        let app = Router::new()
            .route(
                "/port/{*rest}",
                any(async move |uri: Uri| {
                    let path = uri.to_string().replacen("/port/", "/public/", 1);
                    moved(other_port.join(&path).unwrap().as_str())
                }),
            )
            .route("/silent/{*rest}", any(std::future::pending::<()>))
            .route("/renamed/{*rest}", any(renamed))
            .route("/away/{*rest}", any(away))
            .merge(router(repositories.clone()))
            .layer(middleware::map_request(count));
        let (url, serving) = serve(app).await;
        Self { url, asked, old, repositories, folder, _serving: [serving, serving_old] }
    }

    /// The address of the public repository at a server that supports only git's protocols before version 2.
    pub fn old_repository(&self) -> Url {
        self.old.join("public/shop.git").unwrap()
    }

    /// The public repository's folder.
    pub fn on_disk(&self) -> git2::Repository {
        git2::Repository::open_bare(self.folder.path().join("public/shop.git")).unwrap()
    }

    /// The address of a repository, or of a path without one.
    pub fn repository(&self, path: &str) -> Url {
        self.url.join(path).unwrap()
    }

    /// Number of requests so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Commits on `branch` of the public repository the tree that `fill` builds: objects that only git's plumbing makes.
    pub fn commit_objects(&self, branch: &str, fill: impl FnOnce(&git2::Repository, &mut git2::TreeBuilder<'_>)) {
        let repository = self.on_disk();
        let mut tree = repository.treebuilder(None).unwrap();
        fill(&repository, &mut tree);
        let tree = repository.find_tree(tree.write().unwrap()).unwrap();
        let name = format!("refs/heads/{branch}");
        let parent = repository.find_reference(&name).unwrap().peel_to_commit().unwrap();
        let me = git2::Signature::now("test", "test@example.com").unwrap();
        repository.commit(Some(&name), &me, &me, "objects", &tree, &[&parent]).unwrap();
    }

    /// Commits one file on `branch` of both repositories and returns the public one's newest commit.
    pub async fn commit(&self, branch: &str, file: &str, text: &str) -> Head {
        for (owner, _) in OWNERS {
            let files = vec![SourceFile::new(file, text)];
            self.repositories.commit(owner, "shop", branch, files).await.unwrap();
        }
        self.repositories.head("public", "shop", branch).await.unwrap()
    }
}

async fn renamed(uri: Uri) -> Response {
    moved(&uri.to_string().replacen("/renamed/", "/public/", 1))
}

async fn away(headers: HeaderMap, uri: Uri) -> Response {
    let port = headers["host"].to_str().unwrap().split_once(':').unwrap().1;
    moved(&format!("http://localhost:{port}{}", uri.to_string().replacen("/away/", "/public/", 1)))
}

fn moved(location: &str) -> Response {
    (StatusCode::MOVED_PERMANENTLY, [("location", location)]).into_response()
}
