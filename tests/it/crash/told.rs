//! What a deployment told, without what differs between any two deployments.

use std::collections::BTreeMap;

use panda::domain::StoredEvent;
use pretty_assertions::assert_eq;

use crate::reconcile::events;
use crate::support::world::World;

/// An event without what differs between any two deployments.
pub type Told = (String, BTreeMap<String, String>);

/// What was told, in order and without gap. Lines of build and push are left out: a build that runs again uses what the engine has kept,
/// and says so.
pub async fn told(world: &World, id: &str) -> Vec<Told> {
    let events = events(world, id).await;
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(events.len()).unwrap()).collect::<Vec<_>>());
    let lines = |event: &&StoredEvent| !event.code.ends_with("_progress");
    events.iter().filter(lines).map(|event| (event.code.clone(), of_any(world, id, event))).collect()
}

fn of_any(world: &World, id: &str, event: &StoredEvent) -> BTreeMap<String, String> {
    let folder = world.workspaces().display().to_string();
    let of_any = |text: &str| {
        let text = text.replace(id, "{id}").replace(&world.repo, "{repo}").replace(&folder, "{workspaces}");
        // Ids, ports and digests: whatever has a digit, or is of capital letters alone.
        let mut words: Vec<String> = Vec::new();
        for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            let plain = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_id = plain.chars().any(|c| c.is_ascii_digit())
                || plain.len() > 8 && plain.chars().all(|c| c.is_ascii_uppercase());
            words.push(if is_id { word.replacen(plain, "#", 1) } else { word.to_owned() });
        }
        words.concat()
    };
    event.params.iter().map(|(name, value)| (name.clone(), of_any(&value.to_string()))).collect()
}
