//! Which pushes start a deployment: the first rule that matches repository, ref and paths decides.
//!
//! A filter of paths only prevents a deployment where the payload lists everything that changed: a push whose list may be incomplete starts one. To
//! leave a change out is worse than to deploy one more, whose traffic an approver still switches.

use super::PushRule;
use super::facts::{Push, PushFacts};
use super::glob;
use super::payload::PUSH;
use super::reason::PushReason;

/// A branch or tag, by its short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefKind<'a> {
    /// Name of a branch, without `refs/heads/`.
    Branch(&'a str),
    /// Name of a tag, without `refs/tags/`.
    Tag(&'a str),
}

impl<'a> RefKind<'a> {
    /// Reads a full name; none for other refs, such as notes.
    pub fn of(ref_name: &'a str) -> Option<Self> {
        let branch = ref_name.strip_prefix("refs/heads/").map(Self::Branch);
        branch.or_else(|| ref_name.strip_prefix("refs/tags/").map(Self::Tag))
    }
}

/// A deployment that a push starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushStart<'a> {
    /// The rule that matches.
    pub rule: &'a PushRule,
    /// Number of the rule, from 1.
    pub number: usize,
    /// Commit that was pushed.
    pub commit: &'a str,
    /// False when the payload does not show that a path of the rule changed.
    pub paths_known: bool,
}

/// Decides on a delivery.
///
/// # Errors
/// The reason for which it starts no deployment.
pub fn decide<'a>(rules: &'a [PushRule], event: &str, facts: &'a PushFacts) -> Result<PushStart<'a>, PushReason> {
    if event != PUSH {
        return Err(match (event, &facts.fork) {
            ("ping", _) => PushReason::Ping,
            (event, Some(fork)) if event.starts_with("pull_request") => PushReason::ForkPullRequest(fork.clone()),
            (event, None) if event.starts_with("pull_request") => PushReason::PullRequest,
            _ => PushReason::OtherEvent(event.to_owned()),
        });
    }
    let (owner, repo) = facts.owner_and_repo().unwrap_or_default();
    let Some(push) = &facts.push else { return Err(PushReason::OtherEvent(event.to_owned())) };
    let of_repository = || rules.iter().enumerate().filter(|(_, rule)| rule.is_for(owner, repo));
    if of_repository().next().is_none() {
        return Err(PushReason::OtherRepository(format!("{owner}/{repo}")));
    }
    let Some(kind) = RefKind::of(&push.ref_name) else { return Err(PushReason::OtherRef(push.ref_name.clone())) };
    let Some(commit) = push.commit.as_deref() else {
        return Err(match kind {
            RefKind::Branch(name) => PushReason::BranchDeleted(name.to_owned()),
            RefKind::Tag(name) => PushReason::TagDeleted(name.to_owned()),
        });
    };
    let (name, any) = match kind {
        RefKind::Branch(name) if push.before.is_none() && push.commits == 0 => {
            return Err(PushReason::NoNewCommits(name.to_owned()));
        }
        RefKind::Branch(name) | RefKind::Tag(name) => (name, of_repository().filter(|(_, rule)| fits_ref(rule, kind))),
    };
    let mut refused = PushReason::RefNotMatched(name.to_owned());
    for (index, rule) in any {
        let paths_known = match kind {
            RefKind::Tag(_) => Some(true),
            RefKind::Branch(_) => paths_match(rule, push),
        };
        match paths_known {
            Some(paths_known) => return Ok(PushStart { rule, number: index + 1, commit, paths_known }),
            None => refused = PushReason::PathsNotMatched(name.to_owned()),
        }
    }
    Err(refused)
}

fn fits_ref(rule: &PushRule, kind: RefKind<'_>) -> bool {
    let (patterns, name) = match kind {
        RefKind::Branch(name) => (&rule.branches, name),
        RefKind::Tag(name) => (&rule.tags, name),
    };
    patterns.iter().any(|pattern| glob::matches(pattern, name))
}

