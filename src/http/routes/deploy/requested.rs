//! Fields that deployments and schedules share: one of four sources, build options, reason and purpose.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::build_spec::BuildSpec;
use crate::domain::labels::Labels;
use crate::domain::message::message;
use crate::domain::request::{Purpose, Requested};
use crate::domain::source::{Source, SourceFields};
use crate::domain::validate::{self, FieldRefusal};
use crate::http::error::ApiError;

/// Build options of the image. An absent option is taken from `[build]` in the repository's `panda.toml`, or else is Panda's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Build)]
pub struct RequestedBuild {
    /// Path of the Dockerfile, relative to the repository's root; detected when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "services/api/Dockerfile", min_length = 1, max_length = 1024)]
    pub dockerfile: Option<String>,
    /// Path of the build context, relative to the repository's root; the default `.` is the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "services/api", min_length = 1, max_length = 1024)]
    pub context: Option<String>,
    /// Stage of the Dockerfile to build; the last one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "runtime", min_length = 1, max_length = 128)]
    pub target: Option<String>,
    /// Build arguments, at most 64 KiB in total. Everyone who can see the deployment or the image's history can read them, so they must not be secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"VERSION": "1.2.0"}))]
    pub args: BTreeMap<String, String>,
    /// Platform of the image; the builder's platform when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "linux/arm64", max_length = 98)]
    pub platform: Option<String>,
    /// Names of build secrets of the GitHub connection that `RUN --mount=type=secret,id=NAME` may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["npm_token"]), max_items = 20)]
    pub secrets: Vec<String>,
}

impl From<RequestedBuild> for BuildSpec {
    fn from(build: RequestedBuild) -> Self {
        let RequestedBuild { dockerfile, context, target, args, platform, secrets } = build;
        Self { dockerfile, context, target, args, platform, secrets }
    }
}

impl From<BuildSpec> for RequestedBuild {
    fn from(build: BuildSpec) -> Self {
        let BuildSpec { dockerfile, context, target, args, platform, secrets } = build;
        Self { dockerfile, context, target, args, platform, secrets }
    }
}

/// The raw source fields of a request.
#[derive(Clone, Debug, Default)]
pub struct DeployFields {
    /// Branch, commit, tag or image.
    pub choice: SourceFields,
    /// Member `build`; none if the request has none.
    pub build: Option<RequestedBuild>,
    /// Reason in the caller's words.
    pub reason: Option<String>,
    /// Purpose: planned, hotfix or rollback.
    pub kind: Option<String>,
    /// Labels; empty if the request has none.
    pub labels: Labels,
}

impl DeployFields {
    /// Validates the fields, but not that an image is in the target's repository.
    ///
    /// # Errors
    /// [`ApiError::Input`] for the first invalid field.
    pub fn validate(self) -> Result<Requested, ApiError> {
        let source = self.choice.source()?;
        let build = BuildSpec::from(self.build.unwrap_or_default());
        if matches!(source, Source::Image(_)) && !build.is_empty() {
            return Err(ApiError::field("build", message!("rule.image_with_build")));
        }
        let build = build.checked().map_err(|refused| refused.within("build"))?;
        if let Some(reason) = &self.reason {
            validate::reason(reason).map_err(|rule| ApiError::field("reason", rule))?;
        }
        let kind = self.kind.as_deref().map_or(Ok(Purpose::default()), str::parse);
        let kind = kind.map_err(|rule| ApiError::field("kind", rule))?;
        let labels = self.labels.checked()?;
        Ok(Requested { source, build, reason: self.reason, kind, labels })
    }
}

impl From<FieldRefusal> for ApiError {
    fn from(refused: FieldRefusal) -> Self {
        Self::field(refused.field, refused.rule)
    }
}

// ---- Response

/// The requested source and build options: exactly one of `branch`, `commit`, `tag` and `image` is not null.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestedView {
    /// Branch whose newest commit is deployed.
    #[schema(example = "main")]
    pub branch: Option<String>,
    /// Id of the requested commit.
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8")]
    pub commit: Option<String>,
    /// Name of the requested tag.
    #[schema(example = "v1.2.0")]
    pub tag: Option<String>,
    /// Digest of the requested image, which was in ECR already.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub image: Option<String>,
    /// Build options of the request; absent when there were none, and in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<RequestedBuild>,
    /// Reason in the caller's words.
    #[schema(example = "Prices were wrong")]
    pub reason: Option<String>,
    /// `planned`, `hotfix` or `rollback`.
    #[schema(example = "planned")]
    pub kind: String,
}

impl RequestedView {
    /// Builds the view from columns of a deployment's row.
    pub fn new(branch: &str, build: Option<Value>, reason: Option<String>, kind: String) -> Self {
        let SourceFields { branch, commit, tag, image } = Source::of_column(branch).fields();
        // Build options that this version cannot parse are omitted; failing would hide the whole deployment.
        let build = build.and_then(|build| serde_json::from_value(build).ok());
        Self { branch, commit, tag, image, build, reason, kind }
    }
}

/// The branch in the source column; none when a commit, a tag or an image was requested.
pub fn branch_of(column: &str) -> Option<String> {
    Source::of_column(column).branch().map(str::to_owned)
}
