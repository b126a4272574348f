//! Catalogue of events: every message that a client can see, as data, in Korean (the default on the wire) and English.
//!
//! `events.json` is the agreed catalogue and stays unchanged. `additions.json` holds the events that Panda adds, and
//! `extra_details.json` the details that Panda adds to agreed events.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::failure::ErrorCode;
pub use super::lang::Lang;
use super::message::{self, Message, Translated};
use super::text;

/// Complete list of event names on the wire (the SSE field `event`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum EventType {
    /// Progress of an unfinished deployment.
    Stage,
    /// The deployment is ready for the switch, or completed.
    Success,
    /// The deployment has failed.
    Fail,
}

impl EventType {
    /// Returns the name used on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

macro_rules! event_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal),+ $(,)?) => {
        /// Code of an event of a deployment.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventCode {
            $($(#[doc = $doc])+ $variant,)+
            /// The deployment failed with this error code.
            Failed(ErrorCode),
        }

        impl EventCode {
            /// All codes except [`Self::Failed`].
            pub const STAGES_AND_SUCCESSES: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the code used in the catalogue and in the table.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Failed(error) => error.event_code(),
                }
            }
        }
    };
}

event_codes! {
    /// [Step 1] EventBridge rule created; the rule and its target exist in the user's account.
    EventRuleCreated = "event_rule_created",
    /// [Step 2] Requesting event bus permission...; just before PutPermission on the controller's event bus.
    EventBusPermissionRequested = "event_bus_permission_requested",
    /// [Step 2] Event bus permission granted; the permission was read back from the bus policy.
    EventBusPermissionGranted = "event_bus_permission_granted",
    /// [Stage 1] Dockerfile search and Docker build - cloning repository...; before the clone.
    CloneStarted = "clone_started",
    /// [Stage 1] Repository cloned; after the clone.
    RepositoryCloned = "repository_cloned",
    /// [Stage 1] Searching for Dockerfile....
    DockerfileSearchStarted = "dockerfile_search_started",
    /// [Stage 1] Dockerfile found.
    DockerfileFound = "dockerfile_found",
    /// [Stage 1] Docker image build starting....
    BuildStarted = "build_started",
    /// [Stage 1] Docker build in progress: {message}; for lines of the engine's build output.
    BuildProgress = "build_progress",
    /// [Stage 1] Docker image build completed.
    BuildCompleted = "build_completed",
    /// [Stage 2] Push image to ECR - pushing image to ECR....
    PushStageStarted = "push_stage_started",
    /// [Stage 2] ECR repository verified.
    EcrRepositoryEnsured = "ecr_repository_ensured",
    /// [Stage 2] Logging in to ECR....
    EcrLoginStarted = "ecr_login_started",
    /// [Stage 2] ECR login completed.
    EcrLoginCompleted = "ecr_login_completed",
    /// [Stage 2] Image push starting.
    PushStarted = "push_started",
    /// [Stage 2] Push in progress: {message}; for changes of a layer's status, never for each byte count.
    PushProgress = "push_progress",
    /// [Stage 2] Image push completed; the registry answered with the manifest's digest.
    PushCompleted = "push_completed",
    /// [Stage 2] The new tag of an existing image started no execution; the image is pushed again with another manifest.
    PushRepeated = "push_repeated",
    /// [Stage 3] ECS deployment starting; TaskStateEntered of EnsureInfra.
    InfraStarted = "infra_started",
    /// [Stage 3] ECS deployment completed; TaskStateExited of EnsureInfra.
    InfraCompleted = "infra_completed",
    /// [Stage 4] CodeDeploy blue/green deployment starting; TaskStateEntered of RegisterTaskAndDeploy.
    BlueGreenStarted = "blue_green_started",
    /// [Stage 4] Blue service running; TaskStateExited of RegisterTaskAndDeploy, when the output has the blue URL.
    BlueRunning = "blue_running",
    /// [Stage 4] Green service ready; on the same exit, when the output has the green URL.
    GreenReady = "green_ready",
    /// [Stage 4] CodeDeploy blue/green deployment in progress; on the same exit, last of the three, with all values of the output.
    BlueGreenInProgress = "blue_green_in_progress",
    /// [Stage 4] Green service deployed - waiting for traffic switch; TaskStateExited of CheckDeployment with status WAITING_APPROVAL.
    AwaitingSwitch = "awaiting_switch",
    /// [Stage 4] Deployment completed; the traffic is on green: a switch was confirmed, or the history has ExecutionSucceeded.
    DeploymentCompleted = "deployment_completed",
    /// Deployment ready for manual traffic switch; right after awaiting_switch, in the same commit; status DEPLOYMENT_READY.
    Ready = "ready",
    /// Deployment completed successfully; right after deployment_completed, in the same commit; status COMPLETED.
    Completed = "completed",
    /// [Stage {stage}] Waiting - {reason}; once for each reason why a step has to wait and retry.
    StepWaiting = "step_waiting",
    /// [Stage {stage}] AWS refuses the connection's credentials; the deployment waits for their renewal.
    CredentialsRejected = "credentials_rejected",
    /// [Stage {stage}] AWS accepts the connection's credentials again; the deployment resumes.
    CredentialsAccepted = "credentials_accepted",
    /// [Stage 4] Green's health check is skipped, as the commit or the pipeline configures.
    HealthCheckSkipped = "health_check_skipped",
    /// [Stage 4] Checking gates ({at}): {gates}.
    GatesStarted = "gates_started",
    /// [Stage 4] Gate {gate}, measurement {number}.
    GateMeasured = "gate_measured",
    /// [Stage 4] Gate {gate} passed.
    GatePassed = "gate_passed",
    /// [Stage 4] Gate not passed; what follows is its `onFail`.
    GateNotPassed = "gate_not_passed",
    /// [Stage {stage}] {by} overrode the gates of the policy, for a start or a switch.
    GatesOverridden = "gates_overridden",
    /// [Stage 4] The rollout was found at ECS by the digest of the image; the pipeline reported no id.
    RolloutFound = "rollout_found",
    /// [Stage 4] The requested switch was refused by the listener guard; the deployment stays DEPLOYMENT_READY.
    SwitchRefused = "switch_refused",
    /// [Stage 4] The listener is not checked before the switch; the credentials lack a permission that only the guard needs.
    ListenerUnchecked = "listener_unchecked",
    /// [Stage 4] Traffic switch started; CodeDeploy accepted ContinueDeployment, or is already shifting traffic.
    SwitchStarted = "switch_started",
    /// [Stage 4] Traffic moved: green {green} %, blue {blue} %.
    TrafficShifted = "traffic_shifted",
    /// [Stage 4] Traffic switch started outside Panda; CodeDeploy was continued by its console or API.
    ContinuedOutside = "continued_outside",
    /// [Stage 4] CodeDeploy ended after the switch without a rollback; the traffic stays on green.
    KeptOnGreen = "kept_on_green",
    /// [Stage 4] Rollback requested by {by}; the traffic is about to be taken back at AWS.
    RollbackStarted = "rollback_started",
    /// [Stage 4] CodeDeploy accepted the stop with a rollback, or is moving the traffic back.
    RollbackReturning = "rollback_returning",
    /// [Stage 4] The traffic was seen on blue again.
    RollbackCompleted = "rollback_completed",
    /// [Stage 4] Too late: AWS has ended the deployment, and blue is gone.
    RollbackTooLate = "rollback_too_late",
    /// [Stage 4] The rollback at AWS was not possible or not confirmed; the deployment stays COMPLETED.
    RollbackFailed = "rollback_failed",
    /// [Stage 4] The followed execution ended; another one of the same image is followed.
    ExecutionReplaced = "execution_replaced",
    /// [Stage {stage}] Stopping the deployment; a cancel was requested.
    CancelStarted = "cancel_started",
    /// [Stage 1] Waiting for its turn; the target has an unfinished deployment, and the request allows queueing.
    DeploymentQueued = "deployment_queued",
    /// [Stage 1] Waiting for the end of a freeze, which holds the start.
    DeploymentFrozen = "deployment_frozen",
    /// [Stage {stage}] {by} overrode a freeze, for a start or a switch.
    FreezeOverridden = "freeze_overridden",
    /// [Stage 1] Waiting for a window of the policy, in which starts are permitted.
    WindowAwaited = "window_awaited",
    /// [Stage {stage}] {by} overrode the windows of the policy, for a start or a switch.
    WindowOverridden = "window_overridden",
    /// [Stage 4] {by} approved the switch, which needs more approvers.
    SwitchApproved = "switch_approved",
    /// [Stage 1] Attempt {attempt}; a retry of a failed deployment was requested.
    RetryStarted = "retry_started",
    /// [Stage 1] Submodules and Git LFS files are not fetched; the commit contains some.
    SourceLeftOut = "source_left_out",
    /// [Stage {stage}] The ECR repository's owner is not checked; the credentials lack a permission that only the check needs.
    OwnershipUnchecked = "ownership_unchecked",
}