/// Reports that a changed path counts: true where the payload shows one, false where it may lack one, none where there is none.
fn paths_match(rule: &PushRule, push: &Push) -> Option<bool> {
    if rule.paths.is_empty() && rule.ignore_paths.is_empty() {
        return Some(true);
    }
    let any = |patterns: &[String], path: &str| patterns.iter().any(|pattern| glob::matches(pattern, path));
    let counts = |path: &String| (rule.paths.is_empty() || any(&rule.paths, path)) && !any(&rule.ignore_paths, path);
    if push.paths.iter().any(counts) {
        return Some(true);
    }
    (!push.paths_complete).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build_spec::BuildSpec;
    use crate::domain::deployment::Concurrency;
    use crate::domain::labels::Labels;
    use crate::domain::request::Purpose;

    fn rule(branches: &[&str], paths: &[&str], ignored: &[&str]) -> PushRule {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        PushRule {
            owner: "acme".to_owned(),
            repo: "shop".to_owned(),
            github_connection_id: "gh_1".to_owned(),
            aws_connection_id: "aws_1".to_owned(),
            branches: list(branches),
            tags: list(&["v*"]),
            paths: list(paths),
            ignore_paths: list(ignored),
            concurrency: Concurrency::Supersede,
            build: BuildSpec::default(),
            kind: Purpose::default(),
            labels: Labels::default(),
        }
    }

    fn pushed(ref_name: &str, paths: &[&str]) -> PushFacts {
        let push = Push {
            ref_name: ref_name.to_owned(),
            before: Some("a".repeat(40)),
            commit: Some("b".repeat(40)),
            commits: 1,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            paths_complete: true,
            ..Push::default()
        };
        PushFacts { repository: Some("Acme/Shop".to_owned()), fork: None, push: Some(push) }
    }

    fn code(rules: &[PushRule], facts: &PushFacts) -> String {
        match decide(rules, PUSH, facts) {
            Ok(start) => format!("{} {}", start.number, start.paths_known),
            Err(reason) => reason.code().to_owned(),
        }
    }

    #[test]
    fn first_matching_rule_decides() {
        let rules = [rule(&["main"], &["web/**"], &[]), rule(&["main", "release/*"], &[], &["docs/**", "**/*.md"])];
        assert_eq!(code(&rules, &pushed("refs/heads/main", &["web/a.js"])), "1 true");
        assert_eq!(code(&rules, &pushed("refs/heads/main", &["api/a.rs", "README.md"])), "2 true");
        assert_eq!(code(&rules, &pushed("refs/heads/main", &["docs/a.txt", "README.md"])), "PATHS_NOT_MATCHED");
        assert_eq!(code(&rules, &pushed("refs/heads/release/1", &["x"])), "2 true");
        assert_eq!(code(&rules, &pushed("refs/heads/dev", &["x"])), "REF_NOT_MATCHED");
        assert_eq!(code(&rules, &pushed("refs/tags/v1", &[])), "1 true", "paths do not count for tags");
        assert_eq!(code(&rules, &pushed("refs/tags/x1", &[])), "REF_NOT_MATCHED");
        assert_eq!(code(&rules, &pushed("refs/notes/x", &[])), "REF_NOT_BRANCH_OR_TAG");
    }

    #[test]
    fn incomplete_paths_start_a_deployment() {
        let rules = [rule(&["main"], &["web/**"], &[])];
        let mut facts = pushed("refs/heads/main", &["api/a.rs"]);
        assert_eq!(code(&rules, &facts), "PATHS_NOT_MATCHED");
        facts.push.as_mut().unwrap().paths_complete = false;
        assert_eq!(code(&rules, &facts), "1 false");
    }

    #[test]
    fn deletions_forks_and_other_events_start_nothing() {
        let rules = [rule(&["**"], &[], &[])];
        let mut facts = pushed("refs/heads/main", &["x"]);
        facts.push.as_mut().unwrap().commit = None;
        assert_eq!(code(&rules, &facts), "BRANCH_DELETED");
        facts.push.as_mut().unwrap().ref_name = "refs/tags/v1".to_owned();
        assert_eq!(code(&rules, &facts), "TAG_DELETED");
        let mut new = pushed("refs/heads/new", &[]);
        (new.push.as_mut().unwrap().before, new.push.as_mut().unwrap().commits) = (None, 0);
        assert_eq!(code(&rules, &new), "BRANCH_WITHOUT_COMMITS");
        let fork = PushFacts { repository: Some("mallory/shop".to_owned()), ..pushed("refs/heads/main", &["x"]) };
        assert_eq!(code(&rules, &fork), "REPOSITORY_WITHOUT_RULE");
        let request = PushFacts { fork: Some("mallory/shop".to_owned()), push: None, ..fork };
        for (event, code) in [
            ("pull_request", "PULL_REQUEST_FROM_FORK"),
            ("pull_request_target", "PULL_REQUEST_FROM_FORK"),
            ("ping", "PING"),
            ("issues", "EVENT_NOT_PUSH"),
        ] {
            assert_eq!(decide(&rules, event, &request).unwrap_err().code(), code);
        }
        let own = PushFacts { fork: None, ..request };
        assert_eq!(decide(&rules, "pull_request", &own).unwrap_err().code(), "PULL_REQUEST");
    }
}
