//! Pushes to a real registry (Debian's `docker-registry`) that asks for a password, as ECR does.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use panda::clients::{
    ErrorKind,
    aws::RegistryLogin,
    docker::{Docker, PushLine, PushedImage},
};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::docker::{build, context, engine, name};

/// A registry in its own folder; ended with the test.
struct Registry {
    address: String,
    process: Child,
    _folder: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let password = bcrypt::hash("right", 4).unwrap();
        fs::write(folder.path().join("htpasswd"), format!("AWS:{password}\n")).unwrap();
        for _ in 0..5 {
            let address = super::nobody().await.authority().to_owned();
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {path}/data}}}}\n\
                 http: {{addr: {address}}}\nauth: {{htpasswd: {{realm: test, path: {path}/htpasswd}}}}\n"
            );
            fs::write(folder.path().join("config.yml"), config).unwrap();
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(folder.path().join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
            let mut process = command.spawn().unwrap();
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(15) {
                if reqwest::get(format!("http://{address}/v2/")).await.is_ok() {
                    return Self { address, process, _folder: folder };
                }
                if process.try_wait().unwrap().is_some() {
                    break; // Somebody took the port: another one.
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("no registry came up");
    }

    fn login(&self, password: &str) -> RegistryLogin {
        let endpoint = format!("http://{}", self.address);
        RegistryLogin { username: "AWS".into(), password: SecretString::from(password), endpoint }
    }
}

async fn push(
    docker: &Docker,
    uri: &str,
    login: &RegistryLogin,
) -> (Result<PushedImage, panda::clients::ClientError>, Vec<PushLine>) {
    let (sender, mut receiver) = mpsc::channel(4);
    let collect = async {
        let mut lines = Vec::new();
        while let Some(line) = receiver.recv().await {
            lines.push(line);
        }
        lines
    };
    tokio::join!(docker.push(uri, "v1", login, sender), collect)
}

#[tokio::test]
async fn a_pushed_image_has_the_registrys_digest_and_a_second_push_changes_nothing() {
    let (docker, registry) = (engine(), Registry::start().await);
    let folder = context(&[("Dockerfile", "FROM busybox:1\nCOPY Dockerfile /\n")]);
    let tag = name();
    build(folder.path(), &tag, &[]).await.0.unwrap();
    let uri = format!("{}/acme-shop", registry.address);
    docker.tag(&tag, &format!("{uri}:v1")).await.unwrap();

    let (pushed, lines) = push(&docker, &uri, &registry.login("right")).await;
    let pushed = pushed.unwrap();
    assert!(lines.iter().any(|line| line.status == "Pushed"), "{lines:?}");
    assert!(lines.len() < 20, "byte counts are not told: {lines:?}");
    let manifest = reqwest::Client::new()
        .head(format!("http://{uri}/manifests/v1").replace("/acme-shop", "/v2/acme-shop"))
        .basic_auth("AWS", Some("right"))
        .header("accept", "application/vnd.docker.distribution.manifest.v2+json")
        .send()
        .await
        .unwrap();
    assert_eq!(manifest.headers()["docker-content-digest"].to_str().unwrap(), pushed.digest);
    let image = docker.find_image(&tag).await.unwrap().unwrap();
    assert_eq!(image.repo_digests, [format!("{uri}@{}", pushed.digest)]);

    let (again, lines) = push(&docker, &uri, &registry.login("right")).await;
    assert_eq!(again.unwrap(), pushed);
    assert!(lines.iter().any(|line| line.status == "Layer already exists"), "{lines:?}");

    let error = push(&docker, &uri, &registry.login("wr0ng")).await.0.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("wr0ng"));

    docker.remove_image(&format!("{uri}:v1")).await.unwrap();
    docker.remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_is_away_is_unavailable_and_an_image_that_was_never_built_is_not_found() {
    let docker = engine();
    let uri = format!("{}/acme-shop", super::nobody().await.authority());
    let login = RegistryLogin { username: "AWS".into(), password: SecretString::from("x"), endpoint: String::new() };
    assert_eq!(push(&docker, &uri, &login).await.0.unwrap_err().kind, ErrorKind::NotFound);
    docker.tag("busybox:1", &format!("{uri}:v1")).await.unwrap();
    let error = push(&docker, &uri, &login).await.0.unwrap_err();
    docker.remove_image(&format!("{uri}:v1")).await.unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
}
