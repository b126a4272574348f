//! Each clause of the contract: kept, broken with its own reason, or open.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::recorded::{ACCOUNTS, all};
use crate::domain::history::{
    Checked, ClauseFinding, ClauseState, ExitOutput, HistoryEvent, HistoryKind, LatestArn, check_contract,
};
use crate::domain::lang::Lang;
use crate::domain::names::Names;

const ARN: &str = "arn:aws:states:ap-northeast-2:123456789012:execution:panda:1";
const INPUT: &str = r#"{"account": "210987654321", "detail": {"repository-name": "acme-shop", "image-tag": "dep_1"}}"#;

/// An execution whose parts can be changed one by one.
struct Execution {
    input: Option<&'static str>,
    latest: LatestArn,
    /// Names and outputs of the states; none for a failure that was handled.
    states: Vec<(&'static str, Option<Value>)>,
    end: Option<HistoryKind>,
}

fn kept() -> Execution {
    let registered = json!({"codeDeployDeploymentId": "d-ABC123DEF", "blueUrl": "N/A", "greenService": {
        "url": "http://green.example.com", "serviceArn": "arn:aws:ecs:ap-northeast-2:210987654321:service/c/s"}});
    let arn = |color: &str| format!("arn:aws:elasticloadbalancing:ap-northeast-2:210987654321:targetgroup/{color}/1");
    let checked = json!({"status": "WAITING_APPROVAL", "stage": "CHECK_DEPLOYMENT", "checkResult": {
        "blueTargetGroupArn": arn("blue"), "greenTargetGroupArn": arn("green")}});
    Execution {
        input: Some(INPUT),
        latest: LatestArn::Named(ARN.to_owned()),
        states: vec![
            ("EnsureInfra", Some(json!({"clusterName": "c", "serviceName": "s", "taskDefinition": "t:1"}))),
            ("RegisterTaskAndDeploy", Some(registered)),
            ("CheckDeployment", Some(checked)),
        ],
        end: Some(HistoryKind::Succeeded),
    }
}

impl Execution {
    fn changed(change: impl FnOnce(&mut Self)) -> Vec<ClauseFinding> {
        let mut execution = kept();
        change(&mut execution);
        execution.check()
    }

    fn history(&self) -> Vec<HistoryEvent> {
        let mut kinds = Vec::new();
        for (name, output) in &self.states {
            let name = (*name).to_owned();
            kinds.push(HistoryKind::StateEntered { name: name.clone(), input: None });
            let failure = HistoryKind::Failure { error: Some("ClusterFull".to_owned()), cause: None };
            kinds.push(if output.is_some() { HistoryKind::Progress } else { failure });
            let text = output.as_ref().map(|output| output.as_str().map_or_else(|| output.to_string(), str::to_owned));
            let output = ExitOutput { text: text.or_else(|| Some("{}".to_owned())), ..ExitOutput::default() };
            kinds.push(HistoryKind::StateExited { name, output });
        }
        kinds.extend(self.end.clone());
        let event = |(id, kind)| HistoryEvent { id, previous: id - 1, kind };
        (1..).zip(kinds).map(event).collect()
    }

    fn check(&self) -> Vec<ClauseFinding> {
        let secret = "panda/stepfunctions/acme-shop-latest-execution";
        let (input, latest, history) = (self.input, &self.latest, &self.history());
        let checked = Checked { arn: ARN, input, secret, latest, accounts: &ACCOUNTS, history };
        check_contract(&Names::default(), &checked)
    }
}

fn output(execution: &mut Execution, state: usize) -> &mut Value {
    execution.states[state].1.as_mut().unwrap()
}

fn without(execution: &mut Execution, state: usize, key: &str) {
    output(execution, state).as_object_mut().unwrap().remove(key).unwrap();
}

/// The names of the clauses in a state.
fn in_state(findings: &[ClauseFinding], state: ClauseState) -> Vec<&'static str> {
    findings.iter().filter(|finding| finding.state == state).map(|finding| finding.clause).collect()
}

#[test]
fn whole_execution_keeps_all() {
    let findings = kept().check();
    assert_eq!(findings.len(), 13);
    assert!(
        findings.iter().all(|finding| finding.state == ClauseState::Kept && finding.reason.is_none()),
        "{findings:?}"
    );
}

#[test]
fn rollout_of_ecs_keeps_all() {
    let native = |arn: &str| {
        let arn = arn.to_owned();
        Execution::changed(|execution| {
            without(execution, 1, "codeDeployDeploymentId");
            output(execution, 1)["serviceDeploymentArn"] = json!(arn);
        })
    };
    let kept = native("arn:aws:ecs:ap-northeast-2:210987654321:service-deployment/c/s/1");
    assert_eq!(in_state(&kept, ClauseState::Broken), Vec::<&str>::new());
    let broken = native("arn:aws:ecs:ap-northeast-2:210987654321:service/c/s");
    let code_deploy = broken.iter().find(|finding| finding.clause == "codeDeploy").unwrap();
    assert!(code_deploy.reason.as_ref().unwrap().text(Lang::En).contains("service-deployment"));
}

