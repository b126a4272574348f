//! Compares the catalogue with the code that uses it.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn placeholders(template: &str) -> BTreeSet<String> {
    let names = std::cell::RefCell::new(BTreeSet::new());
    fill(template, |name| {
        names.borrow_mut().insert(name.to_owned());
        None
    });
    names.into_inner()
}

/// The files below a folder with this ending.
fn sources(folder: &Path, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path, ending)
            } else if path.extension().is_some_and(|extension| extension == ending) {
                vec![std::fs::read_to_string(&path).unwrap()]
            } else {
                Vec::new()
            }
        })
        .collect()
}

fn source() -> String {
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "rs").concat()
}

/// The names in calls such as `t("list.title")` of the web page's templates or scripts.
fn page_uses(text: &str) -> BTreeSet<String> {
    // Not `asset("…")`, which ends as the call does.
    let is_call = |at: usize| !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
    let calls = ["t(\"", "fill(\""]
        .into_iter()
        .flat_map(|call| text.match_indices(call).filter(|(at, _)| is_call(*at)).map(move |(at, _)| at + call.len()));
    calls.filter_map(|at| text[at..].split_once('"')).map(|(name, _)| name.to_owned()).collect()
}

/// Groups of names that the web page composes, such as `status.RUNNING`, with the values.
const COMPOSED: &[&str] = &[
    "access.action.",
    "access.result.",
    "access.role.",
    "access.state.",
    "app.status.",
    "did.",
    "freezes.holds.",
    "freezes.lift.",
    "freezes.lift_confirm.",
    "freezes.list.",
    "freezes.none.",
    "freezes.scope.",
    "freezes.state.",
    "gate_point.",
    "gate_result.",
    "gate_state.",
    "hold.held.",
    "integrations.about_list.",
    "integrations.create.",
    "integrations.decision.",
    "integrations.deliveries_hint.",
    "integrations.delivery_filter.",
    "integrations.delivery_state.",
    "integrations.fact.",
    "integrations.kind.",
    "integrations.kind_hint.",
    "integrations.list.",
    "integrations.none.",
    "integrations.patterns.",
    "integrations.production.",
    "integrations.secret.",
    "integrations.state.",
    "integrations.test_hint.",
    "integrations.why.",
    "key_",
    "kind.",
    "needs.",
    "pauses.stage.",
    "pauses.state.",
    "pauses.timeout.",
    "policies.gate_kind.",
    "policies.no_data.",
    "policies.on_fail.",
    "policies.permits.",
    "stage.",
    "stage_state.",
    "start.concurrency.",
    "start.missed.",
    "start.result.",
    "start.source.",
    "start.state.",
    "start_count_",
    "start_place_",
    "start_state_",
    "start_verdict_",
    "status.",
    "step.",
    "unit.",
    "unit_",
];

#[test]
fn catalogue_and_page_agree() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    for (group, folder, ending) in [("page", "templates", "html"), ("script", "components", "js")] {
        let mut text = sources(&page.join(folder), ending).concat();
        if group == "page" {
            text.push_str(&sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/page"), "rs").concat());
        }
        let uses = page_uses(&text);
        assert!(uses.len() > 5, "the {folder} are not read");
        let is_composed = |name: &str| COMPOSED.iter().any(|prefix| name.starts_with(prefix));
        let names = CATALOGUE.keys().filter(|key| key.starts_with(group)).filter_map(|key| key.split_once('.'));
        let names: Vec<String> = names.map(|(_, name)| name.to_owned()).collect();
        let known: BTreeSet<String> = names.iter().cloned().collect();
        assert_eq!(known.len(), names.len(), "a name is in two groups");
        // `http::page::assets` adds these from the catalogue of events.
        let missing: Vec<_> = uses.difference(&known).filter(|name| !name.starts_with("output_")).collect();
        assert!(missing.is_empty(), "the catalogue lacks texts of {folder}: {missing:?}");
        let unused: Vec<_> = known.iter().filter(|name| !uses.contains(*name) && !is_composed(name)).collect();
        assert!(unused.is_empty(), "no file of {folder} uses {unused:?}");
    }
}

