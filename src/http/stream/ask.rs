//! What a request for a stream asks for: a language and a place to go on from. Nothing in it can be an error: a browser's
//! `EventSource` would give up for good.

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

impl Ask {
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
                "lastEventId" => ask.last_event_id = Uuid::try_parse(value.trim()).ok(),
                _ => {}
            }
        }
        if let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) {
            ask.last_event_id = value.to_str().ok().and_then(|value| Uuid::try_parse(value.trim()).ok());
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
    fn an_unknown_language_falls_back() {
        assert_eq!(ask("lang=en", None).lang, Lang::En);
        let fallen = ask("lang=tlh%0d%0a", None);
        assert!(fallen.unknown_lang && fallen.lang == Lang::Ko);
        assert!(!ask("", None).unknown_lang);
    }
}
