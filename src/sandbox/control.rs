//! The sandbox's own calls, under `/_sandbox/{key}/` (`Sandbox::control_url`).
//!
//! | call | what it does |
//! | --- | --- |
//! | `POST registry-notifications` | takes the registry's notification envelope |
//! | `GET`, `PUT`, `DELETE faults` | shows, replaces, clears the settings of what goes wrong |
//! | `PUT roles` | makes a role of either account or changes it: `{"arn", "trustPolicy"}`, the policy as IAM has it |
//! | `GET effects` | what really happened |
//! | `GET`, `DELETE history-gaps` | shows, forgets the gaps between two readings of one execution's history: how many, by milliseconds |

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::aws::trust;
use super::chain;
use super::faults::Faults;
use super::world::World;

/// A role of either account.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Role {
    arn: String,
    trust_policy: Value,
}

/// Answers one control call: status and JSON.
pub fn handle(world: &Arc<World>, method: &Method, path: &str, body: &[u8]) -> (StatusCode, String) {
    match (method.as_str(), path) {
        ("POST", "registry-notifications") => match serde_json::from_slice(body) {
            Ok(envelope) => {
                chain::notified(world, envelope);
                (StatusCode::OK, "{}".to_owned())
            }
            Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("not a registry notification: {error}")),
        },
        ("PUT", "faults") => match serde_json::from_slice::<Faults>(body) {
            Ok(faults) => {
                if let Some(flaw) = faults.flaw() {
                    return refuse(StatusCode::BAD_REQUEST, &flaw);
                }
                world.faults.set(faults);
                show(&world.faults.get())
            }
            Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("faults: {error}")),
        },
        ("GET", "faults") => show(&world.faults.get()),
        ("DELETE", "faults") => {
            world.faults.clear();
            show(&world.faults.get())
        }
        ("PUT", "roles") => match serde_json::from_slice::<Role>(body) {
            Ok(role) => {
                if let Some(flaw) = trust::flaw(&role.trust_policy) {
                    return refuse(StatusCode::BAD_REQUEST, &flaw);
                }
                world.accounts.put_role(&role.arn, role.trust_policy);
                (StatusCode::OK, "{}".to_owned())
            }
            Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("roles: {error}")),
        },
        ("GET", "effects") => show(&world.read(|state| state.effects.clone())),
        ("GET", "history-gaps") => show(&world.readings.gaps()),
        ("DELETE", "history-gaps") => {
            world.readings.clear();
            show(&world.readings.gaps())
        }
        _ => refuse(
            StatusCode::NOT_FOUND,
            "the sandbox has faults, roles, effects, history-gaps and registry-notifications under its control URL",
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
