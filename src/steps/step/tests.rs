//! Tests of the stored names and states.

use super::*;
use serde_json::json;

/// Rows of running deployments contain these names: renaming one would strand them.
#[test]
fn stored_names_and_states_are_stable() {
    assert_eq!(
        Step::NAMES,
        [
            "ensure_event_rule",
            "grant_event_bus",
            "fetch_source",
            "build_image",
            "push_image",
            "find_execution",
            "follow_execution",
            "find_rollout",
            "check_rollout",
            "verify_green",
            "await_switch",
            "check_gates",
            "switch_traffic",
            "confirm_switch",
            "watch_traffic",
            "resume",
            "cancel",
            "roll_back"
        ]
    );
    for (name, state) in [
        ("ensure_event_rule", json!({"denials": 0})),
        ("grant_event_bus", json!({"rule_pending": false})),
        ("fetch_source", json!({})),
        ("build_image", json!({"dockerfile": "Dockerfile"})),
        ("push_image", json!({"image": "a-b:dep_1"})),
        ("push_image", json!({"image": "a-b:dep_1", "reuse": true})),
        ("push_image", json!({"image": "a-b:dep_1", "renewals": 2})),
        ("push_image", json!({"image": "", "publish": "sha256:0"})),
        ("push_image", json!({"image": "", "again": true})),
        ("find_execution", json!({"image_tag": "dep_1", "image_digest": "sha256:0"})),
        ("find_execution", json!({"image_tag": "dep_1-2", "image_digest": "sha256:0", "existing": true})),
        ("find_execution", json!({"image_tag": "dep_1-2", "image_digest": "sha256:0", "again": true})),
        ("follow_execution", json!({"execution_arn": "arn:x", "task_failed": false})),
        (
            "follow_execution",
            json!({"execution_arn": "arn:x", "task_failed": true, "memory": {"failures": {"7": "E: c"}}}),
        ),
        ("find_rollout", json!({})),
        ("find_rollout", json!({"seen": "nothing", "replaced": 1})),
        ("check_rollout", json!({"rollout": "d-1", "seen": "nothing"})),
        ("verify_green", json!({"green_url": "http://g", "rollout": "d-1"})),
        ("await_switch", json!({"rollout": "d-1"})),
        (
            "await_switch",
            json!({
                "rollout": "arn:aws:ecs:ap-northeast-2:123456789012:service-deployment/main/shop/1",
                "pause": {"hook": "h-1", "stage": "POST_TEST_TRAFFIC_SHIFT", "until": "2026-11-30T10:00:00Z"},
            }),
        ),
        ("check_gates", json!({"rollout": "d-1", "at": "before_switch", "request": 7})),
        (
            "check_gates",
            json!({
                "rollout": "d-1", "at": "bake", "seconds": 90, "begun": true, "waited_ms": 30_000,
                "open": [{"name": "errors", "measured": 2, "passed": 1, "failed": 0, "wait_ms": 5_000}],
            }),
        ),
        ("switch_traffic", json!({"rollout": "d-1"})),
        ("switch_traffic", json!({"rollout": "d-1", "request": 7})),
        ("switch_traffic", json!({"rollout": "d-1", "replaced": 1})),
        ("confirm_switch", json!({"rollout": "d-1"})),
        ("watch_traffic", json!({"rollout": "d-1"})),
        ("roll_back", json!({"rollout": "d-1", "request": 7})),
        ("watch_traffic", json!({"rollout": "d-1", "looks_after_end": 2})),
        ("resume", json!({"step": "push_image", "state": {"image": "a-b:dep_1"}, "past": {"execution_arn": "arn:x"}})),
        ("cancel", json!({"during": "build_image", "stage": 1, "looks": 0, "stopping": false})),
        ("cancel", json!({"during": "push_image", "stage": 2, "looks": 0, "stopping": false, "refused": true})),
    ] {
        let step = Step::parse(name, &state.to_string()).unwrap();
        assert_eq!((step.name(), step.state()), (name, state));
    }
}

#[test]
fn states_of_before_and_new_rows_are_read() {
    let before_ecs = json!({"code_deploy_deployment_id": "d-1"});
    let stored = Step::parse("await_switch", &before_ecs.to_string()).unwrap();
    assert_eq!(stored.state(), json!({"rollout": "d-1"}), "rows from before rollouts of ECS stay readable");
    assert!(Step::parse(FIRST_STEP, "{}").is_ok(), "a new row has no state");
    assert!(Step::parse("follow_execution", "{}").unwrap_err().contains("execution_arn"));
    assert!(Step::parse("dance", "{}").unwrap_err().contains("dance"));
}

#[test]
fn only_build_steps_need_a_permit() {
    assert_eq!(Step::heavy_names(), ["fetch_source", "build_image", "push_image"]);
}
