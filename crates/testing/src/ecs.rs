//! Containers of a task definition, as Fargate would run them, as far as an engine can: on the host's network.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, HostConfig};
use panda_dev_services::Engine;
use serde_json::Value;
use tempfile::TempDir;

use crate::container::{Contained, Given};

/// A task with its volumes and the secrets that its containers name.
pub struct Task {
    definition: Value,
    secrets: BTreeMap<&'static str, String>,
    folder: TempDir,
}

impl Task {
    /// Creates the volumes as Fargate does: only root may write to them.
    pub fn new(definition: Value, secrets: BTreeMap<&'static str, String>) -> Self {
        let open = std::fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(open).tempdir().unwrap();
        for volume in each(&definition["volumes"], "name") {
            std::fs::create_dir(folder.path().join(volume)).unwrap();
        }
        Self { definition, secrets, folder }
    }

    /// Folder of a volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn env(&self, container: &Value) -> Vec<String> {
        let plain = container["environment"].as_array().into_iter().flatten();
        let plain = plain.map(|one| format!("{}={}", text(&one["name"]), text(&one["value"])));
        let secret = each(&container["secrets"], "name").into_iter();
        plain.chain(secret.map(|name| format!("{name}={}", self.secrets[name]))).collect()
    }

    fn binds(&self, container: &Value) -> Vec<String> {
        let bind = |mount: &Value| {
            let end = if mount["readOnly"] == true { ":ro" } else { "" };
            format!("{}:{}{end}", self.volume(text(&mount["sourceVolume"])).display(), text(&mount["containerPath"]))
        };
        container["mountPoints"].as_array().unwrap().iter().map(bind).collect()
    }

    /// Runs a container as root, with the capabilities that Fargate grants by default, and expects that it succeeds.
    pub async fn run(&self, engine: &Engine, image: &str, name: &str) {
        let container = container(&self.definition, name);
        let config = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(words(&container["command"])),
            env: Some(self.env(container)),
            host_config: Some(HostConfig {
                readonly_rootfs: container["readonlyRootFilesystem"].as_bool(),
                network_mode: Some("none".to_owned()),
                binds: Some(self.binds(container)),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let docker = engine.docker().clone();
        let id = docker.create_container(None, config).await.unwrap().id;
        let made = Contained { docker, id };
        made.go().await;
        assert_eq!(made.end().await, 0, "{}", made.log().await);
        made.remove().await;
    }

    /// Starts a container with further variables.
    pub async fn start(&self, engine: &Engine, image: &str, name: &str, more: &[(&str, String)]) -> Contained {
        let container = container(&self.definition, name);
        let mut env = self.env(container);
        env.extend(more.iter().map(|(name, value)| format!("{name}={value}")));
        let given = Given {
            args: words(&container["command"]),
            env,
            binds: self.binds(container),
            user: container["user"].as_str().map(str::to_owned),
            memory: 2 << 30,
            ..Given::default()
        };
        Contained::start(engine.docker(), image, given).await
    }
}

/// The definition of one container of a task.
pub fn container<'a>(definition: &'a Value, name: &str) -> &'a Value {
    definition["containerDefinitions"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

/// The texts at `key` in each element of a list.
pub fn each<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|one| text(&one[key])).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| text(word).to_owned()).collect()
}
