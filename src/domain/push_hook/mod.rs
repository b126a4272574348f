//! Push hooks: receivers of GitHub's push events, whose rules decide which pushes start a deployment. Outgoing deliveries are [`super::webhook`].

pub mod decision;
pub mod facts;
pub mod glob;
pub mod payload;
pub mod reason;
pub mod signature;

use serde::{Deserialize, Serialize};

use super::build_spec::BuildSpec;
use super::deployment::Concurrency;
use super::labels::Labels;
use super::message::message;
use super::principal::Scope;
use super::request::Purpose;
use super::text::is_unfit_for_names;
use super::validate::{BrokenRule, FieldRefusal};

/// Most push hooks of an installation.
pub const MAX_PUSH_HOOKS: i64 = 200;

/// Most rules of a push hook.
pub const MAX_RULES: usize = 50;

/// Most patterns in one list of a rule.
pub const MAX_PATTERNS: usize = 50;

/// Largest request of GitHub, in bytes: it sends no payload above 25 MB.
pub const MAX_PAYLOAD: usize = 25 * 1024 * 1024;

/// Longest name of a push hook, in characters.
const MAX_NAME: usize = 100;

/// A rule of a push hook: which pushes to a repository start a deployment, and of what kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushRule {
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// Id of the connection to the source repository, with the prefix `gh_`.
    pub github_connection_id: String,
    /// Id of the connection to the AWS account, with the prefix `aws_`.
    pub aws_connection_id: String,
    /// Patterns of branches whose pushes start a deployment.
    #[serde(default)]
    pub branches: Vec<String>,
    /// Patterns of tags whose pushes start a deployment.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Patterns of paths of which a push to a branch must change one; empty for any.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Patterns of paths whose changes do not count.
    #[serde(default)]
    pub ignore_paths: Vec<String>,
    /// Policy for a target that has an unfinished deployment.
    pub concurrency: Concurrency,
    /// Build options of the deployments.
    #[serde(default)]
    pub build: BuildSpec,
    /// Purpose of the deployments, for reports only.
    #[serde(default)]
    pub kind: Purpose,
    /// Labels of the deployments.
    #[serde(default)]
    pub labels: Labels,
}

impl PushRule {
    /// Checks the patterns.
    ///
    /// # Errors
    /// The list whose size or pattern breaks a rule, or `branches` when the rule names neither branches nor tags.
    pub fn check_patterns(&self) -> Result<(), FieldRefusal> {
        if self.branches.is_empty() && self.tags.is_empty() {
            return Err(FieldRefusal::new("branches", message!("rule.push_refs_missing")));
        }
        for (field, patterns) in [
            ("branches", &self.branches),
            ("tags", &self.tags),
            ("paths", &self.paths),
            ("ignorePaths", &self.ignore_paths),
        ] {
            if patterns.len() > MAX_PATTERNS {
                return Err(FieldRefusal::new(field, message!("rule.push_patterns", max = MAX_PATTERNS)));
            }
            for (n, pattern) in patterns.iter().enumerate() {
                glob::check(pattern).map_err(|rule| FieldRefusal::new(format!("{field}[{n}]"), rule))?;
            }
        }
        Ok(())
    }

    /// Reports that the rule is for this repository; GitHub ignores case.
    pub fn is_for(&self, owner: &str, repo: &str) -> bool {
        self.owner.eq_ignore_ascii_case(owner) && self.repo.eq_ignore_ascii_case(repo)
    }
}

/// Returns the repositories of the rules, as `owner/repo` in lower case.
pub fn repositories(rules: &[PushRule]) -> Scope {
    let mut names: Vec<String> =
        rules.iter().map(|rule| format!("{}/{}", rule.owner, rule.repo).to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    Scope::Repositories(names)
}

/// Checks the name of a push hook.
///
/// # Errors
/// The rule that it breaks.
pub fn name(given: &str) -> Result<(), BrokenRule> {
    let fits = (1..=MAX_NAME).contains(&given.chars().count()) && !given.contains(is_unfit_for_names);
    if fits { Ok(()) } else { Err(message!("rule.schedule_name", max = MAX_NAME)) }
}
