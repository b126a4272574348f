//! The clients, each against the real service it talks to.

mod aws;
mod bounded_answers;
pub(crate) mod docker;
pub(crate) mod docker_context;
mod docker_ignore;
mod docker_push;
pub(crate) mod docker_tls;
mod gates;
mod git;
mod git_hostile;
mod git_machine;
mod git_revisions;
mod git_tls;
mod github;
mod probe;

pub(crate) use panda_testing::http::serve_until_end as serve;
use tokio::net::TcpListener;
use url::Url;

/// An address without a listener: the port was free a moment ago.
async fn unreachable_address() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap()
}
