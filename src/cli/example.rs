//! The example that is deployed by `panda demo` and `panda up`: `examples/hello`, compiled in, so that both work without a checkout.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::SecretString;
use tokio::sync::mpsc;

use super::error::CliError;
use crate::clients::builder::{Build, Builder};
use crate::clients::buildkit::{Credentials, Secrets};
use crate::clients::docker::{BuildLimits, Docker};
use crate::domain::{build_spec::BuildOptions, builder::BuilderChoice};
use crate::metrics::BuildMetrics;
use crate::sandbox::git::{Repositories, SourceFile};
use crate::sandbox::parts::Engine;

/// Account of the example's repository.
pub const OWNER: &str = "panda";
/// The example's repository.
pub const REPO: &str = "hello";
/// The example's branch.
pub const BRANCH: &str = "main";
/// What the Dockerfile begins with.
const BASE_IMAGE: &str = "busybox:1";
/// Version 1 as an image: blue, before Panda has deployed anything.
const BLUE_IMAGE: &str = "panda-example/hello:blue";

const START: &str = "start.sh";
const FILES: [(&str, &[u8]); 3] = [
    ("Dockerfile", include_bytes!("../../examples/hello/Dockerfile")),
    ("README.md", include_bytes!("../../examples/hello/README.md")),
    (START, include_bytes!("../../examples/hello/start.sh")),
];

/// All files of one version.
fn version(number: u32) -> Vec<SourceFile> {
    let mut files: Vec<SourceFile> = FILES
        .iter()
        .map(|(path, contents)| SourceFile { executable: *path == START, ..SourceFile::new(*path, *contents) })
        .collect();
    files.push(change(number));
    files
}

/// What makes a version: one file.
fn change(number: u32) -> SourceFile {
    SourceFile::new("VERSION", format!("{number}\n"))
}

/// Puts version 1 into the repository and version 2 on top of it. A repository of an earlier run stays as its owner left it.
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
        // The Dockerfile itself makes the script a program.
        tokio::fs::write(context.join(&file.path), &file.contents).await.map_err(failed)?;
    }
    let failed_build = |error: &dyn std::fmt::Display| {
        CliError::Demo(format!("the example's first version could not be built: {error}"))
    };
    let docker = Docker::connect(Some(engine.host())).map_err(|error| CliError::Demo(error.to_string()))?;
    let builder = Builder::new("example", docker, None, BuilderChoice::Auto, BuildMetrics::default());
    let build = Build {
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
        secrets: Secrets::default(),
        network: Some("none"),
        limits: &BuildLimits::default(),
    };
    // Nobody listens: a failure brings the last lines with it.
    let (lines, _) = mpsc::channel(1);
    let active = builder.active().await.map_err(|error| failed_build(&error))?;
    builder.build(&active, build, lines).await.map_err(|error| failed_build(&error))?;
    tokio::fs::remove_dir_all(&context).await.map_err(failed)?;
    Ok(BLUE_IMAGE.to_owned())
}
