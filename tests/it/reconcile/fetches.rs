//! Proxy and end of a server's fetches.

use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::deploy;
use crate::support::environment::{Environment, tiny};
use crate::support::process::{Serve, processes_in};
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch__uses_proxy_of_environment() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let env = Environment::with_files(tiny()).await;
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let _serve = Serve::start(
            &env,
            &["--github-url=https://git.company.invalid"],
            &[(variable, &address), ("NO_PROXY", "127.0.0.1,localhost")],
        );
        deploy(&env, "main").await;
        let (mut connection, _) = proxy.accept().await.unwrap();
        let mut request = vec![0; 1024];
        let length = connection.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]);
        assert!(request.starts_with("CONNECT git.company.invalid:443"), "{variable}: {request}");
        assert!(!request.contains("authorization"), "the proxy sees no token: {request}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch__child_ends_with_killed_server() {
    let env = Environment::with_files(tiny()).await;
    // The kernel accepts connections, but no program answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut serve = Serve::start(&env, &[&format!("--github-url=http://{}", silent.local_addr().unwrap())], &[]);
    deploy(&env, "main").await;
    wait_for("a process fetches", async || !processes_in(&env.workspaces()).is_empty()).await;
    let (_connection, _) = silent.accept().await.unwrap();
    serve.signal(Signal::SIGKILL);
    serve.wait().await;
    wait_for("the fetch child has ended", async || processes_in(&env.workspaces()).is_empty()).await;
}
