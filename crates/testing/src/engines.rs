//! Docker engines: the one that all tests share, and a current one where it is installed.

use std::ffi::OsString;
use std::path::PathBuf;

use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptions};
use futures_util::TryStreamExt as _;
use panda_dev_services::{Engine, EngineOptions};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::root;

/// The shared engine of the test run, or one for this test, with the example's base image.
pub async fn engine() -> (Engine, TempDir) {
    let dir = panda_dev_services::temporary_folder().unwrap();
    let engine = Engine::find_or_start(&dir.path().join("docker")).await.unwrap();
    engine.ensure_base_image("busybox:1").await.unwrap();
    (engine, dir)
}

/// Folder of an installed current engine; none, with a message, where it is not installed.
pub fn current_engine() -> Option<PathBuf> {
    let root = std::env::var_os("PANDA_TEST_MODERN_ENGINE").map(PathBuf::from);
    let found = root.filter(|root| root.join(".complete").exists());
    if found.is_none() {
        eprintln!("SKIPPED: no current Docker Engine here (scripts/modern-engine.sh install, as root on Debian)");
    }
    found
}

/// Starts a current engine with `settings`; none, with a message, where it is not installed.
pub async fn start_current_engine(settings: Value) -> Option<(Engine, TempDir)> {
    let installed = current_engine()?;
    let dir = panda_dev_services::temporary_folder().unwrap();
    let data_dir = dir.path().join("docker");
    std::fs::create_dir(&data_dir).unwrap();
    let script = root().join("scripts/modern-engine.sh");
    let launcher = [script.into_os_string(), "run".into(), installed.into(), data_dir.clone().into()];
    let settings = match settings {
        Value::Object(settings) => settings,
        _ => Map::new(),
    };
    let options = EngineOptions { data_dir, launcher: Some(launcher.map(OsString::from).to_vec()), settings };
    Some((Engine::start(options).await.unwrap(), dir))
}

/// Removes an image, or one of its names, from an engine that outlives the test.
pub async fn forget_image(engine: &Engine, image: &str) {
    engine.docker().remove_image(image, None::<RemoveImageOptions>, None).await.unwrap();
}

/// The images with a label as the engine exports them: configuration with history, and all layers uncompressed.
pub async fn export_labelled(engine: &Engine, label: &str) -> Vec<u8> {
    let label = [("label", vec![label.to_owned()])].into();
    let options = ListImagesOptionsBuilder::default().all(true).filters(&label).build();
    let images = engine.docker().list_images(Some(options)).await.unwrap();
    assert!(!images.is_empty(), "the engine has the image that its container runs");
    let mut bytes = Vec::new();
    for image in images {
        let pieces: Vec<_> = engine.docker().export_image(&image.id).try_collect().await.unwrap();
        bytes.extend(pieces.concat());
    }
    bytes
}
