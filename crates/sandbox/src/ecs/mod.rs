//! Simulates ECS and its load balancer with real containers behind a real proxy.

mod balancer;
mod container;
mod placeholder;
mod port;
mod service;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use super::aws::error::AwsError;
use super::options::RegistryAddress;
pub use container::{Condition, ContainerError, RunningContainer};
pub use service::{EcsService, ListenerView, Retired, ServiceStart, TargetGroupView};

/// Label of every container that a sandbox started; the value is the id of the sandbox.
pub const CONTAINER_LABEL: &str = "dev.panda.sandbox";

/// The engine and the services on it.
pub struct Fleet {
    docker: Docker,
    initial_image: Option<String>,
    http: reqwest::Client,
    /// Id of this sandbox, the value of [`CONTAINER_LABEL`].
    instance: String,
    /// Containers that are being created and started.
    starting: TaskTracker,
    services: Mutex<HashMap<String, Arc<OnceCell<Arc<EcsService>>>>>,
}

impl Fleet {
    pub fn new(docker: Docker, initial_image: Option<String>) -> Result<Self, reqwest::Error> {
        // No connection pool: small servers close connections at any time, and the backends change.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_mins(1))
            .build()?;
        let instance = uuid::Uuid::new_v4().to_string();
        Ok(Self { docker, initial_image, http, instance, starting: TaskTracker::new(), services: Mutex::default() })
    }

    /// The label of the containers that this sandbox started.
    pub fn label(&self) -> String {
        format!("{CONTAINER_LABEL}={}", self.instance)
    }

    /// Returns the repository's service with blue running, and starts it when absent. Executions of other repositories do not
    /// wait for it; after a failed start, the next execution tries again.
    pub async fn service(&self, start: &ServiceStart, repository: &str) -> Result<Arc<EcsService>, ContainerError> {
        let cell = {
            let mut services = self.services.lock();
            Arc::clone(services.entry(repository.to_owned()).or_default())
        };
        let service =
            cell.get_or_try_init(|| async { EcsService::start(self, start, repository).await.map(Arc::new) }).await?;
        Ok(Arc::clone(service))
    }

    /// The repository's service, if it was started.
    pub fn running_service(&self, repository: &str) -> Option<Arc<EcsService>> {
        let services = self.services.lock();
        services.get(repository)?.get().cloned()
    }

    /// All services that were started.
    pub fn running_services(&self) -> Vec<Arc<EcsService>> {
        self.services.lock().values().filter_map(|cell| cell.get().cloned()).collect()
    }

    /// Fetches a manifest from the registry.
    pub async fn manifest(
        &self,
        registry: &RegistryAddress,
        name: &str,
        digest: &str,
        media_type: &str,
    ) -> Result<String, AwsError> {
        let url = format!("http://{}/v2/{name}/manifests/{digest}", registry.host_port);
        let request = self.http.get(url).header("accept", media_type);
        let answer = request.basic_auth(&registry.username, Some(registry.password.expose_secret())).send().await;
        let text = async { answer?.error_for_status()?.text().await }.await;
        text.map_err(|error: reqwest::Error| AwsError::server("ServerException", format!("the registry: {error}")))
    }

    /// Puts a manifest under a tag. The registry must already have its layers.
    pub async fn put_manifest(
        &self,
        registry: &RegistryAddress,
        name: &str,
        tag: &str,
        media_type: &str,
        manifest: String,
    ) -> Result<(), AwsError> {
        let url = format!("http://{}/v2/{name}/manifests/{tag}", registry.host_port);
        let request = self.http.put(url).header("content-type", media_type).body(manifest);
        let answer = request.basic_auth(&registry.username, Some(registry.password.expose_secret())).send().await;
        let put = answer.and_then(reqwest::Response::error_for_status);
        put.map(drop).map_err(|error| AwsError::server("ServerException", format!("the registry: {error}")))
    }
}
