//! The example that `panda demo` and `panda up` deploy: `examples/hello`, compiled in, so that both work without a checkout.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::SecretString;
use tokio::sync::mpsc;

use crate::cli::error::CliError;
use crate::clients::builder::{BuildJob, Builder};
use crate::clients::buildkit::MountedSecrets;
use crate::clients::docker::{BuildLimits, Docker};
use crate::clients::registry_credentials::Credentials;
use crate::domain::message::{Message, message};
use crate::domain::{build_spec::BuildOptions, builder::BuilderChoice};
use crate::metrics::BuildMetrics;
use panda_dev_services::Engine;
use panda_sandbox::git::{Repositories, SourceFile};

pub const OWNER: &str = "panda";
pub const REPO: &str = "hello";
pub const BRANCH: &str = "main";
/// Base image of the Dockerfile.
const BASE_IMAGE: &str = "busybox:1";
/// Version 1 as an image: runs as blue before Panda has deployed anything.
const BLUE_IMAGE: &str = "panda-example/hello:blue";

const START: &str = "start.sh";
const FILES: [(&str, &[u8]); 3] = [
    ("Dockerfile", include_bytes!("../../../examples/hello/Dockerfile")),
    ("README.md", include_bytes!("../../../examples/hello/README.md")),
    (START, include_bytes!("../../../examples/hello/start.sh")),
];

/// Returns all files of version `number`.
fn version(number: u32) -> Vec<SourceFile> {
    let mut files: Vec<SourceFile> = FILES
        .iter()
        .map(|(path, contents)| SourceFile { executable: *path == START, ..SourceFile::new(*path, *contents) })
        .collect();
    files.push(change(number));
    files
}

/// Returns the only file that differs between versions.
fn change(number: u32) -> SourceFile {
    SourceFile::new("VERSION", format!("{number}\n"))
}

/// Commits version 1 and version 2 to a new repository. Leaves a repository of an earlier run unchanged.
pub async fn publish(repositories: &Repositories, token: &SecretString, is_new: bool) -> Result<(), CliError> {
    repositories.add_repository(OWNER, REPO, Some(token.clone()), BRANCH, version(1)).await?;
    if is_new {
        repositories.commit(OWNER, REPO, BRANCH, vec![change(2)]).await?;
    }
    Ok(())
}

/// Builds version 1 and returns the image's name.
pub async fn build_blue(engine: &Engine, scratch: &Path) -> Result<String, CliError> {
    engine.ensure_base_image(BASE_IMAGE).await?;
    let context = scratch.join("blue");
    let failed = |source| CliError::File { path: context.clone(), source };
    tokio::fs::create_dir_all(&context).await.map_err(failed)?;
    for file in version(1) {
        // Written without the executable bit: the Dockerfile sets it.
        tokio::fs::write(context.join(&file.path), &file.contents).await.map_err(failed)?;
    }
    let failed_build =
        |error: &dyn std::fmt::Display| CliError::Demo(message!("dev.no_blue", error = error.to_string()));
    let docker =
        Docker::connect(Some(engine.host())).map_err(|error| CliError::Demo(Message::verbatim(error.to_string())))?;
    let builder = Builder::new("example", docker, None, BuilderChoice::Auto, BuildMetrics::default());
    let build = BuildJob {
        root: &context,
        context: Path::new(""),
        dockerfile: Path::new("Dockerfile"),
        image: BLUE_IMAGE,
        options: &BuildOptions::default(),
        own_args: BTreeMap::new(),
        labels: BTreeMap::new(),
        committed_at: None,
        cache_domain: builder.cache_domain(OWNER),
        cache: None,
        credentials: Credentials::default(),
        secrets: MountedSecrets::default(),
        network: Some("none"),
        limits: &BuildLimits::default(),
    };
    // The receiver is dropped: an error contains the last lines of the output.
    let (lines, _) = mpsc::channel(1);
    let active = builder.active().await.map_err(|error| failed_build(&error))?;
    builder.build(&active, build, lines).await.map_err(|error| failed_build(&error))?;
    tokio::fs::remove_dir_all(&context).await.map_err(failed)?;
    Ok(BLUE_IMAGE.to_owned())
}