/// One entry of `events.json` or `additions.json`.
#[derive(Debug, Deserialize)]
struct Entry {
    code: String,
    #[serde(rename = "type")]
    event_type: EventType,
    message: Translated,
    details: Option<Map<String, Value>>,
}

/// Entries by code. The files are compiled in, and a test looks up every code, so that a broken file cannot be shipped.
static CATALOGUE: LazyLock<HashMap<String, Entry>> = LazyLock::new(|| {
    let mut catalogue: HashMap<String, Entry> = [include_str!("events.json"), include_str!("additions.json")]
        .into_iter()
        .flat_map(|text| serde_json::from_str::<Vec<Entry>>(text).unwrap_or_default())
        .map(|entry| (entry.code.clone(), entry))
        .collect();
    for (code, extra) in extra_details() {
        if let Some(details) = catalogue.get_mut(&code).and_then(|entry| entry.details.as_mut()) {
            for (name, template) in extra {
                details.entry(name).or_insert(template);
            }
        }
    }
    catalogue
});

/// Returns the details that Panda adds to events of the agreed catalogue, by code. They never replace an agreed detail.
fn extra_details() -> HashMap<String, Map<String, Value>> {
    serde_json::from_str(include_str!("extra_details.json")).unwrap_or_default()
}

/// An event as clients see it, in one language.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Event name on the wire.
    pub event_type: EventType,
    /// Message with all placeholders filled in.
    pub message: String,
    /// Details of the event; none for `success` and `fail`.
    pub details: Option<Map<String, Value>>,
}

