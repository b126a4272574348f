//! Each history of the corpus, read whole.

use std::collections::BTreeMap;

use pretty_assertions::assert_eq;

use super::recorded::{ACCOUNTS, Recorded, all};
use crate::domain::deployment::Facts;
use crate::domain::history::{Memory, Reader, Reading, Verdict};
use crate::domain::names::Names;

fn text<'a>(facts: &'a Facts, name: &str) -> Option<&'a str> {
    let field = match name {
        "cluster_name" => &facts.cluster_name,
        "service_name" => &facts.service_name,
        "task_definition" => &facts.task_definition,
        "green_url" => &facts.green_url,
        "green_service_arn" => &facts.green_service_arn,
        "green_target_group_arn" => &facts.green_target_group_arn,
        "code_deploy_deployment_id" => &facts.code_deploy_deployment_id,
        other => panic!("{other} is not a fact of the corpus"),
    };
    field.as_deref()
}

fn check(recorded: &Recorded, reading: &Reading) {
    let (name, expected) = (&recorded.name, &recorded.expected);
    let codes: Vec<&str> = reading.events.iter().map(|event| event.code.as_str()).collect();
    assert_eq!(codes, expected.events, "{name}");
    let (verdict, reason) = match &reading.verdict {
        None => (None, None),
        Some(Verdict::WaitingApproval) => (Some("waiting_approval"), None),
        Some(Verdict::Succeeded) => (Some("succeeded"), None),
        Some(Verdict::Failed { code, reason }) => (Some(code.as_str()), Some(reason.as_str())),
    };
    assert_eq!(verdict, expected.verdict.as_deref(), "{name}: {:?}", reading.memory);
    if expected.reason.is_some() {
        assert_eq!(reason, expected.reason.as_deref(), "{name}");
    }
    for (fact, value) in &expected.facts {
        assert_eq!(text(&reading.facts, fact), Some(value.as_str()), "{name}: {fact}");
    }
    for fact in &expected.unknown {
        assert_eq!(text(&reading.facts, fact), None, "{name}: {fact}");
    }
    if let Some(success) = expected.reports_success {
        assert_eq!(reading.memory.reports_success(), success, "{name}");
    }
    let seen = reading.memory.seen("CheckDeployment");
    assert!(expected.seen.as_ref().is_none_or(|clause| seen.contains(clause)), "{name}: {seen}");
    let refused = reading.memory.refused();
    match &expected.refused {
        None => assert_eq!(refused, None, "{name}"),
        Some(value) => assert!(refused.as_ref().is_some_and(|refused| refused.contains(value)), "{name}: {refused:?}"),
    }
    assert_eq!(reading.missing, expected.missing, "{name}");
}

#[test]
fn yields_events_facts_and_verdict() {
    let names = Names::default();
    for recorded in all() {
        let reader = Reader { names: &names, accounts: &ACCOUNTS };
        check(&recorded, &reader.read(&recorded.history(), 0, Memory::default()));
    }
}

#[test]
fn has_each_finding_in_three_forms() {
    let mut forms = BTreeMap::<String, usize>::new();
    for recorded in all() {
        *forms.entry(recorded.row).or_default() += 1;
    }
    for row in ["V1", "V2", "V3", "V4", "V5", "V6", "V7", "V8", "V9"] {
        assert!(forms.get(row).is_some_and(|count| *count >= 3), "{row}: {forms:?}");
    }
}

#[test]
fn memory_stays_small() {
    let names = Names::default();
    for recorded in all() {
        let reading = Reader { names: &names, accounts: &ACCOUNTS }.read(&recorded.history(), 0, Memory::default());
        let stored = serde_json::to_string(&reading.memory).unwrap();
        assert!(stored.len() < 2_000, "{}: {stored}", recorded.name);
    }
}
