//! The peers: nchan in one nginx worker, and better-sse in one Node.js process, each with one channel.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::viewers::Viewers;
use crate::{Fanout, ROUNDS};
use panda_benches::figures::median;
use panda_benches::process::{cpu_of, scheduled_seconds};

/// A running peer; dropping it ends its process.
struct Peer {
    child: Child,
    address: SocketAddr,
    /// Id of the process that does the work.
    worker: u32,
    path: &'static str,
    publish: &'static str,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // nginx ends its worker on SIGTERM, but not on SIGKILL.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Measures nchan with the settings of its documentation for an EventSource channel.
pub async fn nchan(count: usize) -> Fanout {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
         daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {dir}/pid; error_log {dir}/error.log;
         events {{ worker_connections 15000; }}
         http {{
             access_log off;
             client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;
             scgi_temp_path {dir}/s;
             server {{
                 listen 127.0.0.1:{port} backlog=4096;
                 location = /sub {{ nchan_subscriber eventsource; nchan_channel_id bench; }}
                 location = /pub {{ nchan_publisher; nchan_channel_id bench; }}
             }}
         }}",
        dir = dir.path().display()
    );
    let file = dir.path().join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let child = Command::new("/usr/sbin/nginx")
        .args(["-e", "/dev/null", "-c"])
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx with nchan: apt-get install nginx-light libnginx-mod-nchan");
    let address = listening(port).await;
    let worker = children(child.id()).pop().expect("a worker");
    measure(Peer { child, address, worker, path: "/sub", publish: "/pub" }, count).await
}

/// Measures better-sse with the server of its documentation.
pub async fn better_sse(count: usize) -> Fanout {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/better-sse");
    let installed = Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&dir).status();
    assert!(installed.unwrap().success(), "npm ci in {}", dir.display());
    let port = free_port();
    let child = Command::new("node").arg(dir.join("server.mjs")).arg(port.to_string()).spawn().unwrap();
    let address = listening(port).await;
    let worker = child.id();
    measure(Peer { child, address, worker, path: "/", publish: "/" }, count).await
}

async fn measure(peer: Peer, count: usize) -> Fanout {
    let http = reqwest::Client::new();
    let publish = format!("http://{}{}", peer.address, peer.publish);
    drop(Viewers::open(peer.address, peer.path, 100).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = resident(peer.worker);
    let mut viewers = Viewers::open(peer.address, peer.path, count).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let bytes_per_stream = (resident(peer.worker) - before) / count as f64;
    let mut rates = Vec::new();
    for n in 0..ROUNDS {
        let cpu = scheduled_seconds(peer.worker);
        let answer = http.post(&publish).body(format!("[Stage 1] line {n}")).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        viewers.all_have(n + 1).await;
        rates.push(count as f64 / (scheduled_seconds(peer.worker) - cpu));
    }
    Fanout { bytes_per_stream, deliveries_per_cpu_second: median(&rates) }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn listening(port: u16) -> SocketAddr {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + Duration::from_secs(10);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < deadline, "never listens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    address
}

fn children(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| cpu_of(*pid).is_some_and(|cpu| cpu.parent == parent)).collect()
}

fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1_024.0
}
