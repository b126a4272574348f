//! The table of docs/operations-secrets.md names every secret of the options and of the chart.

use std::collections::BTreeSet;

use panda_testing::helm::{chart, documents};
use panda_testing::text;
use serde_json::Value;

/// Paths of the chart's values that name a secret, a file with one, or have one themselves.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    let Some(members) = value.as_object() else { return };
    for (name, value) in members {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let names_secret = name.ends_with("Secret") || name.ends_with("Secrets") || name == "file" || name == "asFile";
        if names_secret {
            found.insert(path.clone());
        }
        paths(value, &path, found);
    }
}

#[test]
fn secrets__table_names_those_of_the_chart() {
    let values = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let values = documents(&[values]).remove(0).remove(0);
    let mut named = BTreeSet::new();
    paths(&values, "", &mut named);
    assert!(named.len() >= 15, "{named:?}");
    let page = text("docs/operations-secrets.md");
    let missing: Vec<&String> = named.iter().filter(|path| !page.contains(&format!("`{path}`"))).collect();
    assert!(missing.is_empty(), "docs/operations-secrets.md lacks values of the chart: {missing:#?}");
}

#[test]
fn secrets__table_names_those_of_the_options() {
    let page = text("docs/operations-secrets.md");
    let configuration = text("docs/configuration.md");
    let options = configuration.lines().filter_map(|line| line.strip_prefix("| `PANDA_")?.split('`').next());
    // Files with secrets or certificates, addresses with passwords. Not secret: schedules, sizes, modes.
    let secret = |name: &&str| {
        ["_FILE", "_CERT", "_KEY", "_CERT_PATH", "BUILDERS", "DATABASE_URL", "DATABASE_DIRECT_URL", "DATABASE_IAM"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    let named: Vec<&str> = options.filter(secret).collect();
    assert!(named.len() >= 10, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|name| !page.contains(&format!("`PANDA_{name}`"))).collect();
    assert!(missing.is_empty(), "docs/operations-secrets.md lacks {missing:?}");
}
