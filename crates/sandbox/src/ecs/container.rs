//! Runs, watches and removes containers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error as DockerError;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt};
use secrecy::ExposeSecret;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::super::options::RegistryAddress;
use super::{CONTAINER_LABEL, Fleet, port};

const LOG_TAIL: &str = "5";
const MAX_LOG_CHARS: usize = 1000;
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Number of names that Panda gives an image in the engine, and removes after the push.
const NAMES_OF_AN_IMAGE: u32 = 2;

/// An error of a container, worded as ECS does.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error("CannotPullContainerError: {image}: {source}")]
    Pull { image: String, source: DockerError },
    #[error("CannotStartContainerError: {image}: {source}")]
    Start { image: String, source: DockerError },
    #[error("Essential container in task exited: exit code {code}: {log}")]
    Exited { code: i64, log: String },
    #[error("Task failed container health checks: nothing listens on the port in PORT after {0:?}")]
    Silent(Duration),
    #[error("RESOURCE:PORTS: {0}")]
    Network(#[from] std::io::Error),
    #[error("the deployment was stopped while its task started")]
    Stopped,
    #[error("the container engine: {0}")]
    Engine(DockerError),
}

#[derive(Clone, Debug)]
pub struct RunningContainer {
    pub id: String,
    pub address: SocketAddr,
}

/// The condition of a container.
#[derive(Debug, PartialEq, Eq)]
pub enum Condition {
    /// Running, and its port accepts connections.
    Listening,
    /// Running, without accepting connections (or not probed).
    Quiet,
    /// Exited for an internal reason.
    Exited { code: i64, log: String },
    /// Exited because another process had its port.
    PortTaken,
}

