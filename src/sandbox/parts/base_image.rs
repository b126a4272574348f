//! The base image of the example: pulled where a registry can be reached, else made from the machine's own static busybox.

use std::path::Path;
use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::{CreateImageOptions, CreateImageOptionsBuilder};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::docker::Engine;
use super::error::PartsError;

const PART: &str = "base image";
/// A pull of a few megabytes; a machine without internet should not wait longer for the other way.
const PULL_LIMIT: Duration = Duration::from_secs(30);
const BUSYBOX: &str = "/bin/busybox";
const REMEDY: &str =
    "Give this machine access to an image registry, or install busybox-static (apt-get install busybox-static).";

impl Engine {
    /// Makes sure that `image` (`name:tag`) is there: present, pulled, or, for `busybox`, made from `/bin/busybox`.
    pub async fn ensure_base_image(&self, image: &str) -> Result<(), PartsError> {
        let Some((name, tag)) = image.rsplit_once(':').filter(|(name, tag)| !name.is_empty() && !tag.contains('/'))
        else {
            let problem = format!("{image} has no tag; write it as name:tag");
            return Err(PartsError::Input { field: "base image", problem });
        };
        if self.has_image(image).await? {
            return Ok(());
        }
        let pulled = self.pull(name, tag).await;
        let Err(reason) = pulled else { return Ok(()) };
        if name != "busybox" {
            return Err(missing(format!("{image} could not be pulled ({reason})")));
        }
        tracing::info!(image, reason, "pulling failed, so it is made from the installed busybox");
        let root = busybox_root(Path::new(BUSYBOX)).await.map_err(|error| match error {
            PartsError::Missing { reason: local, .. } => {
                missing(format!("{image} could not be pulled ({reason}), and cannot be made here: {local}"))
            }
            other => other,
        })?;
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(name)
            .tag(tag)
            .changes(vec!["CMD [\"sh\"]".to_owned(), "ENV PATH=/bin".to_owned()])
            .build();
        let body = bollard::body_full(Bytes::from(root));
        finish(self.docker().create_image(Some(options), Some(body), None))
            .await
            .map_err(PartsError::engine("image import"))
    }

    /// Whether the engine has `image`.
    pub async fn has_image(&self, image: &str) -> Result<bool, PartsError> {
        match self.docker().inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(source) => Err(PartsError::Engine { call: "image inspect", source }),
        }
    }

    /// Pulls an image; the error is for people.
    pub(crate) async fn pull(&self, name: &str, tag: &str) -> Result<(), String> {
        let options: CreateImageOptions = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
        match timeout(PULL_LIMIT, finish(self.docker().create_image(Some(options), None, None))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no image within {} s", PULL_LIMIT.as_secs())),
        }
    }
}

fn missing(reason: String) -> PartsError {
    PartsError::Missing { part: PART, reason, remedy: REMEDY }
}

/// Reads the progress to its end; bollard turns an error inside it into one of the stream.
async fn finish<S>(progress: S) -> Result<(), bollard::errors::Error>
where
    S: Stream<Item = Result<CreateImageInfo, bollard::errors::Error>>,
{
    progress.try_for_each(async |_| Ok(())).await
}

/// A root file system in a tar: busybox, a link for each of its commands, and the folders that programs expect.
async fn busybox_root(busybox: &Path) -> Result<Vec<u8>, PartsError> {
    let program = match std::fs::read(busybox) {
        Ok(program) => program,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(missing(format!("{} is not installed", busybox.display())));
        }
        Err(source) => return Err(PartsError::File { path: busybox.to_path_buf(), source }),
    };
    if !is_static(&program) {
        return Err(missing(format!("{} needs shared libraries that an image would lack", busybox.display())));
    }
    let failed = |source| PartsError::Command { program: busybox.display().to_string(), source };
    let listed = Command::new(busybox).arg("--list").output().await.map_err(failed)?;
    let commands = String::from_utf8_lossy(&listed.stdout).into_owned();
    pack(&program, commands.lines()).map_err(PartsError::file("tar"))
}

/// A dynamic program names its loader near the start of the file.
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
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
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
    fn a_root_holds_busybox_and_a_link_for_each_command() {
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
    fn a_program_that_needs_a_loader_is_not_static() {
        assert!(is_static(b"\x7fELF and code"));
        assert!(!is_static(b"\x7fELF /lib64/ld-linux-x86-64.so.2 and code"));
        assert!(!is_static(b"#!/bin/sh"));
    }
}
