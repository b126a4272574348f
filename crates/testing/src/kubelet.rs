//! Pods of rendered manifests in containers, as the kubelet would run them, as far as an engine can.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use panda_dev_services::Engine;
use serde_json::Value;
use tempfile::TempDir;

use crate::container::{Contained, Given};
use crate::helm::container;

/// The cluster's state: objects, and folders for volumes.
pub struct Cluster {
    pub objects: Vec<Value>,
    pub folder: TempDir,
}

impl Cluster {
    /// The value of a secret's key.
    fn secret(&self, name: &str, key: &str) -> &str {
        let is = |object: &&Value| object["kind"] == "Secret" && object["metadata"]["name"] == name;
        let secret = self.objects.iter().find(is).unwrap_or_else(|| panic!("there is no secret {name}"));
        secret["stringData"][key].as_str().unwrap_or_else(|| panic!("{name} has no {key}"))
    }

    /// The folder of a pod's volume, created on first use.
    fn volume(&self, pod: &Value, name: &str) -> String {
        let volume = pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == name).unwrap();
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        open(&folder, if volume["secret"].is_object() { 0o755 } else { 0o777 });
        let secret = volume["secret"]["secretName"].as_str();
        for item in volume["secret"]["items"].as_array().into_iter().flatten() {
            let file = folder.join(item["path"].as_str().unwrap());
            std::fs::write(&file, self.secret(secret.unwrap(), item["key"].as_str().unwrap())).unwrap();
            open(&file, 0o644);
        }
        folder.display().to_string()
    }

    /// Starts a container of a pod from its manifest, in a cluster where services have their usual names.
    pub async fn start(&self, engine: &Engine, image: &str, pod: &Value, name: &str) -> Contained {
        let container = container(pod, name);
        let texts =
            |list: &Value| list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        let env = container["env"].as_array().unwrap().iter().map(|env| {
            let of = &env["valueFrom"]["secretKeyRef"];
            let value = env["value"]
                .as_str()
                .unwrap_or_else(|| self.secret(of["name"].as_str().unwrap(), of["key"].as_str().unwrap()));
            format!("{}={value}", env["name"].as_str().unwrap())
        });
        let mounts = container["volumeMounts"].as_array().into_iter().flatten().map(|mount| {
            let end = if mount["readOnly"] == true { ":ro" } else { "" };
            format!(
                "{}:{}{end}",
                self.volume(pod, mount["name"].as_str().unwrap()),
                mount["mountPath"].as_str().unwrap()
            )
        });
        let of_pod = &pod["securityContext"];
        let mebibytes = container["resources"]["limits"]["memory"].as_str().unwrap().strip_suffix("Mi").unwrap();
        let given = Given {
            args: texts(&container["args"]),
            env: env.collect(),
            binds: mounts.collect(),
            user: Some(format!("{}:{}", of_pod["runAsUser"], of_pod["runAsGroup"])),
            hosts: vec!["panda.panda.svc:127.0.0.1".to_owned()],
            memory: mebibytes.parse::<i64>().unwrap() << 20,
        };
        Contained::start(engine.docker(), image, given).await
    }
}

fn open(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
