//! Debian's nginx as the current user, before a Panda.

use std::net::SocketAddr;
use std::time::Duration;

use panda_dev_services::DevServicesError;
use panda_dev_services::child_guard::{ChildGuard, Program, RunAs, StopSignal};
use tempfile::TempDir;

use crate::installed::{REMEDY, program};
use crate::process::on_free_port;

const READY_LIMIT: Duration = Duration::from_secs(30);

/// A running nginx; dropping it ends it.
pub struct Nginx {
    pub address: SocketAddr,
    pub url: String,
    _leash: ChildGuard,
    _dir: TempDir,
}

impl Nginx {
    /// Starts one that forwards everything to `panda`. `settings` are lines of its `location`; without any, nginx's defaults apply.
    pub async fn before(panda: SocketAddr, settings: &str) -> Self {
        Self::serving(&format!("location / {{\n      proxy_pass http://{panda};\n{settings}\n    }}")).await
    }

    /// Starts one with these lines of its `server`.
    pub async fn serving(server: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let start = async |listen| start(&dir, listen, server).await.map(|leash| (listen, leash));
        let (address, leash) = on_free_port("nginx", start).await;
        Self { address, url: format!("http://{address}"), _leash: leash, _dir: dir }
    }
}

async fn start(dir: &TempDir, listen: SocketAddr, server: &str) -> Result<ChildGuard, DevServicesError> {
    let at = dir.path().display();
    let config = dir.path().join("nginx.conf");
    // One process, which need not change its user: only root could. All files are in the folder.
    let text = format!(
        "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr notice;\nevents {{}}\n\
         http {{\n  access_log off;\n\
         client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  fastcgi_temp_path {at}/fastcgi;\n\
         uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n\
         server {{\n    listen {listen};\n    {server}\n  }}\n}}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut leash = Program {
        part: "nginx",
        executable: program(&["nginx"]),
        args: ["-c".into(), config.into_os_string(), "-p".into(), dir.path().into()].to_vec(),
        env: Vec::new(),
        run_as: RunAs::Us,
        stop_signal: StopSignal::Term,
        grace: Duration::from_secs(2),
        log: dir.path().join("nginx.log"),
        remedy: REMEDY,
    }
    .start()?;
    leash.ready(READY_LIMIT, async || tokio::net::TcpStream::connect(listen).await.is_ok()).await?;
    Ok(leash)
}
