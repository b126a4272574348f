//! Builds on real engines: the shared engine of all tests, and a current one where it is installed.

mod faults;
mod isolation;
mod limits;
mod remote;
mod steps;
mod syntax;

use std::collections::BTreeMap;
use std::path::Path;

use panda::clients::build::{BuildError, BuildStep, Progress};
use panda::clients::builder::{BuildJob, Builder, DetectedBuilder};
use panda::clients::buildkit::MountedSecrets;
use panda::clients::docker::{BuildLimits, Docker};
use panda::clients::registry_credentials::Credentials;
use panda::domain::{build_spec::BuildOptions, builder::BuilderChoice};
use panda::metrics::BuildMetrics;
use panda_dev_services::Engine;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::clients::docker::{context, name};

/// The installation secret that names of trust domains are derived from.
const SECRET: &str = "the secret of this test's installation";

/// An engine for a test; a private one ends with the test.
pub(crate) struct TestEngine {
    pub(crate) engine: Engine,
    _dir: TempDir,
}

impl TestEngine {
    /// The engine of `DOCKER_HOST`, which all tests share.
    pub(crate) async fn usual() -> Self {
        let dir = panda_dev_services::temporary_folder().unwrap();
        let engine = Engine::find_or_start(&dir.path().join("docker")).await.unwrap();
        Self { engine, _dir: dir }
    }

    /// A current engine with `settings`; none, with a message, where it is not installed.
    pub(crate) async fn current(settings: Value) -> Option<Self> {
        let (engine, dir) = panda_testing::engines::start_current_engine(settings).await?;
        Some(Self { engine, _dir: dir })
    }

    pub(crate) fn docker(&self) -> Docker {
        Docker::connect(Some(self.engine.host())).unwrap()
    }

    /// A builder on this engine, for one installation that all tests share.
    pub(crate) fn builder(&self, choice: BuilderChoice) -> Builder {
        let builder = Builder::new("test", self.docker(), None, choice, BuildMetrics::default());
        builder.set_secret(SECRET.into());
        builder
    }
}

/// Runs an async scenario on the shared engine and on a current one.
macro_rules! on_both_engines {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            #[tokio::test]
            async fn usual_engine() {
                super::$scenario(&$crate::builds::TestEngine::usual().await).await;
            }

            #[tokio::test]
            async fn current_engine() {
                if let Some(engine) = $crate::builds::TestEngine::current(serde_json::json!({})).await {
                    super::$scenario(&engine).await;
                }
            }
        }
    )+ };
}
pub(crate) use on_both_engines;

/// The build to run, and its owner.
pub(crate) struct Wanted<'a> {
    pub(crate) owner: &'a str,
    pub(crate) files: &'a [(&'a str, &'a str)],
    /// The context folder and the Dockerfile, relative to the repository.
    pub(crate) context: &'a str,
    pub(crate) dockerfile: &'a str,
    pub(crate) image: String,
    pub(crate) options: BuildOptions,
    pub(crate) credentials: Credentials,
    pub(crate) secrets: MountedSecrets,
    pub(crate) limits: BuildLimits,
    pub(crate) cache: Option<String>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(owner: &'a str, files: &'a [(&'a str, &'a str)]) -> Self {
        Self {
            owner,
            files,
            context: "",
            dockerfile: "Dockerfile",
            image: name(),
            options: BuildOptions::default(),
            credentials: Credentials::default(),
            secrets: MountedSecrets::default(),
            limits: BuildLimits::default(),
            cache: None,
        }
    }
}

/// Result of a build.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) result: Result<Option<String>, BuildError>,
    pub(crate) lines: Vec<String>,
    pub(crate) steps: Vec<BuildStep>,
}

impl Built {
    /// All lines of a successful build.
    #[track_caller]
    pub(crate) fn output(&self) -> String {
        assert!(self.result.is_ok(), "{self:#?}");
        self.lines.join("\n")
    }

    /// True if the step whose name contains `instruction` came from the cache.
    #[track_caller]
    pub(crate) fn was_cached(&self, instruction: &str) -> bool {
        let step = self.steps.iter().find(|step| step.name.contains(instruction));
        step.unwrap_or_else(|| panic!("no step {instruction} in {:#?}", self.steps)).cached
    }
}

/// Builds as the deployment step does.
pub(crate) async fn build(builder: &Builder, wanted: Wanted<'_>) -> Built {
    let folder = context(wanted.files);
    build_folder(builder, wanted, folder.path()).await
}

pub(crate) async fn build_folder(builder: &Builder, wanted: Wanted<'_>, folder: &Path) -> Built {
    let active: DetectedBuilder = builder.active().await.unwrap();
    let request = BuildJob {
        root: folder,
        context: Path::new(wanted.context),
        dockerfile: Path::new(wanted.dockerfile),
        image: &wanted.image,
        options: &wanted.options,
        own_args: BTreeMap::from([("SOURCE_COMMIT".to_owned(), "0123".to_owned())]),
        labels: BTreeMap::from([("dev.panda.deployment".to_owned(), wanted.image.clone())]),
        committed_at: chrono::DateTime::from_timestamp(1_700_000_000, 0),
        cache_domain: builder.cache_domain(wanted.owner),
        cache: wanted.cache,
        credentials: wanted.credentials,
        secrets: wanted.secrets,
        network: Some("host"),
        limits: &wanted.limits,
    };
    let (sender, mut received) = mpsc::channel(8);
    let collect = async {
        let (mut lines, mut steps) = (Vec::new(), Vec::new());
        while let Some(progress) = received.recv().await {
            match progress {
                Progress::Line { line, .. } => lines.push(line.text),
                Progress::Ended(step) => steps.push(step),
            }
        }
        (lines, steps)
    };
    let (result, (lines, steps)) = tokio::join!(builder.build(&active, request, sender), collect);
    Built { result, lines, steps }
}
