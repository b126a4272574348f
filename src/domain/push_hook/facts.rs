//! The members of a payload that decisions need. They are stored in its place, so that a delivery can be decided again.

use serde::{Deserialize, Serialize};

/// Members of a parsed payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PushFacts {
    /// Repository of the payload, as `owner/repo`; none where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Repository that a pull request comes from, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork: Option<String>,
    /// The push; none for other events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
}

/// A push to a branch or tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Push {
    /// Full name, such as `refs/heads/main`.
    pub ref_name: String,
    /// Commit before the push; none where it created the ref.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Commit after the push, also where the ref is an annotated tag; none where it deleted the ref.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The ref was moved to a commit that does not follow the one before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// Number of commits in the payload.
    pub commits: usize,
    /// Paths that the commits changed, in order and without repetitions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// False when the push may have changed other paths.
    pub paths_complete: bool,
    /// Time of the push in seconds since 1970, by GitHub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed_at: Option<i64>,
}

impl PushFacts {
    /// Returns owner and name of the repository.
    pub fn owner_and_repo(&self) -> Option<(&str, &str)> {
        self.repository.as_deref()?.split_once('/')
    }
}
