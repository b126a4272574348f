//! The status that a state itself reports, as opposed to those of earlier states that its output carries along.

use serde_json::{Map, Value};

use super::output::{Output, member};

/// Members in which integrations put the result of a task: Lambda, `startExecution.sync`, HTTP endpoints and functions behind them.
const ENVELOPES: [&str; 4] = ["payload", "output", "responseBody", "body"];

/// Maximum number of keys of a result path above the state's own object.
const MAX_RESULT_PATH: usize = 4;

/// Maximum number of objects with a status that are compared.
const MAX_STATUSES: usize = 2_000;

/// Meaning of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    Failure,
    Approval,
    Progress,
    Success,
    /// A text that is no status of a deployment.
    Other,
}

/// A status in an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub meaning: Meaning,
    pub text: String,
    /// Number of keys above it, envelopes not counted.
    depth: usize,
    /// Set if it is the result of a task in an envelope.
    enveloped: bool,
    /// Set if the object names a stage: true for that of the check.
    stage: Option<bool>,
    /// Set if the member is `status` and not `Status`, which results of AWS's own calls have as well.
    exact: bool,
    fingerprint: u64,
}

impl Status {
    /// Reports whether the state itself says that the deployment succeeded.
    pub fn is_success(&self) -> bool {
        self.meaning == Meaning::Success && (self.exact || self.stage == Some(true))
    }
}

/// Returns the status of the state's own object: the shallowest one, unless it was in the state's input already (`carried`).
pub(super) fn own_status(output: &Output, carried: &[u64]) -> Option<Status> {
    output.roots().find_map(|root| own_in(root, carried))
}

/// Fingerprints of the statuses in a state's input.
pub(super) fn carried(input: &str) -> Vec<u64> {
    let input = Output::of_text(input);
    let statuses = input.roots().flat_map(statuses);
    statuses.map(|status| status.fingerprint).collect()
}

fn own_in(root: &Value, carried: &[u64]) -> Option<Status> {
    let mut found = statuses(root);
    // A failure counts even if the input had the same one: a second check may have failed as the first.
    let is_carried = |status: &Status| status.meaning != Meaning::Failure && carried.contains(&status.fingerprint);
    found.retain(|status| status.stage != Some(false) && !is_carried(status));
    let depth_of = |known: bool, found: &[Status]| {
        found.iter().filter(|status| (status.meaning != Meaning::Other) == known).map(|status| status.depth).min()
    };
    let (known, other) = (depth_of(true, &found), depth_of(false, &found));
    // A text that is no status may be data of the execution, which a task's result below it outweighs; any other object does not.
    let outweighs = |status: &&Status| {
        Some(status.depth) == known && (other.is_none_or(|other| status.depth <= other) || status.enveloped)
    };
    let best = found.iter().filter(|status| status.meaning != Meaning::Other).filter(outweighs);
    let best = best.min_by_key(|status| (status.stage.is_none(), status.meaning));
    best.or_else(|| found.iter().filter(|status| status.meaning == Meaning::Other).min_by_key(|status| status.depth))
        .cloned()
}

fn statuses(root: &Value) -> Vec<Status> {
    let mut found = Vec::new();
    collect(root, Place::default(), &mut found);
    found
}

/// Where in an output an object is.
#[derive(Clone, Copy, Default)]
struct Place {
    depth: usize,
    enveloped: bool,
    path: u64,
}

impl Place {
    fn below(self, key: &str) -> Self {
        Self { depth: self.depth + 1, path: hash(self.path, key), ..self }
    }

    fn inside(self, envelope: &str) -> Self {
        Self { enveloped: true, path: hash(self.path, envelope), ..self }
    }
}

fn collect(value: &Value, place: Place, found: &mut Vec<Status>) {
    if place.depth > MAX_RESULT_PATH || found.len() >= MAX_STATUSES {
        return;
    }
    match value {
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                let element = Place { path: hash(place.path, &at.to_string()), ..place };
                // An array in an array is one level further, which bounds the recursion.
                let depth = place.depth + usize::from(value.is_array());
                collect(value, Place { depth, ..element }, found);
            }
        }
        Value::Object(object) => collect_object(object, place, found),
        _ => {}
    }
}

fn collect_object(object: &Map<String, Value>, place: Place, found: &mut Vec<Status>) {
    let is_envelope = |key: &str| ENVELOPES.iter().any(|envelope| key.eq_ignore_ascii_case(envelope));
    for (key, value) in object.iter().filter(|(key, _)| is_envelope(key)) {
        // An envelope in an envelope is one level further as well.
        let depth = place.depth + usize::from(place.enveloped);
        collect(value, Place { depth, ..place.inside(key) }, found);
    }
    let own = status_of(object, place);
    // `Status` beside a result is the integration's: `SUCCEEDED` of startExecution.sync says only that the child ended.
    let of_integration = !object.contains_key("status") && object.keys().any(|key| is_envelope(key));
    found.extend(own.filter(|own| !of_integration || own.meaning == Meaning::Failure));
    // `Cause` of a handled error may be a whole answer as a text: it is the failure's, not the state's.
    for (key, value) in object.iter().filter(|(key, _)| !is_envelope(key) && *key != "Cause") {
        collect(value, place.below(key), found);
    }
}

fn status_of(object: &Map<String, Value>, place: Place) -> Option<Status> {
    let text = member(object, "status")?.as_str()?.to_owned();
    let stage = member(object, "stage").and_then(Value::as_str);
    Some(Status {
        meaning: meaning(&text),
        depth: place.depth,
        enveloped: place.enveloped,
        stage: stage.map(|stage| stage.contains("CHECK_DEPLOYMENT")),
        exact: object.contains_key("status"),
        fingerprint: hash(hash(place.path, &text), stage.unwrap_or_default()),
        text,
    })
}

fn meaning(status: &str) -> Meaning {
    if status == "WAITING_APPROVAL" {
        return Meaning::Approval;
    }
    let plain: String = status.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    match plain.to_ascii_uppercase().as_str() {
        "SUCCEEDED" | "SUCCESS" | "COMPLETED" => Meaning::Success,
        "FAILED" | "FAILURE" | "ERROR" | "STOPPED" | "ABORTED" | "TIMEDOUT" | "CANCELLED" | "CANCELED" | "REJECTED"
        | "ROLLEDBACK" => Meaning::Failure,
        "INPROGRESS" | "RUNNING" | "PENDING" | "CREATED" | "QUEUED" | "BAKING" | "READY" => Meaning::Progress,
        _ => Meaning::Other,
    }
}

/// FNV-1a: stored with the step, so it must not change between versions.
pub(super) fn hash(seed: u64, text: &str) -> u64 {
    let start = seed ^ 0xcbf2_9ce4_8422_2325;
    text.bytes().chain([0xff]).fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
