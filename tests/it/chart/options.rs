//! The chart covers exactly the program's options, under their names.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::{Args as _, CommandFactory as _};
use panda::cli::Cli;
use panda::config::Config;
use serde_json::{Map, Value, json};

use super::{all_documents, chart, pod_of, same_as_file, text};

/// Options that the chart sets from its own values and that `config` may not contain.
const OWN: [&str; 18] = [
    "PANDA_ADMIN_TOKEN_FILE",
    "PANDA_AUTH",
    "PANDA_BASE_PATH",
    "PANDA_BUILD_DRAIN_MS",
    "PANDA_DATABASE_DIRECT_URL",
    "PANDA_DATABASE_DIRECT_URL_FILE",
    "PANDA_DATABASE_URL",
    "PANDA_DATABASE_URL_FILE",
    "PANDA_DOCKER_CERT_PATH",
    "PANDA_DOCKER_HOST",
    "PANDA_KEY_FILE",
    "PANDA_LISTEN",
    "PANDA_METRICS_LISTEN",
    "PANDA_MIGRATE",
    "PANDA_OIDC_FILE",
    "PANDA_TLS_CERT",
    "PANDA_TLS_KEY",
    "PANDA_WORKSPACE_DIR",
];

/// One server option that `config` may contain.
pub struct Setting {
    /// Its name in `config`.
    pub key: String,
    pub variable: String,
    /// Its default as a command-line argument.
    pub default: String,
    pub help: String,
    schema: Value,
}

/// The server's options without the chart's own, in the order of `panda serve --help`.
pub fn settings() -> Vec<Setting> {
    let command = Config::augment_args(clap::Command::new("serve"));
    let args = command.get_arguments().filter_map(|arg| Some((arg.get_env()?.to_str()?.to_owned(), arg)));
    args.filter(|(variable, _)| !OWN.contains(&variable.as_str()))
        .map(|(variable, arg)| {
            let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            let help = arg.get_help().unwrap().to_string();
            let schema = with_description(kind(&variable, arg), &help);
            Setting { key: camel_case(&variable), variable, default: defaults.join(","), help, schema }
        })
        .collect()
}

fn with_description(mut schema: Value, help: &str) -> Value {
    schema["description"] = json!(help);
    schema
}

/// JSON schema of a value: the program's own validation, as far as JSON Schema can express it.
fn kind(variable: &str, arg: &clap::Arg) -> Value {
    let typed = arg.get_value_parser().type_id();
    let is = |id: TypeId| typed == id;
    if variable == "PANDA_BUILD_CPUS" {
        json!({"type": "number", "exclusiveMinimum": 0})
    } else if arg.get_value_delimiter().is_some() {
        json!({"type": "array", "items": {"type": "string", "minLength": 1}})
    } else if is(TypeId::of::<bool>()) {
        json!({"type": "boolean"})
    } else if [TypeId::of::<Duration>(), TypeId::of::<u32>(), TypeId::of::<u64>()].into_iter().any(is) {
        whole_number(arg)
    } else {
        json!({"type": "string", "minLength": 1})
    }
}

/// Schema of a whole number, with the smallest and largest value that the program accepts. Options without a limit have no maximum.
fn whole_number(arg: &clap::Arg) -> Value {
    const LARGEST: u64 = u32::MAX as u64;
    let name = arg.get_long().unwrap();
    let probe = clap::Command::new("probe").no_binary_name(true).arg(arg.clone());
    let accepts = |number: u64| probe.clone().try_get_matches_from([format!("--{name}={number}")]).is_ok();
    let known = match arg.get_default_values() {
        [default] => default.to_str().unwrap().parse().unwrap(),
        _ => [1, 10, 1_000].into_iter().find(|number| accepts(*number)).unwrap(),
    };
    assert!(accepts(known), "{name}");
    let minimum = partition(0, known, |number| !accepts(number));
    let maximum = partition(known, LARGEST + 1, accepts) - 1;
    match maximum {
        LARGEST => json!({"type": "integer", "minimum": minimum}),
        _ => json!({"type": "integer", "minimum": minimum, "maximum": maximum}),
    }
}

/// The first number of a range for which `before` is false; it is true for all numbers before that one.
fn partition(mut from: u64, mut to: u64, before: impl Fn(u64) -> bool) -> u64 {
    while from < to {
        let middle = from.midpoint(to);
        if before(middle) { from = middle + 1 } else { to = middle }
    }
    from
}

