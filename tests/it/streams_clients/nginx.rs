//! Debian's nginx as the current user, before a Panda.

use std::net::SocketAddr;
use std::time::Duration;

use panda::sandbox::parts::PartsError;
use panda::sandbox::parts::leash::{Leash, Program, RunAs, StopSignal};
use tempfile::TempDir;

use super::{REMEDY, program};
use crate::support::process::free_address;

const READY_LIMIT: Duration = Duration::from_secs(30);
const PORT_TRIES: u32 = 5;

/// A running nginx; it ends with this value.
pub struct Nginx {
    /// Where it answers.
    pub url: String,
    _leash: Leash,
    _dir: TempDir,
}

impl Nginx {
    /// Starts one that passes everything on to `panda`. `settings` are lines of its `location`; without any, all is nginx's default.
    pub async fn before(panda: SocketAddr, settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..PORT_TRIES {
            let listen = free_address();
            match start(&dir, listen, panda, settings).await {
                Ok(leash) => return Self { url: format!("http://{listen}"), _leash: leash, _dir: dir },
                // Somebody took the port that was free a moment ago.
                Err(PartsError::Start { tail, .. }) if tail.contains("Address already in use") => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("nginx found no port in {PORT_TRIES} tries");
    }
}

async fn start(dir: &TempDir, listen: SocketAddr, panda: SocketAddr, settings: &str) -> Result<Leash, PartsError> {
    let at = dir.path().display();
    let config = dir.path().join("nginx.conf");
    // One process: it then need not change its user, which only root could. All files are in the folder.
    let text = format!(
        "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr notice;\nevents {{}}\n\
         http {{\n  access_log off;\n\
         client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  fastcgi_temp_path {at}/fastcgi;\n\
         uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n\
         server {{\n    listen {listen};\n    location / {{\n      proxy_pass http://{panda};\n{settings}\n    }}\n  }}\n}}\n"
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
