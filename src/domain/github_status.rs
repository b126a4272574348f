//! What GitHub shows of a deployment: the state of GitHub's deployment, and the status of the commit.

use std::sync::LazyLock;

use super::catalogue::{EventCode, EventType};
use super::failure::ErrorCode;
use super::labels::Labels;
use super::message::message;
use super::text;
use super::validate::BrokenRule;

/// Environment at GitHub of a deployment whose labels name none.
pub const DEFAULT_ENVIRONMENT: &str = "production";

/// Label that names the environment.
const LABEL: &str = "environment";

/// Longest name of an environment that Panda accepts, in characters; GitHub accepts 255 bytes.
const MAX_ENVIRONMENT: usize = 63;

/// Longest description of a status at GitHub, in characters.
const MAX_DESCRIPTION: usize = 140;

/// State of a deployment at GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum GitHubState {
    /// The commit is known, and nothing was built yet.
    Queued,
    /// An attempt runs, or the deployment waits for its switch.
    InProgress,
    /// It has the traffic.
    Success,
    /// It failed; blue has the traffic.
    Failure,
    /// It was cancelled, another one has the traffic, or the traffic was taken back from it.
    Inactive,
}

/// State of a status of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum CommitState {
    /// The deployment has not ended.
    Pending,
    /// The commit has the traffic.
    Success,
    /// The deployment failed, or the traffic was taken back.
    Failure,
    /// The deployment was cancelled.
    Error,
}

impl GitHubState {
    /// Returns the state's name in GitHub's API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl CommitState {
    /// Returns the state's name in GitHub's API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Service that a deployment's link at GitHub leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownService {
    /// The service behind the production listener.
    Live,
    /// Green before the switch.
    Green,
}

/// Consequences of an event at GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GitHubReport {
    /// State of GitHub's deployment.
    pub deployment: GitHubState,
    /// State of the commit's status.
    pub commit: CommitState,
    /// Service to link; none keeps the link away.
    pub service: Option<ShownService>,
    /// Effect on the environment's earlier deployment.
    pub earlier: Earlier,
}

/// Effect on the deployment that was active before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// It stays as it is.
    Kept,
    /// It has no traffic any more.
    Ended,
    /// It has the traffic again.
    Revived,
}

/// Decides what an event changes at GitHub; none for events that change nothing there.
pub fn report(event_type: EventType, code: &str) -> Option<GitHubReport> {
    let of = |deployment, commit| GitHubReport { deployment, commit, service: None, earlier: Earlier::Kept };
    let progress = of(GitHubState::InProgress, CommitState::Pending);
    match (event_type, code) {
        (EventType::Fail, "cancelled") => Some(of(GitHubState::Inactive, CommitState::Error)),
        (EventType::Fail, "rolled_back_after_switch") => {
            Some(GitHubReport { earlier: Earlier::Revived, ..of(GitHubState::Failure, CommitState::Failure) })
        }
        (EventType::Fail, _) => Some(of(GitHubState::Failure, CommitState::Failure)),
        (_, "repository_cloned") => Some(of(GitHubState::Queued, CommitState::Pending)),
        // The first events of the stages; those of attempts without a clone and build are among them.
        (_, "build_started" | "push_stage_started" | "infra_started" | "blue_green_started" | "retry_started") => {
            Some(progress)
        }
        (_, "awaiting_switch" | "switch_started") => {
            Some(GitHubReport { service: Some(ShownService::Green), ..progress })
        }
        (_, "completed") => Some(GitHubReport {
            service: Some(ShownService::Live),
            earlier: Earlier::Ended,
            ..of(GitHubState::Success, CommitState::Success)
        }),
        (_, "rollback_completed") => {
            Some(GitHubReport { earlier: Earlier::Revived, ..of(GitHubState::Inactive, CommitState::Failure) })
        }
        _ => None,
    }
}

static REPORTED_CODES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let codes = EventCode::STAGES_AND_SUCCESSES.iter().map(|code| code.as_str());
    let reported = codes.filter(|code| report(EventType::Stage, code).is_some());
    reported.chain(ErrorCode::ALL.iter().map(|error| error.event_code())).map(str::to_owned).collect()
});

