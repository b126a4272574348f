//! Parsing of stream requests: the language and the event to resume after. Invalid values fall back to defaults instead of failing: after an error
//! status a browser's `EventSource` never reconnects.

use axum::http::HeaderMap;
use url::form_urlencoded;
use uuid::Uuid;

use crate::domain::catalogue::Lang;
use crate::http::sse::feed_event_id::FeedEventId;

/// A request for the stream of one deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    pub lang: Lang,
    /// The requested language is not supported, so `lang` is the default.
    pub unknown_lang: bool,
    /// The last event that the client has received. `None` replays the whole history; so does an id that is not valid.
    pub last_event_id: Option<Uuid>,
}

/// A request for the stream of all deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedRequest {
    pub lang: Lang,
    /// The requested language is not supported, so `lang` is the default.
    pub unknown_lang: bool,
    /// The last event that the client has received. `None` requests only new events.
    pub last_event_id: Option<Result<FeedEventId, InvalidEventId>>,
}

/// An event id of a form that no event of this stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEventId;

/// Parses the id of an event in its deployment's stream. Accepts an id of the stream of all deployments too.
fn parse_event_id(text: &str) -> Option<Uuid> {
    let text = text.trim();
    Uuid::try_parse(text).ok().or_else(|| FeedEventId::parse(text).map(|id| id.id))
}

impl FeedRequest {
    /// Combines the query's values with the `Last-Event-ID` header, which takes precedence as in [`StreamRequest::new`].
    pub fn new(lang: Option<&str>, query_id: Option<&str>, headers: &HeaderMap, default_lang: Lang) -> Self {
        let known = lang.map(str::parse::<Lang>);
        let header = headers.get("last-event-id").filter(|value| !value.is_empty());
        let given = header.map_or(query_id, |value| Some(value.to_str().unwrap_or_default()));
        Self {
            unknown_lang: matches!(known, Some(Err(_))),
            lang: known.and_then(Result::ok).unwrap_or(default_lang),
            last_event_id: given.map(|id| FeedEventId::parse(id.trim()).ok_or(InvalidEventId)),
        }
    }
}

impl StreamRequest {
    /// Parses the query and the `Last-Event-ID` header. The header takes precedence: a browser that reconnects automatically sends the newer id
    /// in the header and repeats the original URL.
    pub fn new(query: Option<&str>, headers: &HeaderMap, default_lang: Lang) -> Self {
        let mut request = Self { lang: default_lang, unknown_lang: false, last_event_id: None };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "lang" => {
                    request.unknown_lang = value.parse::<Lang>().is_err();
                    request.lang = value.parse().unwrap_or(default_lang);
                }
                "lastEventId" => request.last_event_id = parse_event_id(&value),
                _ => {}
            }
        }
        if let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) {
            request.last_event_id = value.to_str().ok().and_then(parse_event_id);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    fn request(query: &str, header: Option<&str>) -> StreamRequest {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("last-event-id", value.parse().unwrap());
        }
        StreamRequest::new(Some(query), &headers, Lang::Ko)
    }

    #[test]
    fn header_takes_precedence_over_query() {
        assert_eq!(request(&format!("lastEventId={A}"), None).last_event_id, Some(A));
        assert_eq!(request(&format!("lastEventId={A}"), Some(&B.to_string())).last_event_id, Some(B));
        assert_eq!(request(&format!("lastEventId={A}"), Some("")).last_event_id, Some(A));
    }

    #[test]
    fn invalid_id_replays_everything() {
        for id in ["1", "undefined", "%00%0d%0a", "dep_1", &"9".repeat(10_000)] {
            assert_eq!(request(&format!("lastEventId={id}"), None).last_event_id, None);
        }
        assert_eq!(request("", Some("nonsense")).last_event_id, None);
    }

    #[test]
    fn accepts_id_of_the_stream_of_all_deployments() {
        let id = FeedEventId { transaction: 7, id: A };
        assert_eq!(request("", Some(&id.to_string())).last_event_id, Some(A));
        let all = |id: &str| FeedRequest::new(None, Some(id), &HeaderMap::new(), Lang::Ko).last_event_id;
        assert_eq!(all(&id.to_string()), Some(Ok(id)));
        for unknown in [A.to_string().as_str(), "", "7.", ".", "7.x", "99999999999999999999.x"] {
            assert_eq!(all(unknown), Some(Err(InvalidEventId)), "{unknown}");
        }
        assert_eq!(FeedRequest::new(None, None, &HeaderMap::new(), Lang::Ko).last_event_id, None);
    }

    #[test]
    fn unknown_language_falls_back() {
        assert_eq!(request("lang=en", None).lang, Lang::En);
        let unknown = request("lang=tlh%0d%0a", None);
        assert!(unknown.unknown_lang && unknown.lang == Lang::Ko);
        assert!(!request("", None).unknown_lang);
    }
}