impl Fleet {
    /// Starts a container of `image` on the host's network with a free port in `PORT`. Pulls a missing image with the
    /// credentials of its registry.
    pub async fn run(
        &self,
        image: &str,
        registry: Option<&RegistryAddress>,
        repository: &str,
        role: &str,
    ) -> Result<RunningContainer, ContainerError> {
        self.ensure_image(image, registry).await?;
        let address = port::free_port().await?;
        let labels =
            [(CONTAINER_LABEL, self.instance.as_str()), ("dev.panda.repository", repository), ("dev.panda.role", role)];
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            env: Some(vec![format!("PORT={}", address.port())]),
            labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            host_config: Some(HostConfig { network_mode: Some("host".to_owned()), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let mut started = self.start_whole(body.clone()).await;
        for _ in 0..NAMES_OF_AN_IMAGE {
            if !matches!(started, Err(DockerError::DockerResponseServerError { status_code: 404, .. })) {
                break;
            }
            // The builder uses the same engine, and may remove the image between check and start. Real hosts pull separately.
            self.ensure_image(image, registry).await?;
            started = self.start_whole(body.clone()).await;
        }
        let id = started.map_err(|source| ContainerError::Start { image: image.to_owned(), source })?;
        Ok(RunningContainer { id, address })
    }

    /// Creates and starts a container in a separate task that completes even if the caller is cancelled: otherwise a
    /// container created after the cancellation would never be removed.
    async fn start_whole(&self, body: ContainerCreateBody) -> Result<String, DockerError> {
        let docker = self.docker.clone();
        let work = self.starting.spawn(async move {
            let id = docker.create_container(None, body).await?.id;
            match docker.start_container(&id, None).await {
                Ok(()) => Ok(id),
                Err(error) => {
                    remove(&docker, &id).await;
                    Err(error)
                }
            }
        });
        work.await.unwrap_or_else(|error| Err(DockerError::IOError { err: std::io::Error::other(error) }))
    }

    async fn ensure_image(&self, image: &str, registry: Option<&RegistryAddress>) -> Result<(), ContainerError> {
        match self.docker.inspect_image(image).await {
            Ok(_) => return Ok(()),
            Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(error) => return Err(ContainerError::Engine(error)),
        }
        let (name, tag) = split_reference(image);
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let login =
            registry.filter(|registry| image.starts_with(&format!("{}/", registry.host_port))).map(|registry| {
                DockerCredentials {
                    username: Some(registry.username.clone()),
                    password: Some(registry.password.expose_secret().to_owned()),
                    serveraddress: Some(registry.host_port.clone()),
                    ..DockerCredentials::default()
                }
            });
        let pulled = self.docker.create_image(Some(options), None, login).try_for_each(|_| async { Ok(()) }).await;
        pulled.map_err(|source| ContainerError::Pull { image: image.to_owned(), source })
    }

    /// Watches until the container's port accepts connections, it exits, or `patience` has passed.
    pub async fn watch(&self, running: &RunningContainer, patience: Duration) -> Result<Condition, ContainerError> {
        let deadline = Instant::now() + patience;
        loop {
            let condition = self.condition(running, true).await?;
            if condition != Condition::Quiet || Instant::now() >= deadline {
                return Ok(condition);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Watches that the container keeps running for `period`. Does not connect to its port.
    pub async fn stays(&self, running: &RunningContainer, period: Duration) -> Result<Condition, ContainerError> {
        let deadline = Instant::now() + period;
        loop {
            let condition = self.condition(running, false).await?;
            if condition != Condition::Quiet || Instant::now() >= deadline {
                return Ok(condition);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn condition(&self, running: &RunningContainer, connect: bool) -> Result<Condition, ContainerError> {
        // Connect before reading the state: after the container's end, another process may answer on the port.
        let listening = connect && TcpStream::connect(running.address).await.is_ok();
        let options = None::<InspectContainerOptions>;
        let state = self
            .docker
            .inspect_container(&running.id, options)
            .await
            .map_err(ContainerError::Engine)?
            .state
            .unwrap_or_default();
        if state.running == Some(true) {
            return Ok(if listening { Condition::Listening } else { Condition::Quiet });
        }
        if TcpListener::bind(running.address).await.is_err() {
            return Ok(Condition::PortTaken);
        }
        let log = self.log_tail(&running.id).await;
        // The other process may have released the port since.
        if port::was_taken(&log) {
            return Ok(Condition::PortTaken);
        }
        Ok(Condition::Exited { code: state.exit_code.unwrap_or(-1), log })
    }

    async fn log_tail(&self, id: &str) -> String {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(LOG_TAIL).build();
        let lines: Vec<String> = self
            .docker
            .logs(id, Some(options))
            .filter_map(|line| async { line.ok().map(|line| line.to_string()) })
            .collect()
            .await;
        lines.concat().trim().chars().take(MAX_LOG_CHARS).collect()
    }

    /// Stops and removes a container. Succeeds if it no longer exists.
    pub async fn remove(&self, id: &str) {
        remove(&self.docker, id).await;
    }

    /// Waits for the containers that are being started. The caller must not start new ones.
    pub async fn settle(&self) {
        self.starting.close();
        self.starting.wait().await;
    }

    /// Removes every container that this sandbox started, and waits until all are gone: the engine also returns
    /// when another client's removal is still in progress.
    pub async fn clear(&self) {
        let filters = HashMap::from([("label", vec![self.label()])]);
        loop {
            let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
            let found = match self.docker.list_containers(Some(options)).await {
                Ok(found) if found.is_empty() => return,
                Ok(found) => found,
                Err(error) => return tracing::warn!(%error, "sandbox could not list its containers"),
            };
            for id in found.into_iter().filter_map(|container| container.id) {
                self.remove(&id).await;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

async fn remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await {
        // 409: a removal is in progress.
        Ok(()) | Err(DockerError::DockerResponseServerError { status_code: 404 | 409, .. }) => {}
        Err(error) => tracing::warn!(%error, container = id, "sandbox could not remove a container"),
    }
}

/// Splits an image reference into name and tag or digest; `latest` when it has neither.
fn split_reference(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        return (name, digest);
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_names_with_ports() {
        assert_eq!(split_reference("127.0.0.1:5000/acme"), ("127.0.0.1:5000/acme", "latest"));
        assert_eq!(split_reference("127.0.0.1:5000/acme:v1"), ("127.0.0.1:5000/acme", "v1"));
        assert_eq!(split_reference("127.0.0.1:5000/acme@sha256:00"), ("127.0.0.1:5000/acme", "sha256:00"));
        assert_eq!(split_reference("busybox"), ("busybox", "latest"));
    }
}
