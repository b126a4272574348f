//! Registry of base images for a private engine: a mirror of Docker Hub with one image, built from the machine's static busybox.
//!
//! The image is written to disk in the registry's format, and the registry is read-only from its start: programs on the machine's network,
//! such as a build's RUN steps, cannot replace the image.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::child_guard::{ChildGuard, Program, RunAs, StopSignal};
use super::error::DevServicesError;
use super::machine::{find_program, folder, free_port};

const PART: &str = "registry of base images";
const REMEDY: &str = "See the log; the folder may be full or not writable.";
const READY_LIMIT: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(5);
const BUSYBOX: &str = "/bin/busybox";
/// Repository and tag of the image on Docker Hub.
const REPOSITORY: &str = "library/busybox";
const TAG: &str = "1";

const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// A running registry on a loopback port.
#[derive(Debug)]
pub(super) struct BaseImages {
    guard: ChildGuard,
    port: u16,
}

impl BaseImages {
    /// Starts the registry in `dir`. Returns `None` when no registry program or no static busybox is installed; such a machine pulls from Docker Hub.
    pub(super) async fn start(dir: &Path) -> Result<Option<Self>, DevServicesError> {
        let Some(executable) = find_program("docker-registry") else { return Ok(None) };
        let Some(root) = busybox_root(Path::new(BUSYBOX)).await? else { return Ok(None) };
        let dir = folder(dir)?;
        store(&dir.join("images"), &root).map_err(DevServicesError::file(&dir))?;
        let port = free_port()?;
        let config = dir.join("config.yml");
        std::fs::write(&config, configuration(&dir, port).to_string()).map_err(DevServicesError::file(&config))?;
        let mut guard = Program {
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
        let url = format!("http://127.0.0.1:{port}/v2/{REPOSITORY}/manifests/{TAG}");
        let client = reqwest::Client::new();
        let ready = async || {
            let request = client.get(&url).header("accept", MANIFEST_TYPE).timeout(Duration::from_secs(2));
            request.send().await.is_ok_and(|answer| answer.status().is_success())
        };
        guard.ready(READY_LIMIT, ready).await?;
        Ok(Some(Self { guard, port }))
    }

    /// Address for the engine's setting `registry-mirrors`.
    pub(super) fn mirror(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) async fn stop(self) -> Result<(), DevServicesError> {
        self.guard.stop().await
    }
}

/// The registry's configuration. JSON is valid YAML, and quotes every path correctly.
fn configuration(dir: &Path, port: u16) -> Value {
    json!({
        "version": "0.1",
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": {
            "filesystem": { "rootdirectory": dir.join("images") },
            "maintenance": { "readonly": { "enabled": true } },
        },
        "http": { "addr": format!("127.0.0.1:{port}") },
    })
}

/// Writes an image with one layer in the registry's format on disk: blobs by digest, and links from the repository to them.
fn store(images: &Path, layer: &[u8]) -> std::io::Result<()> {
    let root = images.join("docker/registry/v2");
    let blob = |contents: &[u8]| -> std::io::Result<String> {
        let hex = hex::encode(Sha256::digest(contents));
        write(&root.join("blobs/sha256").join(&hex[..2]).join(&hex).join("data"), contents)?;
        Ok(hex)
    };
    let layer_hex = blob(layer)?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": { "Cmd": ["sh"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_hex}")] },
        "history": [{ "created_by": "busybox of this machine" }],
    })
    .to_string();
    let config_hex = blob(config.as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": CONFIG_TYPE, "size": config.len(), "digest": format!("sha256:{config_hex}") },
        "layers": [{ "mediaType": LAYER_TYPE, "size": layer.len(), "digest": format!("sha256:{layer_hex}") }],
    })
    .to_string();
    let manifest_hex = blob(manifest.as_bytes())?;
    let repository = root.join("repositories").join(REPOSITORY);
    let link = |path: PathBuf, hex: &str| write(&path, format!("sha256:{hex}").as_bytes());
    for hex in [&layer_hex, &config_hex] {
        link(repository.join("_layers/sha256").join(hex).join("link"), hex)?;
    }
    link(repository.join("_manifests/revisions/sha256").join(&manifest_hex).join("link"), &manifest_hex)?;
    let tag = repository.join("_manifests/tags").join(TAG);
    link(tag.join("index/sha256").join(&manifest_hex).join("link"), &manifest_hex)?;
    link(tag.join("current/link"), &manifest_hex)
}

fn write(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::File::create(path)?.write_all(contents)
}

/// This machine's architecture in the naming of image manifests.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// A tar of a root file system: busybox, a link for each of its commands, and the folders that programs expect. `None` when busybox is not
/// installed, or needs shared libraries, which the image would lack.
async fn busybox_root(busybox: &Path) -> Result<Option<Vec<u8>>, DevServicesError> {
    let program = match std::fs::read(busybox) {
        Ok(program) if is_static(&program) => program,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DevServicesError::File { path: busybox.to_path_buf(), source }),
    };
    let failed = |source| DevServicesError::Command { program: busybox.display().to_string(), source };
    let listed = Command::new(busybox).arg("--list").output().await.map_err(failed)?;
    let commands = String::from_utf8_lossy(&listed.stdout).into_owned();
    pack(&program, commands.lines()).map(Some).map_err(DevServicesError::file("tar"))
}

/// Returns true for a static ELF program: a dynamic one names its loader near the start of the file.
fn is_static(program: &[u8]) -> bool {
    let head = &program[..program.len().min(4096)];
    let names = |loader: &[u8]| head.windows(loader.len()).any(|window| window == loader);
    head.starts_with(b"\x7fELF")
        && !names(b"/ld-linux")
        && !names(b"/ld-musl")
        && !names(b"/ld.so")
        && !names(b"/ld64.so")
}

fn pack<'a>(program: &[u8], commands: impl Iterator<Item = &'a str>) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (folder, mode) in [("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755)] {
        append(&mut archive, tar::EntryType::Directory, folder, mode, &[])?;
    }
    append(&mut archive, tar::EntryType::Regular, "bin/busybox", 0o755, program)?;
    append(
        &mut archive,
        tar::EntryType::Regular,
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", // style: quoted
    )?;
    append(&mut archive, tar::EntryType::Regular, "etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    for command in commands.filter(|command| !command.is_empty() && *command != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_link(&mut header, Path::new("bin").join(command), "busybox")?;
    }
    archive.into_inner()
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    path: &str,
    mode: u32,
    contents: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(contents.len() as u64);
    archive.append_data(&mut header, path, contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_busybox_with_a_link_per_command() {
        let packed = pack(b"program", ["busybox", "sh", "httpd", ""].into_iter()).unwrap();
        let mut archive = tar::Archive::new(packed.as_slice());
        let entries: Vec<(String, Option<String>, u32)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let target = entry.link_name().unwrap().map(|target| target.display().to_string());
                (entry.path().unwrap().display().to_string(), target, entry.header().mode().unwrap())
            })
            .collect();
        assert!(entries.contains(&("bin/busybox".to_owned(), None, 0o755)));
        assert!(entries.contains(&("bin/sh".to_owned(), Some("busybox".to_owned()), 0o777)));
        assert!(entries.contains(&("tmp".to_owned(), None, 0o1777)));
        assert_eq!(entries.iter().filter(|(path, ..)| path.starts_with("bin/")).count(), 3);
    }

    #[test]
    fn detects_dynamic_programs() {
        assert!(is_static(b"\x7fELF and code"));
        assert!(!is_static(b"\x7fELF /lib64/ld-linux-x86-64.so.2 and code"));
        assert!(!is_static(b"#!/bin/sh"));
    }
}
