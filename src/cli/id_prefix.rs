//! Ids as a user types them: any beginning that only one id has, with or without its prefix, such as `dep_`.

use clap::Args;
use serde_json::Value;

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::sanitize;
use crate::domain::message::message;

/// Arguments of a command about one thing that has an id.
#[derive(Args, Debug)]
pub struct IdArgs {
    /// Id, or its beginning
    pub id: String,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Characters of an id after its prefix.
const RANDOM_CHARS: usize = 20;
/// Pages of 100 that are searched, newest first: older deployments need their whole id.
const MAX_PAGES: usize = 10;
/// Ids that are named where several match.
const SHOWN: usize = 5;

/// The id of the deployment that begins with `given`. An unknown one is returned as it is, so that the server refuses it.
pub async fn deployment(api: &Api, given: &str) -> Result<String, CliError> {
    let Some(start) = beginning(given, "dep_") else { return Ok(given.to_owned()) };
    let mut pages = Pages::default();
    while let Some(query) = pages.query() {
        pages.add(&api.list(&query).await?, "deployments", "deploymentId");
    }
    only(given, &start, &pages.ids)
}

/// The id of the schedule that begins with `given`.
pub async fn schedule(api: &Api, given: &str) -> Result<String, CliError> {
    let Some(start) = beginning(given, "sch_") else { return Ok(given.to_owned()) };
    let mut pages = Pages::default();
    while let Some(query) = pages.query() {
        pages.add(&api.schedules(&query).await?, "schedules", "scheduleId");
    }
    only(given, &start, &pages.ids)
}

/// The id of the freeze that begins with `given`.
pub async fn freeze(api: &Api, given: &str) -> Result<String, CliError> {
    let Some(start) = beginning(given, "frz_") else { return Ok(given.to_owned()) };
    let mut pages = Pages::default();
    while let Some(query) = pages.query() {
        pages.add(&api.freezes(&query).await?, "freezes", "freezeId");
    }
    only(given, &start, &pages.ids)
}

/// The id of the webhook that begins with `given`.
pub async fn webhook(api: &Api, given: &str) -> Result<String, CliError> {
    let Some(start) = beginning(given, "whk_") else { return Ok(given.to_owned()) };
    let mut all = Pages::default();
    all.add(&api.webhooks().await?, "webhooks", "webhookId");
    only(given, &start, &all.ids)
}

/// The id of the channel that begins with `given`.
pub async fn channel(api: &Api, given: &str) -> Result<String, CliError> {
    let Some(start) = beginning(given, "chn_") else { return Ok(given.to_owned()) };
    let mut all = Pages::default();
    all.add(&api.channels().await?, "channels", "channelId");
    only(given, &start, &all.ids)
}

/// The id of the push hook that begins with `given`.
pub async fn hook(api: &Api, given: &str) -> Result<String, CliError> {
    let Some(start) = beginning(given, "hok_") else { return Ok(given.to_owned()) };
    let mut all = Pages::default();
    all.add(&api.hooks().await?, "hooks", "hookId");
    only(given, &start, &all.ids)
}

/// The id of the connection that begins with `given`: `gh_…` or `aws_…`, or either without its prefix.
pub async fn connection(api: &Api, given: &str) -> Result<String, CliError> {
    let github = beginning(given, "gh_").filter(|_| !given.starts_with("aws_"));
    let aws = beginning(given, "aws_").filter(|_| !given.starts_with("gh_"));
    if github.is_none() && aws.is_none() {
        return Ok(given.to_owned());
    }
    let (connections, _) = api.connections().await?;
    let github = connections.github.into_iter().map(|one| one.connection_id).filter(|id| starts(id, github.as_deref()));
    let aws = connections.aws.into_iter().map(|one| one.connection_id).filter(|id| starts(id, aws.as_deref()));
    only(given, "", &github.chain(aws).collect::<Vec<_>>())
}

fn starts(id: &str, start: Option<&str>) -> bool {
    start.is_some_and(|start| id.starts_with(start))
}

/// True if `id` is `given`, or begins with it.
pub fn matches(id: &str, given: &str, prefix: &str) -> bool {
    id == given || starts(id, beginning(given, prefix).as_deref())
}

/// The beginning of an id for an incomplete one; none for a whole id, or what is no part of one.
fn beginning(given: &str, prefix: &str) -> Option<String> {
    let random = given.strip_prefix(prefix).unwrap_or(given);
    let possible = random.len() < RANDOM_CHARS && random.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (possible && !random.is_empty()).then(|| format!("{prefix}{random}"))
}

fn only(given: &str, start: &str, ids: &[String]) -> Result<String, CliError> {
    let mut found: Vec<&String> = ids.iter().filter(|id| id.starts_with(start)).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [] => Ok(given.to_owned()),
        [only] => Ok((*only).clone()),
        several => {
            let mut names: Vec<String> = several.iter().take(SHOWN).map(|id| sanitize::line(id)).collect();
            if several.len() > SHOWN {
                names.push("…".to_owned());
            }
            Err(CliError::input(sanitize::line(given), message!("cli.several_ids", ids = names.join(", "))))
        }
    }
}

