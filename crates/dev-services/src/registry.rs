//! A real image registry that requires a password, as ECR does, and reports each push to a URL.

use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt as _;
use rand::distr::Alphanumeric;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use url::Url;

use super::child_guard::{ChildGuard, Program, RunAs, StopSignal};
use super::docker::Engine;
use super::error::DevServicesError;
use super::machine::{find_program, folder, free_port};
use super::registry_image;

const PART: &str = "image registry";
const REMEDY: &str = "Look at the log; the folder may be full or not ours to write to.";
const READY_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(5);
const PORT_TRIES: u32 = 5;
/// User name in every ECR token.
const USERNAME: &str = "AWS";
/// Lowest cost: each request of a push verifies the hash, and a random password cannot be guessed.
const BCRYPT_COST: u32 = 4;
const PASSWORD_LENGTH: usize = 40;

/// Location of a registry, and the receiver of its push notifications.
#[derive(Debug)]
pub struct RegistryOptions<'a> {
    /// Private folder of the registry; its images persist.
    pub dir: PathBuf,
    /// URL to which each push is reported (`http` or `https`).
    pub notification_url: Url,
    /// Engine to copy the registry program from when none is installed.
    pub engine: Option<&'a Engine>,
}

/// A running registry on a loopback port; engines connect without TLS.
#[derive(Debug)]
pub struct Registry {
    guard: ChildGuard,
    port: u16,
    password: SecretString,
}

impl Registry {
    /// Starts the registry and waits until it accepts its password.
    pub async fn start(options: RegistryOptions<'_>) -> Result<Self, DevServicesError> {
        if !matches!(options.notification_url.scheme(), "http" | "https") {
            let problem = format!("{} is not an http or https address", options.notification_url);
            return Err(DevServicesError::Input { field: "notification_url", problem });
        }
        let dir = folder(&options.dir)?;
        let executable = match find_program("docker-registry") {
            Some(installed) => installed,
            None => registry_image::program(options.engine, registry_image::IMAGE, &dir).await?,
        };
        let started = Instant::now();
        let mut tries = 0;
        loop {
            let attempt = Self::start_once(executable.clone(), &dir, &options.notification_url).await;
            let Err(DevServicesError::Start { tail, .. }) = &attempt else { return attempt };
            tries += 1;
            if !tail.contains("address already in use") || tries >= PORT_TRIES || started.elapsed() > READY_LIMIT {
                return attempt;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn start_once(executable: PathBuf, dir: &std::path::Path, notify: &Url) -> Result<Self, DevServicesError> {
        let port = free_port()?;
        let password = random_text();
        let hash = bcrypt::hash(password.expose_secret(), BCRYPT_COST)
            .map_err(|error| DevServicesError::file(dir)(std::io::Error::other(error)))?;
        let users = dir.join("htpasswd");
        write_private(&users, &format!("{USERNAME}:{hash}\n"))?;
        let config = dir.join("config.yml");
        write_private(&config, &configuration(dir, &users, port, notify).to_string())?;
        let guard = Program {
            part: PART,
            executable,
            args: vec!["serve".into(), config.into()],
            // Newer registries export traces by default.
            env: vec![("OTEL_TRACES_EXPORTER", "none".to_owned()), ("OTEL_SDK_DISABLED", "true".to_owned())],
            run_as: RunAs::Us,
            stop_signal: StopSignal::Term,
            grace: GRACE,
            log: dir.join("registry.log"),
            remedy: REMEDY,
        }
        .start()?;
        let mut registry = Self { guard, port, password };
        let url = format!("http://{}/v2/", registry.host_port());
        let client = reqwest::Client::new();
        let password = registry.password.clone();
        // The password is new at each start: only this registry accepts it, not another process on the port.
        let accepted = async || {
            let request = client.get(&url).basic_auth(USERNAME, Some(password.expose_secret())).timeout(ANSWER_LIMIT);
            request.send().await.is_ok_and(|answer| answer.status().is_success())
        };
        registry.guard.ready(READY_LIMIT, accepted).await?;
        Ok(registry)
    }

    /// `127.0.0.1:PORT`, the prefix of image names.
    pub fn host_port(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// User name for pushes.
    pub fn username(&self) -> &'static str {
        USERNAME
    }

    /// Password for pushes; new at each start.
    pub fn password(&self) -> &SecretString {
        &self.password
    }

    /// Stops the registry and waits for its end; its images stay in the folder.
    pub async fn stop(self) -> Result<(), DevServicesError> {
        self.guard.stop().await
    }
}

/// The registry's configuration. JSON is valid YAML, and quotes every path and URL correctly.
fn configuration(dir: &std::path::Path, users: &std::path::Path, port: u16, notify: &Url) -> Value {
    json!({
        "version": "0.1",
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": {
            "filesystem": { "rootdirectory": dir.join("images") },
            "delete": { "enabled": true },
        },
        "http": { "addr": format!("127.0.0.1:{port}"), "secret": random_text().expose_secret() },
        "auth": { "htpasswd": { "realm": "panda", "path": users } },
        "notifications": { "endpoints": [{
            "name": "panda",
            "url": notify.as_str(),
            "timeout": "5s",
            "threshold": 3,
            "backoff": "250ms",
        }] },
    })
}

fn random_text() -> SecretString {
    let text: String = rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect();
    text.into()
}

fn write_private(path: &std::path::Path, text: &str) -> Result<(), DevServicesError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(DevServicesError::file(path))
}
