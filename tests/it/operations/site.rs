//! A Postgres server as a hosted one: an administrator who may create roles and databases and is no superuser. Beside it a folder in which the documents'
//! commands run.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use panda_testing::Program as _;
use panda_testing::process::command::{Ended, run};
use panda_testing::process::free_address;
use panda_testing::root;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::panda::Panda;
use crate::support::postgres_servers::Server;

/// Password of the administrator `master`.
const PASSWORD: &str = "x";

pub struct Site {
    pub server: Server,
    folder: TempDir,
}

impl Site {
    /// The server, and a folder with the program, the scripts of the checkout, and stand-ins for the cluster. None without that Postgres.
    pub async fn new(version: u32) -> Option<Self> {
        let server = Server::of(version, &[]).await?;
        server.sql(&format!("CREATE ROLE master LOGIN CREATEROLE CREATEDB PASSWORD '{PASSWORD}'")).await;
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("programs");
        std::fs::create_dir_all(&programs).unwrap();
        symlink(Panda::path(), programs.join("panda")).unwrap();
        symlink(root().join("scripts"), folder.path().join("scripts")).unwrap();
        let kubectl = programs.join("kubectl");
        std::fs::write(&kubectl, include_str!("kubectl.sh")).unwrap();
        std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
        let cluster = folder.path().join("cluster");
        std::fs::create_dir(&cluster).unwrap();
        for server in 1..=2 {
            std::fs::write(cluster.join(format!("address.{server}")), free_address().to_string()).unwrap();
        }
        Some(Self { server, folder })
    }

    /// A file or folder in which the commands run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a file there.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Base URL of a server of the stand-in cluster.
    pub fn url(&self, server: u8) -> String {
        format!("http://{}", self.text(&format!("cluster/address.{server}")))
    }

    /// Runs a script as a reader of the documents does.
    pub async fn run(&self, script: &str) -> Ended {
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars()
            .filter(|(name, _)| name.starts_with("PANDA_") || name.starts_with("AWS_") || name.starts_with("PG"))
        {
            command.env_remove(name);
        }
        let path = format!("{}:{}", self.path("programs").display(), std::env::var("PATH").unwrap());
        let address = format!("127.0.0.1:{}", self.server.port);
        command.args(["-euo", "pipefail", "-c", script]).current_dir(self.folder.path()).kill_on_drop(true);
        command
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .env("CLUSTER", self.path("cluster"))
            .env("DATABASE", &address);
        command.env("ADMIN_URL", self.server.url_as("master", PASSWORD, "postgres")).env("PANDA_SERVER", self.url(1));
        run(command.stdin(std::process::Stdio::null())).await
    }

    /// Runs a script that must succeed.
    pub async fn succeeds(&self, script: &str) -> Ended {
        let ended = self.run(script).await;
        assert_eq!(ended.code, 0, "{}\n{}\n{script}", ended.stderr, ended.stdout);
        ended
    }

    /// URL of the owner's database of this name, once the documents' commands have made the role.
    pub fn owner_url(&self, database: &str) -> String {
        self.server.url_as("panda", &self.text("owner.password"), database)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for server in 1..=2 {
            end(&self.path(&format!("cluster/pid.{server}")));
        }
    }
}

/// Ends the server whose process id the file has.
fn end(file: &Path) {
    let pid = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    if let Some(pid) = pid {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