/// The uses of [`message!`] with a literal key: the key and the names of its parameters.
fn uses(source: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut uses = Vec::new();
    for (at, opening) in source.match_indices("message!(") {
        let arguments = arguments(&source[at + opening.len()..]);
        let Some(key) = arguments[0].strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { continue };
        let name = |argument: &String| argument.split('=').next().unwrap_or_default().trim().to_owned();
        uses.push((key.to_owned(), arguments[1..].iter().map(name).filter(|name| !name.is_empty()).collect()));
    }
    uses
}

/// Splits the arguments of a macro at the commas outside brackets and strings.
fn arguments(text: &str) -> Vec<String> {
    let (mut arguments, mut depth, mut in_string, mut escaped) = (vec![String::new()], 0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '(' | '[' | '{' if !in_string => depth += 1,
            ')' if !in_string && depth == 0 => break,
            ')' | ']' | '}' if !in_string => depth -= 1,
            ',' if !in_string && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(c);
    }
    arguments.iter().map(|argument| argument.trim().to_owned()).collect()
}

#[test]
fn files_are_valid() {
    let texts: usize = FILES
        .iter()
        .map(|file| serde_json::from_str::<Groups>(file).unwrap().values().map(HashMap::len).sum::<usize>())
        .sum();
    assert_eq!(CATALOGUE.len(), texts, "a group is in two files");
}

#[test]
fn languages_have_the_same_placeholders() {
    for (key, text) in &*CATALOGUE {
        assert_eq!(placeholders(&text.ko), placeholders(&text.en), "{key}");
        assert_eq!(text.ko.is_empty(), text.en.is_empty(), "{key}");
        let is_sentence = |text: &str| text.ends_with('.');
        assert_eq!(is_sentence(&text.ko), is_sentence(&text.en), "{key}");
    }
}

#[test]
fn catalogue_and_code_agree() {
    let source = source();
    let uses = uses(&source);
    assert!(uses.len() > 100, "the source is not read");
    for (key, params) in uses {
        let text = CATALOGUE.get(&key).unwrap_or_else(|| panic!("the catalogue lacks {key}"));
        let mut wanted = placeholders(&text.en);
        if key.starts_with("cron.") {
            // `CronError::message` adds it.
            wanted.remove("example");
        }
        assert_eq!(wanted, params, "{key}");
    }
    for key in CATALOGUE.keys().filter(|key| !key.starts_with("page") && !key.starts_with("script")) {
        let code = key.strip_suffix(".title").unwrap_or(key);
        let title = key.split_once('.').filter(|(_, name)| name.ends_with("_title")).map_or("", |(_, name)| name);
        let is_used = |text: &str| source.contains(&format!("\"{text}\""));
        assert!(is_used(code) || !title.is_empty() && is_used(title), "no code uses {key}");
    }
}

#[test]
fn every_audited_action_has_a_name_on_the_page() {
    use strum::VariantArray as _;
    for action in crate::domain::audit::Action::VARIANTS {
        let name = format!("access.action.{}", <&str>::from(action));
        assert!(PAGE[0].contains_key(name.as_str()), "page_access.json lacks {name}");
    }
}

#[test]
fn renders_parameters_in_the_language_of_the_text() {
    let message = message!("INVALID_FIELD.detail", field = "limit", rule = message!("rule.limit", max = 100));
    assert_eq!(message.text(Lang::En), "limit: must be a whole number from 1 to 100");
    assert_eq!(message.text(Lang::Ko), "limit: 1에서 100 사이의 정수여야 합니다");
    assert_eq!(message.to_string(), message.text(Lang::En));
    let outside = message!("INVALID_FIELD.detail", field = "{rule}", rule = Message::verbatim("{field} 한글"));
    assert_eq!(outside.text(Lang::Ko), "{rule}: {field} 한글");
}

#[test]
fn stored_text_is_read_again() {
    let ended = message!("schedule.stopped", cause = message!("schedule.token_expired", id = "tok_{id}"));
    let stored = ended.to_json();
    assert_eq!(Message::from_json(&stored), Some(ended));
    for unknown in
        [json!({}), json!({"key": "schedule.newer", "params": {}}), json!({"key": "schedule.stopped"}), json!("x")]
    {
        assert_eq!(Message::from_json(&unknown), None, "{unknown}");
    }
}