/// Parameter with the form of the parameter `reason` for other languages than English, as [`Message::to_json`] writes it.
pub const REASON_TEXT: &str = "reasonText";

/// Replaces the English reason by its text in `lang`. A key that this version does not know leaves the English one.
fn translated(params: &Map<String, Value>, lang: Lang) -> Cow<'_, Map<String, Value>> {
    let reason = params.get(REASON_TEXT).filter(|_| lang != Lang::En).and_then(Message::from_json);
    let Some(reason) = reason else { return Cow::Borrowed(params) };
    let mut params = params.clone();
    params.insert("reason".to_owned(), Value::String(text::reason(&reason.text(lang))));
    Cow::Owned(params)
}

/// Renders the event `code` with `params` in `lang`. Omits details whose parameter is absent. Renders a code that this version does
/// not know (a newer replica wrote it) as a stage whose message is the code.
pub fn render(code: &str, params: &Map<String, Value>, lang: Lang) -> Rendered {
    let Some(entry) = CATALOGUE.get(code) else {
        return Rendered { event_type: EventType::Stage, message: code.to_owned(), details: Some(Map::new()) };
    };
    let translated = translated(params, lang);
    let params = &*translated;
    let details = entry.details.as_ref().map(|details| {
        details
            .iter()
            .filter_map(|(name, value)| render_value(value, params, lang).map(|value| (name.clone(), value)))
            .collect()
    });
    Rendered { event_type: entry.event_type, message: fill(entry.message.text(lang), params), details }
}