#[test]
fn rollout_without_id_is_open_where_ecs_can_be_searched() {
    let searched = Execution::changed(|execution| without(execution, 1, "codeDeployDeploymentId"));
    assert_eq!(in_state(&searched, ClauseState::Open), ["codeDeploy"]);
    assert_eq!(in_state(&searched, ClauseState::Broken), [] as [&str; 0]);
    let unnamed = Execution::changed(|execution| {
        without(execution, 1, "codeDeployDeploymentId");
        without(execution, 0, "serviceName");
    });
    assert_eq!(in_state(&unnamed, ClauseState::Broken), ["names", "codeDeploy"]);
}

#[test]
fn each_breach_has_its_own_reason() {
    type Breach = (&'static str, fn(&mut Execution));
    let breaches: [Breach; 28] = [
        ("input", |e| e.input = None),
        ("input", |e| e.input = Some(r#"{"detail": {"repository-name": "acme-shop"}}"#)),
        ("secret", |e| e.latest = LatestArn::Unnamed),
        ("secret", |e| e.latest = LatestArn::Absent),
        ("secret", |e| e.latest = LatestArn::WithoutArn),
        ("secret", |e| e.latest = LatestArn::Named("arn:aws:states:::other".to_owned())),
        ("infra", |e| e.states[0].0 = "Infra"),
        ("infra", |e| e.states[0].1 = None),
        ("infra", |e| *output(e, 0) = json!("{oops")),
        ("names", |e| without(e, 0, "serviceName")),
        ("names", |e| without(e, 0, "taskDefinition")),
        ("registration", |e| e.states[1].0 = "Register"),
        ("registration", |e| e.states[1].1 = None),
        ("registration", |e| *output(e, 1) = json!("{oops")),
        ("codeDeploy", |e| output(e, 1)["codeDeployDeploymentId"] = json!("ecs-svc/1234567890123456789")),
        ("green", |e| without(e, 1, "greenService")),
        ("green", |e| output(e, 1)["greenService"]["url"] = json!("file:///etc/passwd")),
        ("blue", |e| output(e, 1)["blueUrl"] = json!("ftp://blue.example.com")),
        ("accounts", |e| output(e, 1)["blueServiceArn"] = json!("arn:aws:ecs:ap-northeast-2:999999999999:service/s")),
        ("check", |e| e.states[2].0 = "Check"),
        ("check", |e| e.states[2].1 = None),
        ("check", |e| *output(e, 2) = json!("{oops")),
        ("status", |e| output(e, 2)["status"] = json!("SUCCEEDED")),
        ("status", |e| without(e, 2, "status")),
        ("targetGroups", |e| without(e, 2, "checkResult")),
        ("end", |e| e.end = Some(HistoryKind::Failed { error: Some("Panda.X".to_owned()), cause: None })),
        ("end", |e| e.end = Some(HistoryKind::TimedOut { error: None, cause: None })),
        ("end", |e| e.end = Some(HistoryKind::Aborted { error: None, cause: Some("by hand".to_owned()) })),
    ];
    let mut reasons = BTreeSet::new();
    for (clause, breach) in breaches {
        let findings = Execution::changed(breach);
        assert_eq!(in_state(&findings, ClauseState::Broken), [clause], "{findings:?}");
        let broken = findings.iter().find(|finding| finding.clause == clause).unwrap();
        let reason = broken.reason.as_ref().unwrap();
        assert_ne!(reason.text(Lang::Ko), reason.text(Lang::En), "{clause}");
        assert!(reasons.insert(reason.text(Lang::En)), "{clause}: {reason} is said of another breach");
    }
    let clauses: BTreeSet<&str> = breaches.iter().map(|(clause, _)| *clause).collect();
    assert_eq!(clauses.len(), kept().check().len(), "each clause is broken once");
}

#[test]
fn unfinished_execution_leaves_clauses_open() {
    let findings = Execution::changed(|e| {
        e.states.truncate(1);
        e.end = None;
    });
    assert_eq!(in_state(&findings, ClauseState::Broken), [] as [&str; 0]);
    assert_eq!(in_state(&findings, ClauseState::Kept), ["input", "secret", "infra", "names", "end"]);
}

#[test]
fn only_the_failure_of_a_failed_execution_is_broken() {
    let findings = Execution::changed(|e| {
        e.states.truncate(1);
        e.end = Some(HistoryKind::Failed { error: None, cause: Some("no capacity".to_owned()) });
    });
    assert_eq!(in_state(&findings, ClauseState::Broken), ["end"]);
    assert!(
        findings.iter().filter(|finding| finding.state == ClauseState::Open).all(|finding| finding.reason.is_some())
    );
}

/// What the reader follows to the approval keeps the clauses that the approval needs, and what it refuses breaks one.
#[test]
fn agrees_with_the_reader() {
    for recorded in all() {
        let (history, latest) = (recorded.history(), LatestArn::Named(ARN.to_owned()));
        let checked = Checked {
            arn: ARN,
            input: Some(INPUT),
            secret: "",
            latest: &latest,
            accounts: &ACCOUNTS,
            history: &history,
        };
        let broken = in_state(&check_contract(&Names::default(), &checked), ClauseState::Broken);
        let approved = recorded.expected.verdict.as_deref() == Some("waiting_approval");
        if approved && recorded.expected.refused.is_none() {
            assert!(!broken.contains(&"check") && !broken.contains(&"status"), "{}: {broken:?}", recorded.name);
        }
        if recorded.expected.refused.is_some() {
            assert!(!broken.is_empty(), "{}", recorded.name);
        }
    }
}
