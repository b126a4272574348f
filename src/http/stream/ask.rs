//! What a request for a stream asks for: a language and a place to go on from. Nothing in it can be an error: a browser's
//! `EventSource` would give up for good.

use std::fmt;

use axum::http::HeaderMap;
use url::form_urlencoded;
use uuid::Uuid;

use crate::domain::catalogue::Lang;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Language of the events.
    pub lang: Lang,
    /// Whether a language was asked for that there is none of.
    pub unknown_lang: bool,
    /// The last event that the client has; none for the whole history, also when the id cannot be one.
    pub last_event_id: Option<Uuid>,
}

/// What was asked for of the stream of all deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskAll {
    /// Language of the events.
    pub lang: Lang,
    /// Whether a language was asked for that there is none of.
    pub unknown_lang: bool,
    /// The last event that the client has; none for what comes from now on.
    pub last_event_id: Option<Result<FeedId, UnknownId>>,
}

/// An id that cannot be one of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownId;

/// The id of an event in the stream of all deployments: where it stands, and the event's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedId {
    /// The transaction that wrote it.
    pub transaction: i64,
    /// The id that it has in its deployment's stream.
    pub id: Uuid,
}

impl FeedId {
    fn read(text: &str) -> Option<Self> {
        let (transaction, id) = text.split_once('.')?;
        Some(Self { transaction: transaction.parse().ok()?, id: Uuid::try_parse(id).ok()? })
    }
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.transaction, self.id)
    }
}

/// The event's own id, also in the words of the stream of all deployments.
fn event_id(text: &str) -> Option<Uuid> {
    let text = text.trim();
    Uuid::try_parse(text).ok().or_else(|| FeedId::read(text).map(|id| id.id))
}

impl Ask {
    /// Of the language and the ids that were given, if any.
    pub fn of_all(lang: Option<&str>, query_id: Option<&str>, headers: &HeaderMap, default_lang: Lang) -> AskAll {
        let known = lang.map(str::parse::<Lang>);
        let header = headers.get("last-event-id").filter(|value| !value.is_empty());
        let given = header.map_or(query_id, |value| Some(value.to_str().unwrap_or_default()));
        AskAll {
            unknown_lang: matches!(known, Some(Err(_))),
            lang: known.and_then(Result::ok).unwrap_or(default_lang),
            last_event_id: given.map(|id| FeedId::read(id.trim()).ok_or(UnknownId)),
        }
    }

    /// Reads the query and the `Last-Event-ID` header. The header wins: when a browser reconnects by itself, it sends the newer id
    /// there and repeats the URL.
    pub fn new(query: Option<&str>, headers: &HeaderMap, default_lang: Lang) -> Self {
        let mut ask = Self { lang: default_lang, unknown_lang: false, last_event_id: None };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "lang" => {
                    ask.unknown_lang = value.parse::<Lang>().is_err();
                    ask.lang = value.parse().unwrap_or(default_lang);
                }
                "lastEventId" => ask.last_event_id = event_id(&value),
                _ => {}
            }
        }
        if let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) {
            ask.last_event_id = value.to_str().ok().and_then(event_id);
        }
        ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    fn ask(query: &str, header: Option<&str>) -> Ask {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("last-event-id", value.parse().unwrap());
        }
        Ask::new(Some(query), &headers, Lang::Ko)
    }

    #[test]
    fn the_header_wins_over_the_query() {
        assert_eq!(ask(&format!("lastEventId={A}"), None).last_event_id, Some(A));
        assert_eq!(ask(&format!("lastEventId={A}"), Some(&B.to_string())).last_event_id, Some(B));
        assert_eq!(ask(&format!("lastEventId={A}"), Some("")).last_event_id, Some(A));
    }

    #[test]
    fn what_cannot_be_an_id_asks_for_everything() {
        for id in ["1", "undefined", "%00%0d%0a", "dep_1", &"9".repeat(10_000)] {
            assert_eq!(ask(&format!("lastEventId={id}"), None).last_event_id, None);
        }
        assert_eq!(ask("", Some("nonsense")).last_event_id, None);
    }

    #[test]
    fn an_id_of_the_stream_of_all_is_one_here_too() {
        let id = FeedId { transaction: 7, id: A };
        assert_eq!(ask("", Some(&id.to_string())).last_event_id, Some(A));
        let all = |id: &str| Ask::of_all(None, Some(id), &HeaderMap::new(), Lang::Ko).last_event_id;
        assert_eq!(all(&id.to_string()), Some(Ok(id)));
        for unknown in [A.to_string().as_str(), "", "7.", ".", "7.x", "99999999999999999999.x"] {
            assert_eq!(all(unknown), Some(Err(UnknownId)), "{unknown}");
        }
        assert_eq!(Ask::of_all(None, None, &HeaderMap::new(), Lang::Ko).last_event_id, None);
    }

    #[test]
    fn an_unknown_language_falls_back() {
        assert_eq!(ask("lang=en", None).lang, Lang::En);
        let fallen = ask("lang=tlh%0d%0a", None);
        assert!(fallen.unknown_lang && fallen.lang == Lang::Ko);
        assert!(!ask("", None).unknown_lang);
    }
}
