//! Names of AWS resources, derived from the deployment's target only, never from an attempt, a token or the time.
//!
//! `{owner}-{repo}` is ambiguous (`a/b-c`, `a-b/c`). Names that only Panda uses therefore end with a hash of the exact pair. The two names
//! that the pipeline reads (repository, secret) keep the plain form, and Panda rejects a collision where it would matter.

use sha2::{Digest, Sha256};

use super::message::{Message, message};

/// EventBridge's limit for a rule's name, in characters.
const MAX_RULE_NAME: usize = 64;

/// Name templates, in which `{owner}` and `{repo}` are replaced by the names in lower case, and state names.
#[derive(Clone, Debug)]
pub struct Names {
    /// Template of the ECR repository's name.
    pub ecr_repository: String,
    /// Template of the EventBridge rule's name; a hash of owner and repository is appended.
    pub rule: String,
    /// Template of the name of the secret with the ARN of the latest execution.
    pub secret: String,
    /// Name of the state that ensures the infrastructure.
    pub ensure_infra_state: String,
    /// Name of the state that registers the task and starts the blue/green deployment.
    pub register_state: String,
    /// Name of the state that waits for approval.
    pub check_state: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            ecr_repository: "{owner}-{repo}".to_owned(),
            rule: "panda-ecr-push-{owner}-{repo}".to_owned(),
            secret: "panda/stepfunctions/{owner}-{repo}-latest-execution".to_owned(),
            ensure_infra_state: "EnsureInfra".to_owned(),
            register_state: "RegisterTaskAndDeploy".to_owned(),
            check_state: "CheckDeployment".to_owned(),
        }
    }
}

/// Beginning of the description of a rule.
const RULE_DESCRIPTION: &str = "Panda: image pushes of ";

/// ECR tag that names the source repository owning the name.
pub const SOURCE_TAG: &str = "panda:source";

/// Id of the EventBridge rule's target.
pub const RULE_TARGET_ID: &str = "panda";

fn fill(template: &str, owner: &str, repo: &str) -> String {
    template.replace("{owner}", &owner.to_lowercase()).replace("{repo}", &repo.to_lowercase())
}

/// Returns eight hexadecimal digits that distinguish exact pairs. GitHub ignores case in both names, so the hash does too.
fn pair_hash(owner: &str, repo: &str) -> String {
    let digest = Sha256::digest(format!("{}/{}", owner.to_lowercase(), repo.to_lowercase()));
    hex::encode(&digest[..4])
}

impl Names {
    /// Returns the name of the ECR repository.
    ///
    /// # Errors
    /// ECR's naming rule, if the name breaks it.
    pub fn ecr_repository(&self, owner: &str, repo: &str) -> Result<String, Message> {
        let name = fill(&self.ecr_repository, owner, repo);
        if is_ecr_name(&name) { Ok(name) } else { Err(message!("rule.ecr_name", name = format!("{name:?}"))) }
    }

    /// Returns the name of the EventBridge rule, at most 64 characters.
    pub fn rule(&self, owner: &str, repo: &str) -> String {
        let hash = pair_hash(owner, repo);
        let mut name = fill(&self.rule, owner, repo);
        name.truncate(MAX_RULE_NAME - 1 - hash.len());
        format!("{name}-{hash}")
    }

    /// Returns the beginning that the names of all rules share: the template's text before its first placeholder.
    pub fn rule_prefix(&self) -> &str {
        let prefix = self.rule.split('{').next().unwrap_or_default();
        // A longer one is cut in the names too.
        prefix.get(..MAX_RULE_NAME - 9).unwrap_or(prefix)
    }

    /// Returns the description of the rule, by which Panda recognises its own.
    pub fn rule_description(owner: &str, repo: &str) -> String {
        format!("{RULE_DESCRIPTION}{owner}/{repo}")
    }

    /// Returns owner and name of the repository of a rule, if name and description are those that Panda gives.
    pub fn repository_of_rule<'a>(&self, name: &str, description: &'a str) -> Option<(&'a str, &'a str)> {
        let (owner, repo) = description.strip_prefix(RULE_DESCRIPTION)?.split_once('/')?;
        (self.rule(owner, repo) == name).then_some((owner, repo))
    }

    /// Returns the beginning that the names of all secrets share.
    pub fn secret_prefix(&self) -> &str {
        self.secret.split('{').next().unwrap_or_default()
    }

    /// Returns the name of that secret for an ECR repository, if both templates have owner and repository in the same form.
    pub fn secret_of(&self, ecr_repository: &str) -> Option<String> {
        const PAIR: &str = "{owner}-{repo}";
        let (before, after) = self.ecr_repository.split_once(PAIR)?;
        let pair = ecr_repository.strip_prefix(before)?.strip_suffix(after)?;
        self.secret.contains(PAIR).then(|| self.secret.replace(PAIR, pair))
    }

    /// Returns the name of the secret that holds the ARN of the latest execution.
    pub fn secret(&self, owner: &str, repo: &str) -> String {
        fill(&self.secret, owner, repo)
    }
}

/// Returns the id of the statement in the bus policy that lets a user's account put events: one statement per account.
pub fn permission_statement(account_id: &str) -> String {
    format!("panda-{account_id}")
}

/// Checks ECR's rule `(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*`, but accepts `__`, as the engine does.
fn is_ecr_name(name: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (2..=256).contains(&name.len())
        && name.split('/').all(|component| component.replace("__", "_").split(['.', '_', '-']).all(word))
}

/// Returns the rule's event pattern as a JSON text. It matches successful image pushes to the repository.
pub fn push_event_pattern(ecr_repository: &str) -> String {
    serde_json::json!({
        "source": ["aws.ecr"],
        "detail-type": ["ECR Image Action"],
        "detail": {"action-type": ["PUSH"], "result": ["SUCCESS"], "repository-name": [ecr_repository]},
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_pairs_differ_in_hashed_names() {
        let names = Names::default();
        assert_eq!(names.ecr_repository("A", "b-c").unwrap(), "a-b-c");
        assert_eq!(names.ecr_repository("a-b", "c").unwrap(), "a-b-c");
        assert_ne!(names.rule("a", "b-c"), names.rule("a-b", "c"));
        assert_eq!(names.secret("a", "b"), "panda/stepfunctions/a-b-latest-execution");
    }

    #[test]
    fn recognises_own_rules() {
        let names = Names::default();
        let (name, description) = (names.rule("Acme", "shop"), Names::rule_description("Acme", "shop"));
        assert_eq!(names.repository_of_rule(&name, &description), Some(("Acme", "shop")));
        assert_eq!(names.repository_of_rule(&name, &Names::rule_description("acme", "other")), None);
        assert_eq!(names.repository_of_rule(&name, "acme/shop"), None);
        assert!(name.starts_with(names.rule_prefix()) && names.rule_prefix() == "panda-ecr-push-");
    }

    #[test]
    fn rule_name_respects_the_limit() {
        let names = Names::default();
        let rule = names.rule(&"o".repeat(39), &"r".repeat(100));
        assert_eq!(rule.len(), 64);
        assert!(names.rule("acme", "shop").starts_with("panda-ecr-push-acme-shop-"));
    }

    #[test]
    fn rejects_names_that_ecr_rejects() {
        let names = Names::default();
        assert!(names.ecr_repository("acme", ".github").unwrap_err().to_string().contains("acme-.github"));
        assert!(names.ecr_repository("acme", "a__b").is_ok());
        assert!(names.ecr_repository("acme", "trailing-").is_err());
    }
}
