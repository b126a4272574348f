//! The dashboards have a valid layout and include every metric.

use std::collections::BTreeSet;

use panda::metrics::Metrics;
use pretty_assertions::assert_eq;

use crate::support::dashboard::{names, panels, read, targets};

/// The dashboard on the metrics.
const OPERATIONS: &str = "operations.json";

#[test]
fn dashboards__use_chosen_source_and_place_panels_once() {
    let mut uids = BTreeSet::new();
    for name in names() {
        let dashboard = read(&name);
        assert!(uids.insert(dashboard["uid"].as_str().unwrap().to_owned()), "{name}: another one has its uid");
        let source = &dashboard["templating"]["list"][0];
        assert_eq!((&source["name"], &source["type"]), (&"datasource".into(), &"datasource".into()), "{name}");
        for variable in dashboard["templating"]["list"].as_array().unwrap().iter().skip(1) {
            assert_eq!(variable["datasource"]["uid"], "${datasource}", "{name}: {}", variable["name"]);
        }
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {title}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            for target in targets(panel) {
                assert_eq!(target["datasource"], panel["datasource"], "{name}: {title}");
            }
        }
        let all = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<i64> = all.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        let titles: BTreeSet<&str> = all.iter().map(|panel| panel["title"].as_str().unwrap()).collect();
        assert_eq!((ids.len(), titles.len()), (all.len(), all.len()), "{name}");
        let mut taken = BTreeSet::new();
        for panel in all {
            let place = |name: &str| panel["gridPos"][name].as_i64().unwrap();
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(x < 24 && taken.insert((x, y)), "{name}: {} overlaps at {x}, {y}", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn dashboards__show_every_metric() {
    let dashboard = read(OPERATIONS);
    let mut shown = BTreeSet::new();
    for target in panels(&dashboard).into_iter().flat_map(targets) {
        let words = target["expr"].as_str().unwrap().split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        // A family's name lacks the suffixes of its series.
        let families = words.filter(|word| word.starts_with("panda_")).map(|word| {
            let family = ["_total", "_bucket", "_count"].iter().find_map(|end| word.strip_suffix(end));
            family.unwrap_or(word).to_owned()
        });
        shown.extend(families);
    }
    let metrics = Metrics::default();
    // Metrics text omits a family without series.
    metrics.reconcile.register_steps(&["build_image"]);
    let text = metrics.text();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let there: BTreeSet<String> = families.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(shown, there);
}
