//! Where a server's fetches go, and what is left of them when it dies.

use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::deploy;
use crate::support::process::{Serve, processes_in};
use crate::support::wait_for;
use crate::support::world::{World, tiny};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch_goes_through_the_proxy_of_the_environment() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let world = World::with_files(tiny()).await;
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let _serve = Serve::start(
            &world,
            &["--github-url=https://git.company.invalid"],
            &[(variable, &address), ("NO_PROXY", "127.0.0.1,localhost")],
        );
        deploy(&world, "main").await;
        let (mut connection, _) = proxy.accept().await.unwrap();
        let mut request = vec![0; 1024];
        let length = connection.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]);
        assert!(request.starts_with("CONNECT git.company.invalid:443"), "{variable}: {request}");
        assert!(!request.contains("authorization"), "the proxy sees no token: {request}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch_ends_with_a_server_that_is_killed() {
    let world = World::with_files(tiny()).await;
    // Connections are taken by the kernel, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut serve = Serve::start(&world, &[&format!("--github-url=http://{}", silent.local_addr().unwrap())], &[]);
    deploy(&world, "main").await;
    wait_for("a process fetches", async || !processes_in(&world.workspaces()).is_empty()).await;
    let (_connection, _) = silent.accept().await.unwrap();
    serve.signal(Signal::SIGKILL);
    serve.wait().await;
    wait_for("it has ended as well", async || processes_in(&world.workspaces()).is_empty()).await;
}
