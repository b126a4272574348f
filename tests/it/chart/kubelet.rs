//! Runs the chart's pods in containers according to their manifests, as the kubelet would, as far as an engine can.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use panda::domain::schema::Fit;
use panda_dev_services::Engine;
use serde_json::{Value, json};
use sqlx::Executor as _;
use tempfile::TempDir;

use super::{chart, container, documents, only, pod_of, render3};
use crate::image::{Contained, Given, build, forget};
use crate::support::db::{KEY_FILE, TestDb};
use crate::support::process::free_address;

/// The cluster's state: objects, and folders for volumes.
struct Cluster {
    objects: Vec<Value>,
    folder: TempDir,
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
    async fn start(&self, engine: &Engine, image: &str, pod: &Value, name: &str) -> Contained {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubelet__job_migrates_and_server_becomes_ready() {
    let parts = tempfile::tempdir().unwrap();
    let engine = Engine::find_or_start(&parts.path().join("docker")).await.unwrap();
    engine.ensure_base_image("busybox:1").await.unwrap();
    let image = build(&engine).await;
    let db = TestDb::new().await.into_owners();
    let mut psql = db.psql().await;
    psql.execute("DROP SCHEMA public, panda_report CASCADE").await.unwrap();
    psql.execute("CREATE SCHEMA public").await.unwrap();

    let port = free_address().port();
    let values = json!({
        "database": {"url": db.url()},
        "keys": {"value": std::fs::read_to_string(KEY_FILE).unwrap()},
        "auth": {"adminToken": {"value": "only-the-tests-know-this-token-of-theirs"}},
        "builder": {"mode": "none"},
        "config": {"controllerRegion": "ap-northeast-2", "maxBuilds": 3},
        "containerPort": port, "bindAddress": "127.0.0.1", "service": {"port": port},
    });
    let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let file = parts.path().join("values.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    let cluster = Cluster { objects: documents(&[render3(&chart(), &file, &[])]).remove(0), folder };
    let pod = |kind: &str| pod_of(only(&cluster.objects, kind)).unwrap();

    let job = cluster.start(&engine, &image, pod("Job"), "migrate").await;
    assert_eq!(job.end().await, 0, "{}", job.log().await);
    assert_eq!(db.db.schema().await.unwrap(), Fit::Fits { newer: None });
    job.remove().await;

    let deployment = pod("Deployment");
    let server = cluster.start(&engine, &image, deployment, "panda").await;
    let spec = container(deployment, "panda");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = spec[probe]["httpGet"]["path"].as_str().unwrap();
        server.answers(&format!("http://127.0.0.1:{port}{path}")).await;
    }
    let unknown = reqwest::get(format!("http://127.0.0.1:{port}/api/v1/deploy")).await.unwrap();
    assert_eq!(unknown.status(), 401, "a request without a token is refused");

    let test = cluster.start(&engine, &image, pod("Pod"), "list").await;
    assert_eq!(test.end().await, 0, "{}", test.log().await);
    test.remove().await;
    let log = server.log().await;
    let lines: BTreeMap<usize, Result<Value, _>> = log.lines().map(serde_json::from_str).enumerate().collect();
    assert!(!lines.is_empty() && lines.values().all(Result::is_ok), "the log is JSON: {log}");
    assert_eq!(server.stop().await, (Some(0), Some(false)), "{}", server.log().await);
    server.remove().await;
    forget(&engine, &image).await;
}
