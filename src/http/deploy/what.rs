//! What a request wants to be deployed: one of four sources, how to build it, and why. The same for deployments and schedules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::build_spec::BuildSpec;
use crate::domain::request::{Purpose, Requested};
use crate::domain::source::{Choice, ImageHome, Source};
use crate::domain::validate::{self, FieldRefusal};
use crate::http::error::ApiError;

/// How to build the image. What is left out is taken from `[build]` of the repository's `panda.toml`, else it is Panda's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Path of the Dockerfile, relative to the repository's root; looked for when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "services/api/Dockerfile", min_length = 1, max_length = 1024)]
    pub dockerfile: Option<String>,
    /// Path of the folder that is the build context, relative to the repository's root; `.` is the root, and the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "services/api", min_length = 1, max_length = 1024)]
    pub context: Option<String>,
    /// Stage to build; the last one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "runtime", min_length = 1, max_length = 128)]
    pub target: Option<String>,
    /// Build arguments, at most 64 KiB in all. They are shown to all who may see the deployment, and in the image's history: no secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"VERSION": "1.2.0"}))]
    pub args: BTreeMap<String, String>,
    /// Platform; the builder's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "linux/arm64", max_length = 98)]
    pub platform: Option<String>,
    /// Names of secrets of the GitHub connection that `RUN --mount=type=secret,id=NAME` may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["npm_token"]), max_items = 20)]
    pub secrets: Vec<String>,
}

impl From<Build> for BuildSpec {
    fn from(build: Build) -> Self {
        let Build { dockerfile, context, target, args, platform, secrets } = build;
        Self { dockerfile, context, target, args, platform, secrets }
    }
}

impl From<BuildSpec> for Build {
    fn from(build: BuildSpec) -> Self {
        let BuildSpec { dockerfile, context, target, args, platform, secrets } = build;
        Self { dockerfile, context, target, args, platform, secrets }
    }
}

/// The fields of a request that say what to deploy.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Which of the four sources.
    pub choice: Choice,
    /// How to build it.
    pub build: Option<Build>,
    /// Why.
    pub reason: Option<String>,
    /// What for.
    pub kind: Option<String>,
}

impl Given {
    /// What they mean; an image is not yet compared with the repository that it has to be in.
    pub fn requested(self) -> Result<Requested, ApiError> {
        let source = self.choice.source()?;
        let build = BuildSpec::from(self.build.unwrap_or_default());
        if matches!(source, Source::Image(_)) && !build.is_empty() {
            return Err(ApiError::field(
                "build",
                "cannot be given together with image, which is built already; leave it out",
            ));
        }
        let build = build.checked().map_err(|refused| refused.within("build"))?;
        if let Some(reason) = &self.reason {
            validate::reason(reason).map_err(|rule| ApiError::field("reason", rule))?;
        }
        let kind = self.kind.as_deref().map_or(Ok(Purpose::default()), str::parse);
        let kind = kind.map_err(|rule| ApiError::field("kind", rule))?;
        Ok(Requested { source, build, reason: self.reason, kind })
    }
}

/// The same, after an image was found to be one of the target's repository.
pub fn at(requested: Requested, home: ImageHome<'_>) -> Result<Requested, ApiError> {
    Ok(Requested { source: requested.source.at(home)?, ..requested })
}

impl From<FieldRefusal> for ApiError {
    fn from(refused: FieldRefusal) -> Self {
        Self::field(refused.field, refused.rule)
    }
}

// ---- What is answered

/// What was asked for: one of `branch`, `commit`, `tag` and `image` is not null.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestedView {
    /// Branch, whose newest commit is deployed.
    #[schema(example = "main")]
    pub branch: Option<String>,
    /// Commit.
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8")]
    pub commit: Option<String>,
    /// Tag.
    #[schema(example = "v1.2.0")]
    pub tag: Option<String>,
    /// Digest of an image that was in ECR already.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub image: Option<String>,
    /// How to build it, as the request had it; absent when it said nothing, and in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// Why, in the caller's words.
    #[schema(example = "Prices were wrong")]
    pub reason: Option<String>,
    /// `planned`, `hotfix` or `rollback`.
    #[schema(example = "planned")]
    pub kind: String,
}

impl RequestedView {
    /// Of the columns of a row.
    pub fn new(branch: &str, build: Option<Value>, reason: Option<String>, kind: String) -> Self {
        let Choice { branch, commit, tag, image } = Source::of_column(branch).choice();
        // What this version cannot read is not shown, rather than the whole deployment.
        let build = build.and_then(|build| serde_json::from_value(build).ok());
        Self { branch, commit, tag, image, build, reason, kind }
    }
}

/// The branch that a column names; none when something else was asked for.
pub fn branch(column: &str) -> Option<String> {
    Source::of_column(column).branch().map(str::to_owned)
}
