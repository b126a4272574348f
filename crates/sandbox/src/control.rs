//! The control calls of the sandbox, under `/_sandbox/{key}/` (`Sandbox::control_url`).
//!
//! | call | action |
//! | --- | --- |
//! | `POST registry-notifications` | handles the registry's notifications |
//! | `GET`, `PUT`, `DELETE faults` | returns, replaces, clears the injected faults |
//! | `PUT roles` | creates or changes a role of either account: `{"arn", "trustPolicy"}`, with the policy in IAM's format |
//! | `PUT console` | acts on a repository's unfinished `CodeDeploy` deployment, as its console or an alarm would: `{"repository", "act"}` with `continue`, `stop`, `rollBack` or `alarm` |
//! | `PUT weights` | changes the weights of a repository's production listener, as infrastructure code would: `{"repository", "blue", "green"}` with 0 to 999 |
//! | `POST waiting-deployments` | creates `CodeDeploy` deployments of a repository that await `ContinueDeployment`, without containers: `{"repository", "count"}`; with `"native": true` service deployments of ECS |
//! | `GET effects` | returns the counted effects |
//! | `GET`, `DELETE history-gaps` | returns, clears the intervals between two reads of one execution's history: counts by milliseconds |

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::aws::trust;
use super::chain;
use super::console::{self, ConsoleAct};
use super::faults::Faults;
use super::pipeline;
use super::simulation::Simulation;

/// Most deployments that one call of `POST waiting-deployments` creates.
const MOST_WAITING: usize = 100_000;

/// Body of `PUT roles`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Role {
    arn: String,
    trust_policy: Value,
}

/// Body of `PUT console`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Act {
    repository: String,
    act: ConsoleAct,
}

/// Body of `PUT weights`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Weights {
    repository: String,
    blue: u32,
    green: u32,
}

/// Body of `POST waiting-deployments`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Waiting {
    repository: String,
    count: usize,
    /// Service deployments of ECS instead, each of a separate service.
    #[serde(default)]
    native: bool,
}

/// Handles one control call. Returns status and JSON body.
pub fn handle(simulation: &Arc<Simulation>, method: &Method, path: &str, body: &[u8]) -> (StatusCode, String) {
    match (method.as_str(), path) {
        ("POST", "registry-notifications") => match serde_json::from_slice(body) {
            Ok(envelope) => {
                chain::notified(simulation, envelope);
                (StatusCode::OK, "{}".to_owned())
            }
            Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("not a registry notification: {error}")),
        },
        ("PUT", "faults") => match serde_json::from_slice::<Faults>(body) {
            Ok(faults) => {
                if let Some(flaw) = faults.flaw() {
                    return refuse(StatusCode::BAD_REQUEST, &flaw);
                }
                simulation.faults.set(faults);
                show(&simulation.faults.get())
            }
            Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("faults: {error}")),
        },
        ("GET", "faults") => show(&simulation.faults.get()),
        ("DELETE", "faults") => {
            simulation.faults.clear();
            show(&simulation.faults.get())
        }
        ("PUT", "roles") => match serde_json::from_slice::<Role>(body) {
            Ok(role) => {
                if let Some(flaw) = trust::flaw(&role.trust_policy) {
                    return refuse(StatusCode::BAD_REQUEST, &flaw);
                }
                simulation.accounts.put_role(&role.arn, role.trust_policy);
                (StatusCode::OK, "{}".to_owned())
            }
            Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("roles: {error}")),
        },
        ("PUT", "console") => match serde_json::from_slice::<Act>(body) {
            Ok(Act { repository, act }) => match console::act(simulation, &repository, act) {
                Ok(id) => show(&json!({"deploymentId": id})),
                Err(why) => refuse(StatusCode::CONFLICT, &why),
            },
            Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("console: {error}")),
        },
        ("PUT", "weights") => match serde_json::from_slice::<Weights>(body) {
            Ok(Weights { repository, blue, green }) => match console::set_weights(simulation, &repository, blue, green)
            {
                Ok(()) => (StatusCode::OK, "{}".to_owned()),
                Err(why) => refuse(StatusCode::CONFLICT, &why),
            },
            Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("weights: {error}")),
        },
        ("POST", "waiting-deployments") => match serde_json::from_slice::<Waiting>(body) {
            Ok(Waiting { count, .. }) if count > MOST_WAITING => {
                refuse(StatusCode::BAD_REQUEST, &format!("waiting-deployments: count is {MOST_WAITING} at most"))
            }
            Ok(Waiting { repository, count, native }) => {
                let create = if native { pipeline::native::create_waiting } else { pipeline::create_waiting };
                show(&json!({"deploymentIds": create(simulation, &repository, count)}))
            }
            Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("waiting-deployments: {error}")),
        },
        ("GET", "effects") => show(&simulation.read(|state| state.effects.clone())),
        ("GET", "history-gaps") => show(&simulation.history_gaps.gaps()),
        ("DELETE", "history-gaps") => {
            simulation.history_gaps.clear();
            show(&simulation.history_gaps.gaps())
        }
        _ => refuse(
            StatusCode::NOT_FOUND,
            "the sandbox has faults, roles, console, weights, waiting-deployments, effects, history-gaps and registry-notifications under its control URL",
        ),
    }
}

fn show(value: &impl serde::Serialize) -> (StatusCode, String) {
    match serde_json::to_string(value) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refuse(status: StatusCode, message: &str) -> (StatusCode, String) {
    (status, json!({"message": message}).to_string())
}