/// `PANDA_MAX_BUILDS` becomes `maxBuilds`, as in `config`.
fn camel_case(variable: &str) -> String {
    let words = variable.strip_prefix("PANDA_").unwrap().to_lowercase();
    let mut words = words.split('_');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

/// Every environment variable that a command of the program reads.
fn variables() -> BTreeSet<String> {
    fn of(command: &clap::Command, all: &mut BTreeSet<String>) {
        all.extend(command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())));
        command.get_subcommands().for_each(|sub| of(sub, all));
    }
    let mut all = BTreeSet::new();
    of(&Cli::command(), &mut all);
    all
}

#[test]
fn chart_options__config_covers_options_without_own_value() {
    let mut schema: Value = serde_json::from_str(&text("helm/panda/values.schema.json")).unwrap();
    let properties: Map<String, Value> = settings().into_iter().map(|setting| (setting.key, setting.schema)).collect();
    assert!(properties.len() > 40, "{properties:?}");
    schema["properties"]["config"]["properties"] = properties.into();
    same_as_file(&chart().join("values.schema.json"), &format!("{schema:#}\n"));
}

#[test]
fn chart_options__config_value_becomes_variable() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Map::new();
    let mut expected = BTreeMap::new();
    for setting in settings() {
        let largest = setting.schema["maximum"].as_u64().unwrap_or(1_073_741_824);
        let number = largest.to_string();
        let (value, variable) = match setting.schema["type"].as_str().unwrap() {
            "integer" => (json!(largest), number.as_str()),
            "number" => (json!(1.5), "1.5"),
            "boolean" => (json!(true), "true"),
            "array" => (json!(["one", "two"]), "one,two"),
            _ => (json!("{owner}-{repo}"), "{owner}-{repo}"),
        };
        config.insert(setting.key, value);
        expected.insert(setting.variable, variable.to_owned());
    }
    let values = folder.path().join("values.yaml");
    let minimal = text("helm/panda/ci/minimal.yaml");
    let (minimal, _) = minimal.split_once("config:").unwrap();
    std::fs::write(&values, format!("{minimal}\nconfig: {}\n", Value::from(config))).unwrap();
    let objects = super::documents(&[super::render3(&chart(), &values, &[])]).remove(0);
    let server = super::container(pod_of(super::only(&objects, "Deployment")).unwrap(), "panda");
    let given: BTreeMap<String, String> = server["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|env| Some((env["name"].as_str()?.to_owned(), env["value"].as_str()?.to_owned())))
        .filter(|(name, _)| expected.contains_key(name))
        .collect();
    pretty_assertions::assert_eq!(given, expected);
}

#[test]
fn chart_options__manifest_variables_are_read_by_program() {
    let known = variables();
    let mut seen = BTreeSet::new();
    for (case, objects) in all_documents() {
        for pod in objects.iter().filter_map(pod_of) {
            let containers = ["containers", "initContainers"].iter().filter_map(|list| pod[list].as_array()).flatten();
            for env in containers.filter_map(|container| container["env"].as_array()).flatten() {
                let name = env["name"].as_str().unwrap();
                if name.starts_with("PANDA_") {
                    assert!(known.contains(name), "{case}: no command of panda reads {name}");
                    seen.insert(name.to_owned());
                }
            }
        }
    }
    let missing: Vec<&str> = OWN.into_iter().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "the chart never sets {missing:?}");
}

#[test]
fn chart_options__common_options_have_values() {
    let mut general: BTreeSet<String> =
        Cli::command().get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())).collect();
    // The language of a terminal, which a server does not have.
    assert!(general.remove("PANDA_LANG"));
    assert!(general.contains("PANDA_LOG_FORMAT"), "{general:?}");
    let given = all_documents();
    let servers = given.iter().map(|(_, objects)| pod_of(super::only(objects, "Deployment")).unwrap());
    let given: BTreeSet<&str> = servers
        .flat_map(|pod| super::container(pod, "panda")["env"].as_array().unwrap())
        .filter_map(|env| env["name"].as_str())
        .collect();
    let missing: Vec<&String> = general.iter().filter(|name| !given.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "no case has the chart set {missing:?}");
}

#[test]
fn chart_options__no_variable_twice() {
    for (case, objects) in all_documents() {
        for object in &objects {
            let Some(pod) = pod_of(object) else { continue };
            for container in pod["containers"].as_array().unwrap() {
                let names: Vec<&str> =
                    container["env"].as_array().into_iter().flatten().filter_map(|env| env["name"].as_str()).collect();
                let unique: BTreeSet<&str> = names.iter().copied().collect();
                assert_eq!(names.len(), unique.len(), "{case}: {}: {names:?}", super::name(object));
            }
        }
    }
}
