//! Chart and image in a real registry, pushed by the commands of the workflow.

use std::process::Command;

use panda_testing::forged_images::of_architecture;
use panda_testing::release_registry::ReleaseRegistry;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{release, shown, succeeds, version};
use crate::dev_services::forget_image;

const INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const MANIFESTS: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_chart__pushed_chart_is_the_packaged_one() {
    let target = ReleaseRegistry::start().await;
    let out = target.path("out");
    succeeds(release(&["chart", out.to_str().unwrap()]).env("RELEASE_GZIP_LEVEL", "1"));
    let packaged = std::fs::read(out.join(format!("panda-{}.tgz", version()))).unwrap();
    let repository = format!("{}/charts", target.registry.host_port());
    let said = succeeds(target.prepare(&mut release(&["push-chart", out.to_str().unwrap(), &repository])));

    let (digest, manifest) = target.manifest("charts/panda", version(), MANIFESTS).await;
    assert_eq!(said.trim(), digest, "the digest that is signed");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.cncf.helm.config.v1+json");
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.cncf.helm.chart.content.v1.tar+gzip");
    assert_eq!(layer["digest"], format!("sha256:{}", hex::encode(Sha256::digest(&packaged))));

    let pulled = target.path("pulled");
    std::fs::create_dir(&pulled).unwrap();
    let mut pull = Command::new(target.path("programs/helm"));
    pull.args(["pull", &format!("oci://{repository}/panda"), "--version", version(), "--plain-http"])
        .current_dir(&pulled);
    succeeds(target.prepare(&mut pull));
    assert_eq!(std::fs::read(pulled.join(format!("panda-{}.tgz", version()))).unwrap(), packaged);
    target.registry.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_image__one_name_for_both_architectures() {
    let target = ReleaseRegistry::start().await;
    let images = ["amd64", "arm64"].map(|one| format!("panda-test-{}-{one}:1", Uuid::new_v4().simple()));
    for (image, architecture) in images.iter().zip(["amd64", "arm64"]) {
        of_architecture(&target.engine, image, architecture).await;
    }
    let name = format!("{}/panda", target.registry.host_port());
    let push = |images: [&str; 2]| release(&["push-image", &name, images[0], images[1]]);
    let refused = target.prepare(&mut push([&images[0], &images[0]])).output().unwrap();
    assert!(!refused.status.success() && shown(&refused).contains("two images are of amd64"), "{}", shown(&refused));

    let said = succeeds(target.prepare(&mut push([&images[0], &images[1]])));
    let (digest, index) = target.manifest("panda", version(), INDEX).await;
    assert_eq!(said.trim(), digest, "the digest that is signed");
    let platforms: Vec<&Value> = index["manifests"].as_array().unwrap().iter().map(|one| &one["platform"]).collect();
    assert_eq!(
        platforms,
        [&json!({"os": "linux", "architecture": "amd64"}), &json!({"os": "linux", "architecture": "arm64"})]
    );
    for (part, architecture) in index["manifests"].as_array().unwrap().iter().zip(["amd64", "arm64"]) {
        let (_, manifest) = target.manifest("panda", part["digest"].as_str().unwrap(), MANIFESTS).await;
        let (_, config) =
            target.get(&format!("panda/blobs/{}", manifest["config"]["digest"].as_str().unwrap()), "*/*").await;
        assert_eq!(serde_json::from_slice::<Value>(&config).unwrap()["architecture"], architecture);
    }
    for (image, architecture) in images.iter().zip(["amd64", "arm64"]) {
        forget_image(&target.engine, image).await;
        forget_image(&target.engine, &format!("{name}:{}-{architecture}", version())).await;
    }
    target.registry.stop().await.unwrap();
}
