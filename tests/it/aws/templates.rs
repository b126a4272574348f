//! CloudFormation and Terraform: valid, hardened, and the same.

use std::process::Command;

use panda_testing::helm::installed;
use panda_testing::root;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{TEMPLATES, cfn_lint, cloudformation, file, read, shown, terraform};

#[test]
fn templates__cloudformation_is_valid() {
    // cfn-lint's schema of the States Language knows no substitutions in a resource.
    let folder = tempfile::tempdir().unwrap();
    let files = TEMPLATES.map(|name| {
        let filled = file(&cloudformation(name)).replace("arn:${Partition}:states", "arn:aws:states");
        let path = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&path, filled).unwrap();
        path
    });
    let output = cfn_lint(&files);
    assert!(output.status.success(), "{}{}", shown(&output.stdout), shown(&output.stderr));
}

/// Findings of checkov, which skips those that the templates waive in writing; also the number of checks that passed.
fn checkov(framework: &str, folder: &str) -> (Vec<String>, u64) {
    let output = Command::new(installed("bin/python"))
        .args(["-m", "checkov.main", "--skip-download", "--compact", "--quiet", "-o", "json"])
        .args(["--framework", framework, "-d"])
        .arg(root().join(folder))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", shown(&output.stderr)));
    let failed = answer["results"]["failed_checks"].as_array().into_iter().flatten();
    let finding = |one: &Value| format!("{} {}: {}", one["check_id"], one["resource"], one["check_name"]);
    assert_eq!(answer["summary"]["parsing_errors"], 0, "{}", answer["summary"]);
    (failed.map(finding).collect(), answer["summary"]["passed"].as_u64().unwrap_or_default())
}

#[test]
fn templates__checkov_findings_waived_in_writing() {
    for (framework, folder, at_least) in
        [("cloudformation", "aws/cloudformation", 80), ("terraform", "aws/terraform", 200)]
    {
        let (failed, passed) = checkov(framework, folder);
        assert_eq!(failed, [] as [&str; 0], "{framework}");
        assert!(passed >= at_least, "{framework}: {passed} checks");
    }
}

/// What ECS needs to shift by itself, and to wait for approvals: the deployment controller ECS, a pause, and both target groups on the production rule.
#[test]
fn templates__service_of_ecs_pauses_before_its_shift() {
    let text = file(&cloudformation("user-service-ecs"));
    for part in [
        "DeploymentController: {Type: ECS}",
        "TargetType: PAUSE",
        "Action: ROLLBACK",
        "AlternateTargetGroupArn: !Ref GreenTargets",
        "ProductionListenerRule: !Ref ProductionRule",
    ] {
        assert!(text.contains(part), "{part}");
    }
    let rule = text.split("  ProductionRule:").nth(1).unwrap().split("\n\n").next().unwrap();
    assert!(rule.contains("!Ref BlueTargets") && rule.contains("!Ref GreenTargets"), "{rule}");
    let module = file("aws/terraform/user-service-ecs/main.tf");
    for part in ["\"ECS\"", "\"PAUSE\"", "\"ROLLBACK\"", "alternate_target_group_arn", "production_listener_rule"] {
        assert!(module.contains(part), "{part}");
    }
}

/// Terraform's types of the resources that CloudFormation has too.
#[test]
fn templates__terraform_parses_and_has_the_same_resources() {
    let folders = TEMPLATES.map(terraform);
    let resources = read("terraform", &json!(folders));
    let has = |folder: &str, kind: &str| {
        resources[terraform(folder)].as_array().unwrap().iter().any(|one| one.as_str().unwrap().starts_with(kind))
    };
    for (folder, kinds) in [
        (
            "controller",
            vec![
                "aws_cloudwatch_event_bus.",
                "aws_cloudwatch_event_bus_policy.",
                "aws_cloudwatch_event_rule.",
                "aws_sfn_state_machine.",
                "aws_secretsmanager_secret.",
                "aws_sqs_queue.",
                "aws_iam_role.panda",
            ],
        ),
        ("user-account", vec!["aws_iam_role.panda", "aws_iam_role.rule_target"]),
        (
            "user-service",
            vec![
                "aws_ecs_service.",
                "aws_lb_target_group.",
                "aws_lb_listener.",
                "aws_codedeploy_app.",
                "aws_codedeploy_deployment_group.",
                "aws_iam_role.pipeline",
            ],
        ),
        (
            "user-service-ecs",
            vec![
                "awscc_ecs_service.",
                "aws_lb_target_group.",
                "aws_lb_listener_rule.",
                "aws_iam_role.balancer",
                "aws_iam_role.pipeline",
            ],
        ),
    ] {
        for kind in kinds {
            assert!(has(folder, kind), "{folder} has no {kind}");
        }
    }
}
