//! Images as an attacker forges them, and a reader of image contents.

use std::io::Read as _;

use bollard::query_parameters::ImportImageOptionsBuilder;
use futures_util::TryStreamExt as _;
use panda_dev_services::Engine;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Loads an image with the history of `genuine` whose last layer holds `path` with other `contents`.
pub async fn same_history_other_files(engine: &Engine, genuine: &str, path: &str, contents: &[u8]) {
    let saved = saved(engine, genuine).await;
    let manifest: Value = serde_json::from_slice(&member(&saved, "manifest.json").unwrap()).unwrap();
    let mut config: Value =
        serde_json::from_slice(&member(&saved, manifest[0]["Config"].as_str().unwrap()).unwrap()).unwrap();
    let layer = {
        let mut layer = tar::Builder::new(Vec::new());
        append(&mut layer, path, contents);
        layer.into_inner().unwrap()
    };
    let diff_ids = config["rootfs"]["diff_ids"].as_array_mut().unwrap();
    *diff_ids.last_mut().unwrap() = format!("sha256:{}", hex::encode(Sha256::digest(&layer))).into();
    let others = diff_ids.len() - 1;
    let config = config.to_string();
    let mut forged = tar::Builder::new(Vec::new());
    let mut layers: Vec<String> = Vec::new();
    for number in 0..others {
        let name = manifest[0]["Layers"][number].as_str().unwrap().to_owned();
        append(&mut forged, &name, &member(&saved, &name).unwrap());
        layers.push(name);
    }
    append(&mut forged, "forged/layer.tar", &layer);
    layers.push("forged/layer.tar".to_owned());
    append(&mut forged, "config.json", config.as_bytes());
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": ["evil/forged:1"], "Layers": layers }]);
    append(&mut forged, "manifest.json", manifest.to_string().as_bytes());
    load(engine, forged.into_inner().unwrap()).await;
}

/// Loads an image of one file for `architecture`, which this machine need not have.
pub async fn of_architecture(engine: &Engine, image: &str, architecture: &str) {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "panda", architecture.as_bytes());
    let layer = layer.into_inner().unwrap();
    let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
    let root = serde_json::json!({"type": "layers", "diff_ids": [diff_id]});
    let config = serde_json::json!({"architecture": architecture, "os": "linux", "config": {}, "rootfs": root});
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"] }]);
    let mut made = tar::Builder::new(Vec::new());
    append(&mut made, "config.json", config.to_string().as_bytes());
    append(&mut made, "layer.tar", &layer);
    append(&mut made, "manifest.json", manifest.to_string().as_bytes());
    load(engine, made.into_inner().unwrap()).await;
}

async fn load(engine: &Engine, archive: Vec<u8>) {
    let options = ImportImageOptionsBuilder::default().build();
    let loaded = engine.docker().import_image(options, bollard::body_full(archive.into()), None);
    loaded.try_collect::<Vec<_>>().await.unwrap();
}

/// The contents of `path` in `image`.
pub async fn file(engine: &Engine, image: &str, path: &str) -> Vec<u8> {
    let saved = saved(engine, image).await;
    let manifest: Value = serde_json::from_slice(&member(&saved, "manifest.json").unwrap()).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap();
    let found = layers.iter().rev().find_map(|layer| member(&member(&saved, layer.as_str().unwrap())?, path));
    found.unwrap_or_else(|| panic!("{image} has no {path}"))
}

async fn saved(engine: &Engine, image: &str) -> Vec<u8> {
    engine.docker().export_image(image).try_collect::<Vec<_>>().await.unwrap().concat()
}

fn member(archive: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let path = entry.path().ok()?.to_string_lossy().trim_start_matches("./").to_owned();
        if path == name {
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).ok()?;
            return Some(contents);
        }
    }
    None
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, contents: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(contents.len() as u64);
    archive.append_data(&mut header, path, contents).unwrap();
}