/// The ids of the first pages of a list.
#[derive(Debug, Default)]
struct Pages {
    ids: Vec<String>,
    cursor: Option<String>,
    read: usize,
}

impl Pages {
    /// The query of the next page, if there is one.
    fn query(&self) -> Option<Vec<(&'static str, String)>> {
        if self.read > 0 && (self.cursor.is_none() || self.read >= MAX_PAGES) {
            return None;
        }
        let cursor = self.cursor.clone().map(|cursor| ("cursor", cursor));
        Some(std::iter::once(("limit", "100".to_owned())).chain(cursor).collect())
    }

    fn add(&mut self, page: &Value, list: &str, member: &str) {
        let rows = page.get(list).and_then(Value::as_array).into_iter().flatten();
        self.ids.extend(rows.filter_map(|row| row.get(member)?.as_str().map(str::to_owned)));
        self.cursor = page.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
        self.read += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ids(all: &[&str]) -> Vec<String> {
        all.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn completes_only_what_may_be_a_beginning() {
        assert_eq!(beginning("dep_4k1", "dep_").as_deref(), Some("dep_4k1"));
        assert_eq!(beginning("4k1", "dep_").as_deref(), Some("dep_4k1"));
        for whole in ["dep_4k1zq0v7w3m9x2c8b5n6", "../x", "dep_", "", "DEP_4K1", "sch_4k1"] {
            assert_eq!(beginning(whole, "dep_"), None, "{whole}");
        }
        assert!(matches("gh_4k1z", "4k1", "gh_") && matches("odd", "odd", "gh_") && !matches("gh_4k1z", "k1", "gh_"));
    }

    #[test]
    fn refuses_what_several_ids_begin_with() {
        let known = ids(&["dep_aa1", "dep_aa2", "dep_b"]);
        assert_eq!(only("b", "dep_b", &known).unwrap(), "dep_b");
        assert_eq!(only("c", "dep_c", &known).unwrap(), "c", "the server refuses it");
        let several = only("aa", "dep_aa", &known).unwrap_err();
        assert!(several.to_string().contains("dep_aa1, dep_aa2"), "{several}");
    }

    #[test]
    fn reads_pages_up_to_a_limit() {
        let mut pages = Pages::default();
        let mut read = 0;
        while let Some(query) = pages.query() {
            assert_eq!(query.len(), 1 + usize::from(read > 0));
            pages.add(
                &json!({"deployments": [{"deploymentId": format!("dep_{read}")}], "nextCursor": "x"}),
                "deployments",
                "deploymentId",
            );
            read += 1;
        }
        assert_eq!((read, pages.ids.len()), (MAX_PAGES, MAX_PAGES));
        let mut last = Pages::default();
        last.add(&json!({"deployments": [], "nextCursor": null}), "deployments", "deploymentId");
        assert!(last.query().is_none());
    }
}