/// Returns the codes of events that change something at GitHub.
pub fn reported_codes() -> &'static [String] {
    &REPORTED_CODES
}

/// Returns the filter that selects them, with the type of failures in place of their codes, which grow in number.
pub fn events() -> Vec<String> {
    let is_failure = |code: &&String| ErrorCode::ALL.iter().any(|error| error.event_code() == code.as_str());
    let codes = reported_codes().iter().filter(|code| !is_failure(code)).cloned();
    codes.chain([EventType::Fail.as_str().to_owned()]).collect()
}

/// Checks the name of an environment.
///
/// # Errors
/// It is empty, too long, or has control characters.
pub fn check_environment(given: &str) -> Result<(), BrokenRule> {
    let fits = (1..=MAX_ENVIRONMENT).contains(&given.chars().count()) && !given.chars().any(text::is_unfit_for_names);
    if fits { Ok(()) } else { Err(message!("rule.github_environment", max = MAX_ENVIRONMENT)) }
}

/// Returns the environment at GitHub: the label `environment`, or `default`.
pub fn environment<'a>(labels: &'a Labels, default: &'a str) -> &'a str {
    labels.0.get(LABEL).map_or(default, String::as_str)
}

/// Returns the context of the commit's status.
pub fn context(environment: &str) -> String {
    format!("panda/{environment}")
}

/// Cuts a text to the length that GitHub accepts.
pub fn description(message: &str) -> String {
    text::cut(message, MAX_DESCRIPTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(event_type: EventType, code: &str) -> Option<(GitHubState, CommitState)> {
        report(event_type, code).map(|report| (report.deployment, report.commit))
    }

    #[test]
    fn follows_the_traffic() {
        let stage = |code| states(EventType::Stage, code);
        assert_eq!(stage("repository_cloned"), Some((GitHubState::Queued, CommitState::Pending)));
        assert_eq!(stage("build_started"), Some((GitHubState::InProgress, CommitState::Pending)));
        assert_eq!(stage("awaiting_switch"), Some((GitHubState::InProgress, CommitState::Pending)));
        assert_eq!(states(EventType::Success, "completed"), Some((GitHubState::Success, CommitState::Success)));
        assert_eq!(stage("rollback_completed"), Some((GitHubState::Inactive, CommitState::Failure)));
        assert_eq!(states(EventType::Fail, "build_failed"), Some((GitHubState::Failure, CommitState::Failure)));
        assert_eq!(states(EventType::Fail, "cancelled"), Some((GitHubState::Inactive, CommitState::Error)));
        // `ready` follows `awaiting_switch` in the same commit; a milestone is not the end.
        assert_eq!(states(EventType::Success, "ready"), None);
        for quiet in ["build_progress", "deployment_queued", "step_waiting", "an_event_of_a_newer_version"] {
            assert_eq!(stage(quiet), None, "{quiet}");
        }
    }

    #[test]
    fn codes_are_those_of_the_catalogue() {
        let named = ["repository_cloned", "build_started", "push_stage_started", "infra_started", "blue_green_started"];
        let others = ["retry_started", "awaiting_switch", "switch_started", "completed", "rollback_completed"];
        for code in named.iter().chain(&others).chain(&["cancelled", "rolled_back_after_switch"]) {
            assert!(reported_codes().iter().any(|known| known == code), "{code}");
        }
    }

    #[test]
    fn environment_is_a_label_or_the_default() {
        let mut labels = Labels::default();
        assert_eq!(environment(&labels, DEFAULT_ENVIRONMENT), "production");
        labels.0.insert("environment".to_owned(), "staging".to_owned());
        assert_eq!(context(environment(&labels, DEFAULT_ENVIRONMENT)), "panda/staging");
    }

    #[test]
    fn description_fits() {
        assert_eq!(description(&"가".repeat(500)).chars().count(), MAX_DESCRIPTION);
    }
}
