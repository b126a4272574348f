//! Monitoring for operators: alerts name existing metrics and runbooks, dashboards are included unchanged.

use panda::metrics::Metrics;
use serde_json::Value;

use super::{RULE, case, chart, documents, objects, only, render3, text};

const MONITOR: &str = "monitoring.coreos.com/v1/ServiceMonitor";

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn chart_monitoring__unknown_kinds_omitted() {
    let without = objects("minimal", &[]);
    assert!(of_kind(&without, "ServiceMonitor").is_empty() && of_kind(&without, "PrometheusRule").is_empty());
    let with = objects("minimal", &["--api-versions", MONITOR, "--api-versions", RULE]);
    assert!(of_kind(&with, "ServiceMonitor").len() == 1 && of_kind(&with, "PrometheusRule").len() == 1);
    let off = objects("bare", &["--api-versions", MONITOR, "--api-versions", RULE]);
    assert!(of_kind(&off, "ServiceMonitor").is_empty() && of_kind(&off, "PrometheusRule").is_empty());
}

#[test]
fn chart_monitoring__monitor_selects_service_port() {
    for case in ["production", "switches"] {
        let objects = objects(case, &[]);
        let (monitor, service) = (only(&objects, "ServiceMonitor"), only(&objects, "Service"));
        for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(service["metadata"]["labels"][label], *value, "{case}");
        }
        assert_eq!(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"], "{case}");
    }
}

#[test]
fn alerts__name_existing_metrics_and_runbooks() {
    let metrics = Metrics::default();
    // Metrics text omits a family without series.
    metrics.reconcile.register_steps(&["build_image"]);
    let metrics = metrics.text();
    let operations = text("docs/operations.md");
    let objects = objects("production", &[]);
    let rules = only(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 4);
    for rule in rules {
        let (alert, expression) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: Vec<&str> = words.filter(|word| word.starts_with("panda_")).collect();
        assert!(!named.is_empty(), "{alert}");
        for metric in named {
            // A family's name lacks the suffixes of counters and buckets.
            let family = metric.trim_end_matches("_total").trim_end_matches("_bucket");
            assert!(metrics.contains(&format!("# TYPE {family} ")), "{alert}: there is no {metric}");
        }
        for matcher in expression.split(['{', '}', ',']).filter_map(|part| part.trim().split_once("=\"")) {
            let (label, value) = (matcher.0, matcher.1.trim_end_matches('"'));
            let ours = ["namespace", "service"].contains(&label);
            assert!(ours || metrics.contains(&format!("{label}=\"{value}\"")), "{alert}: nothing has {label}={value}");
        }
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(runbook.ends_with(&format!("#{}", alert.to_lowercase())), "{runbook}");
        assert!(operations.contains(&format!("\n### {alert}\n")), "docs/operations.md has no section {alert}");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{alert}");
    }
}

#[test]
fn chart_monitoring__dashboards_unchanged() {
    const BRACES: &str = "{\"panels\": [{\"legend\": \"{{ status }}\", \"text\": \"트래픽\"}]}\n";
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("panda");
    for entry in walkdir::WalkDir::new(chart()) {
        let entry = entry.unwrap();
        let target = copy.join(entry.path().strip_prefix(chart()).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
    std::fs::create_dir_all(copy.join("dashboards")).unwrap();
    std::fs::write(copy.join("dashboards/One_More.json"), BRACES).unwrap();
    let objects = documents(&[render3(&copy, &case("switches"), &[])]).remove(0);
    let maps: Vec<&Value> =
        objects.iter().filter(|object| object["metadata"]["labels"]["grafana_dashboard"] == "yes").collect();
    let files: Vec<_> = std::fs::read_dir(copy.join("dashboards")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(maps.len(), files.iter().filter(|file| file.extension().is_some_and(|end| end == "json")).count());
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "json")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let map = maps.iter().find(|map| map["data"][name].is_string()).unwrap_or_else(|| panic!("{name}: {maps:?}"));
        assert_eq!(map["data"][name].as_str().unwrap().trim_end(), std::fs::read_to_string(file).unwrap().trim_end());
        assert_eq!(map["metadata"]["namespace"], "monitoring");
    }
    assert!(maps.iter().any(|map| map["metadata"]["name"] == "panda-deployer-dashboard-one-more"), "{maps:?}");
}
