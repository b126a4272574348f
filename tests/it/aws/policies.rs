//! The policies: those that `panda iam-policy` prints, those of the templates, and the calls of the state machine. IAM's actions and resources are those
//! of the service authorization reference.

use std::collections::{BTreeMap, BTreeSet};

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{TEMPLATES, cloudformation, definition, file, read, terraform};
use crate::cli::{panda, run};

/// The policies with the statements of all features.
const CONTROLLER_FEATURES: &[&str] = &[
    "iam-policy",
    "controller",
    "--preflight",
    "--write-bus-policy",
    "--status-queue",
    "arn:aws:sqs:r:a:q",
    "--kms-key",
    "arn:aws:kms:r:a:key/k",
];
const USER_FEATURES: &[&str] = &["iam-policy", "user", "--preflight", "--create-role"];

/// Actions that AWS added after the reference of the tests was made; botocore's model has the call.
const NEWER: [&str; 2] = ["ecs:ContinueServiceDeployment", "ecs:StopServiceDeployment"];

/// The statements that a command prints: actions by id, and whether they name resources.
async fn printed(args: &[&str]) -> BTreeMap<String, (BTreeSet<String>, bool)> {
    let ended = run(&mut panda(args)).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let policy: Value = serde_json::from_str(&ended.stdout).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    statements
        .map(|one| (one["Sid"].as_str().unwrap().to_owned(), (texts(&one["Action"]), one["Resource"] != json!(["*"]))))
        .collect()
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The statements of one resource of a template, or of all.
fn statements(template: &str, of: impl Fn(&str) -> bool) -> Vec<Value> {
    let all = read("templates", &json!([template]));
    let all = all[template].as_array().unwrap().clone();
    all.into_iter().filter(|one| of(one["in"].as_str().unwrap())).collect()
}

fn by_id(statements: &[Value]) -> BTreeMap<String, (BTreeSet<String>, bool)> {
    statements
        .iter()
        .map(|one| {
            (one["sid"].as_str().unwrap().to_owned(), (texts(&one["actions"]), one["resources"] != json!(["*"])))
        })
        .collect()
}

#[tokio::test]
async fn policies__templates_have_what_the_command_prints() {
    let queue = "arn:aws:sqs:ap-northeast-2:123456789012:panda-status";
    let controller = printed(&["iam-policy", "controller", "--preflight", "--status-queue", queue]).await;
    let user = printed(&["iam-policy", "user", "--preflight"]).await;
    let of_panda = |name: &str| name.starts_with("Panda") || name == "panda";
    for template in [cloudformation("controller"), terraform("controller")] {
        assert_eq!(by_id(&statements(&template, of_panda)), controller, "{template}");
    }
    for template in [cloudformation("user-account"), terraform("user-account")] {
        assert_eq!(by_id(&statements(&template, of_panda)), user, "{template}");
    }
}

#[tokio::test]
async fn policies__names_and_features_are_given() {
    let args =
        ["iam-policy", "controller", "--region", "ap-northeast-2", "--account", "123456789012", "--write-bus-policy"];
    let ended = run(&mut panda(&args)).await;
    let policy: Value = serde_json::from_str(&ended.stdout).unwrap();
    let of = |sid: &str| policy["Statement"].as_array().unwrap().iter().find(|one| one["Sid"] == sid).cloned();
    assert_eq!(
        of("ReadBusPolicy").unwrap()["Resource"],
        json!(["arn:aws:events:ap-northeast-2:123456789012:event-bus/panda"])
    );
    assert_eq!(of("WriteBusPolicy").unwrap()["Action"], json!(["events:PutPermission", "events:RemovePermission"]));
    assert_eq!(of("UseKeys"), None);
    let user = printed(&["iam-policy", "user", "--create-role"]).await;
    assert!(user["CreateRoleOfRules"].0.contains("iam:CreateRole"));
    assert!(!user.contains_key("SimulateOwnPolicies"), "what only the check reads is optional");
    let checks = printed(&["iam-policy", "user", "--preflight"]).await;
    assert!(checks["SimulateOwnPolicies"].0.contains("iam:SimulatePrincipalPolicy"));
}

/// Every action exists, and a statement for all resources has only actions that know none.
#[tokio::test]
async fn policies__least_that_aws_can_express() {
    let mut all: Vec<(String, Vec<String>, bool)> = Vec::new();
    for name in TEMPLATES {
        for template in [cloudformation(name), terraform(name)] {
            for one in statements(&template, |_| true) {
                let actions = texts(&one["actions"]).into_iter().collect();
                all.push((template.clone(), actions, one["resources"] == json!(["*"])));
            }
        }
    }
    for args in [CONTROLLER_FEATURES, USER_FEATURES] {
        for (sid, (actions, has_resources)) in printed(args).await {
            all.push((sid, actions.into_iter().collect(), !has_resources));
        }
    }
    let actions: BTreeSet<&String> = all.iter().flat_map(|(_, actions, _)| actions).collect();
    let known = read("actions", &json!(actions));
    for (place, actions, for_all) in &all {
        for action in actions.iter().filter(|action| !NEWER.contains(&action.as_str())) {
            assert_eq!(known[action]["known"], true, "{place}: {action}");
            // EventBridge's permissions of a bus have no resource; nor have these.
            assert!(!for_all || known[action]["has_resources"] == false, "{place}: {action} has resources");
        }
    }
}

/// The pipeline's two roles may do what the state machine calls, and nothing more.
#[test]
fn policies__of_the_pipeline_are_those_of_its_calls() {
    let text = definition().to_string();
    let mut called = BTreeSet::new();
    for call in text.split("arn:aws:states:::aws-sdk:").skip(1) {
        let (service, operation) = call.split('"').next().unwrap().split_once(':').unwrap();
        called.insert(format!("{service}:{}{}", operation[..1].to_uppercase(), &operation[1..]));
    }
    // CreateDeployment needs these as well, registering a task definition passes its roles, and each call in a user's account assumes a role.
    let beside = [
        "codedeploy:GetApplicationRevision",
        "codedeploy:GetDeploymentConfig",
        "codedeploy:RegisterApplicationRevision",
        "iam:PassRole",
        "sts:AssumeRole",
    ];
    called.extend(beside.map(str::to_owned));
    let of_pipeline = |name: &str| matches!(name, "PipelinePolicy" | "PipelineRole" | "pipeline");
    // A service has CodeDeploy, or shifts its traffic itself.
    let of_ecs = |action: &str| {
        let own = ["UpdateService", "ListServiceDeployments", "DescribeServiceDeployments", "DescribeServiceRevisions"];
        action.strip_prefix("ecs:").is_some_and(|call| own.contains(&call))
    };
    for form in [cloudformation, terraform] {
        for (service, is_ecs) in [("user-service", false), ("user-service-ecs", true)] {
            let both = ["controller", service].map(form);
            let statements = both.iter().flat_map(|template| statements(template, of_pipeline));
            let permitted: BTreeSet<String> = statements.flat_map(|one| texts(&one["actions"])).collect();
            let other = |action: &str| if is_ecs { action.starts_with("codedeploy:") } else { of_ecs(action) };
            let needed: BTreeSet<String> = called.iter().filter(|action| !other(action)).cloned().collect();
            assert_eq!(permitted, needed, "{both:?}");
        }
    }
}

/// docs/aws.md names every action that the command prints.
#[tokio::test]
async fn policies__documented() {
    let document = file("docs/aws.md");
    for args in [CONTROLLER_FEATURES, USER_FEATURES] {
        for (sid, (actions, _)) in printed(args).await {
            for action in actions {
                assert!(document.contains(&format!("`{action}`")), "docs/aws.md does not name {action} of {sid}");
            }
        }
    }
}
