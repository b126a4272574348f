//! The state machine: one text in the file and in the template, integrations of SDKs only, nothing secret in its outputs.

use panda_testing::helm::renewing;
use panda_testing::root;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{cloudformation, definition, file, read};

const MARK: &str = "DefinitionString: |-\n";

#[test]
fn state_machine__template_has_the_file() {
    let (path, asl) = (cloudformation("controller"), file("aws/state-machine.asl.json"));
    let template = file(&path);
    let (before, rest) = template.split_once(MARK).unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let indented: Vec<String> = asl.trim_end().lines().map(|line| format!("        {line}")).collect();
    let made = format!("{before}{MARK}{}\n\n{after}", indented.join("\n"));
    if renewing() {
        return std::fs::write(root().join(path), made).unwrap();
    }
    assert_eq!(template, made, "PANDA_RENEW=1 writes it again");
    assert_eq!(read("definition", &json!(path)).as_str().map(str::trim_end), Some(asl.trim_end()));
}

/// All states, also those in branches, by name.
fn states(of: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, state) in of["States"].as_object().unwrap() {
        found.push((name.clone(), state.clone()));
        for branch in state["Branches"].as_array().into_iter().flatten() {
            found.extend(states(branch));
        }
    }
    found
}

#[test]
fn state_machine__calls_services_without_functions() {
    let definition = definition();
    let states = states(&definition);
    let tasks: Vec<&Value> =
        states.iter().filter(|(_, state)| state["Type"] == "Task").map(|(_, state)| state).collect();
    assert!(tasks.len() >= 9, "{}", tasks.len());
    for task in tasks {
        assert!(task["Resource"].as_str().unwrap().starts_with("arn:aws:states:::aws-sdk:"), "{task}");
    }
    for name in ["EnsureInfra", "RegisterTaskAndDeploy", "CheckDeployment"] {
        assert!(definition["States"][name].is_object(), "{name}");
    }
    let text = definition.to_string();
    assert!(!text.contains("lambda"), "a function");
}

/// The secret comes before everything else, so that Panda finds the execution in time.
#[test]
fn state_machine__records_its_execution_first() {
    let definition = definition();
    let first = &definition["States"][definition["StartAt"].as_str().unwrap()];
    assert_eq!(first["Resource"], "arn:aws:states:::aws-sdk:secretsmanager:putSecretValue");
    assert_eq!(first["Parameters"]["SecretString.$"], "$$.Execution.Id");
}

/// All calls into the user's account are made with its role, and those of the controller with the state machine's own.
#[test]
fn state_machine__acts_with_the_role_of_the_account() {
    for (name, state) in states(&definition()).into_iter().filter(|(_, state)| state["Type"] == "Task") {
        let is_own = state["Resource"].as_str().unwrap().contains(":secretsmanager:");
        assert_eq!(state["Credentials"]["RoleArn.$"] == "$.role", !is_own, "{name}");
    }
}