fn render_value(value: &Value, params: &Map<String, Value>, lang: Lang) -> Option<Value> {
    match value {
        Value::String(template) => match sole_parameter(template) {
            Some(name) => params.get(name).filter(|value| !value.is_null()).cloned(),
            None => Some(Value::String(fill(template, params))),
        },
        Value::Object(translated) => {
            let template = translated.get(lang.as_str())?.as_str()?;
            Some(Value::String(fill(template, params)))
        }
        other => Some(other.clone()),
    }
}

/// Returns `name` if the whole template is `{name}`: the parameter then keeps its JSON type.
fn sole_parameter(template: &str) -> Option<&str> {
    template.strip_prefix('{')?.strip_suffix('}').filter(|name| !name.contains(['{', '}']))
}

/// Fills a template with an event's parameters.
fn fill(template: &str, params: &Map<String, Value>) -> String {
    message::fill(template, |name| match params.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        value => Some(Cow::Owned(value.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn params(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn enum_and_files_have_the_same_codes() {
        let mut in_code: Vec<&str> = EventCode::STAGES_AND_SUCCESSES.iter().map(|code| code.as_str()).collect();
        in_code.extend(ErrorCode::ALL.iter().map(|code| code.event_code()));
        in_code.sort_unstable();
        let mut in_files: Vec<&str> = CATALOGUE.keys().map(String::as_str).collect();
        in_files.sort_unstable();
        assert_eq!(in_code, in_files);
        for code in ErrorCode::ALL {
            assert_eq!(CATALOGUE[code.event_code()].event_type, EventType::Fail);
        }
    }

    #[test]
    fn extra_details_replace_no_agreed_detail() {
        let agreed: Vec<Entry> = serde_json::from_str(include_str!("events.json")).unwrap();
        let extra = extra_details();
        assert!(extra.contains_key("dockerfile_found"));
        for (code, details) in extra {
            let agreed = agreed.iter().find(|entry| entry.code == code).unwrap().details.as_ref().unwrap();
            assert!(details.keys().all(|name| !agreed.contains_key(name)), "{code}");
        }
        let params = params(&json!({"path": "/w/d", "dockerfile": "d", "context": "."}));
        let details = render("dockerfile_found", &params, Lang::En).details.unwrap();
        assert_eq!(Value::Object(details), json!({"stage": 1, "path": "/w/d", "dockerfile": "d", "context": "."}));
    }

    #[test]
    fn keeps_braces_inside_a_parameter() {
        let rendered = render("build_progress", &params(&json!({"message": "RUN echo {path} {"})), Lang::Ko);
        assert_eq!(rendered.message, "[Stage 1] Docker 빌드 진행 중: RUN echo {path} {");
    }

    #[test]
    fn omits_a_detail_without_its_parameter() {
        let rendered = render("awaiting_switch", &params(&json!({"deployment_id": "dep_1"})), Lang::En);
        let details = rendered.details.unwrap();
        assert_eq!(details["message"], "Call POST /api/v1/deploy/dep_1/switch to switch the traffic");
        assert!(!details.contains_key("blueUrl"));
        assert_eq!(details["stage"], 4);
    }

    #[test]
    fn reason_is_rendered_in_the_language_of_the_event() {
        let text = json!({"key": "reason.no_builder", "params": {"repository": "acme/shop"}});
        let params = |text: Value| params(&json!({"stage": 2, "reason": "in English", "reasonText": text}));
        let rendered = |text, lang| render("step_waiting", &params(text), lang).message;
        assert_eq!(rendered(text.clone(), Lang::En), "[Stage 2] Waiting - in English");
        assert!(
            rendered(text, Lang::Ko)
                .ends_with("acme/shop을(를) 담당하는 빌더가 없습니다. 범위가 맞는 빌더를 PANDA_BUILDERS에 추가하세요")
        );
        let newer = json!({"key": "reason.newer", "params": {}});
        assert!(rendered(newer, Lang::Ko).ends_with("in English"));
    }

    #[test]
    fn sole_parameter_keeps_its_json_type() {
        let rendered = render("step_waiting", &params(&json!({"stage": 2, "reason": "x"})), Lang::En);
        assert_eq!(rendered.message, "[Stage 2] Waiting - x");
        assert_eq!(rendered.details.unwrap()["stage"], json!(2));
    }
}
