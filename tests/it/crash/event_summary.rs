//! Events of a deployment without the values that differ between any two deployments.

use std::collections::BTreeMap;

use panda::domain::StoredEvent;
use pretty_assertions::assert_eq;

use crate::reconcile::events;
use crate::support::environment::Environment;

/// An event's code and parameters, without values that differ between any two deployments.
pub type EventSummary = (String, BTreeMap<String, String>);

/// The events in order and without a gap. Lines of build and push are left out: a repeated build uses the engine's cache and prints that. So are parts of a
/// traffic shift: whether a poll sees one is a matter of time.
pub async fn emitted(env: &Environment, id: &str) -> Vec<EventSummary> {
    let events = events(env, id).await;
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(events.len()).unwrap()).collect::<Vec<_>>());
    let lines = |event: &&StoredEvent| !event.code.ends_with("_progress") && event.code != "traffic_shifted";
    events.iter().filter(lines).map(|event| (event.code.clone(), of_any(env, id, event))).collect()
}

fn of_any(env: &Environment, id: &str, event: &StoredEvent) -> BTreeMap<String, String> {
    let folder = env.workspaces().display().to_string();
    let of_any = |text: &str| {
        let text = text.replace(id, "{id}").replace(&env.repo, "{repo}").replace(&folder, "{workspaces}");
        // Removes ids, ports and digests: words with a digit, or of capital letters only, and six hexadecimal letters, which are a hash.
        let mut words: Vec<String> = Vec::new();
        for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            let plain = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_id = plain.chars().any(|c| c.is_ascii_digit())
                || plain.len() == 6 && plain.chars().all(|c| ('a'..='f').contains(&c))
                || plain.len() > 8 && plain.chars().all(|c| c.is_ascii_uppercase());
            words.push(if is_id { word.replacen(plain, "#", 1) } else { word.to_owned() });
        }
        words.concat()
    };
    event.params.iter().map(|(name, value)| (name.clone(), of_any(&value.to_string()))).collect()
}
