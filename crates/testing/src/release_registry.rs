//! A registry that releases are pushed to, with the programs docker and helm signed in to it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use panda_dev_services::{Engine, Registry, RegistryOptions};
use reqwest::header::ACCEPT;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use crate::{helm, root};

/// A registry that requires a password, with programs that are signed in.
pub struct ReleaseRegistry {
    pub engine: Engine,
    pub registry: Registry,
    folder: TempDir,
}

impl ReleaseRegistry {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::find_or_start(&folder.path().join("docker")).await.unwrap();
        let options = RegistryOptions {
            dir: folder.path().join("registry"),
            // Nothing listens there.
            notification_url: Url::parse("http://127.0.0.1:9/").unwrap(),
            engine: Some(&engine),
        };
        let registry = Registry::start(options).await.unwrap();
        std::fs::create_dir(folder.path().join("programs")).unwrap();
        let helm = folder.path().join("programs/helm");
        let script = format!(
            "#!/bin/sh\nexec {} {} \"$@\"\n",
            helm::installed("bin/python").display(),
            root().join("crates/testing/helm_push.py").display()
        );
        std::fs::write(&helm, script).unwrap();
        std::fs::set_permissions(helm, std::fs::Permissions::from_mode(0o755)).unwrap();
        let target = Self { engine, registry, folder };
        let host = target.registry.host_port();
        target.signed_in("docker", &["login", &host]);
        target.signed_in("helm", &["registry", "login", &host, "--plain-http"]);
        target
    }

    /// Puts the programs and their logins in front.
    pub fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = format!("{}:{}", self.path("programs").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("RELEASE_PLAIN_HTTP", "1");
        command.env("DOCKER_HOST", self.engine.host()).env("DOCKER_CONFIG", self.path("docker-config"));
        command.env("HELM_CREDENTIALS", self.path("helm-credentials"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn signed_in(&self, program: &str, args: &[&str]) {
        let mut command = Command::new(if program == "helm" { self.path("programs/helm") } else { program.into() });
        command.args(args).args(["--username", self.registry.username(), "--password-stdin"]);
        let mut child = self.prepare(&mut command).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.registry.password().expose_secret().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{program} login");
    }

    pub async fn get(&self, path: &str, accept: &str) -> (String, Vec<u8>) {
        let url = format!("http://{}/v2/{path}", self.registry.host_port());
        let request = reqwest::Client::new().get(url).header(ACCEPT, accept);
        let request = request.basic_auth(self.registry.username(), Some(self.registry.password().expose_secret()));
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        let digest = answer.headers().get("docker-content-digest").unwrap().to_str().unwrap().to_owned();
        (digest, answer.bytes().await.unwrap().to_vec())
    }

    pub async fn manifest(&self, name: &str, reference: &str, accept: &str) -> (String, Value) {
        let (digest, body) = self.get(&format!("{name}/manifests/{reference}"), accept).await;
        (digest, serde_json::from_slice(&body).unwrap())
    }
}
