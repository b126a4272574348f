//! Times of responses: RFC 3339 in UTC, to the millisecond. The database's microseconds would suggest a precision that no event has.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// Formats a time of a response.
pub fn text(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Serialises a time of a response.
pub fn millis<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(time))
}

/// Serialises a time, or null.
pub fn optional_millis<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => millis(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// Serialises a list of times.
pub fn list_of_millis<S: Serializer>(times: &[DateTime<Utc>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(times.iter().map(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    struct Times {
        #[serde(serialize_with = "millis")]
        at: DateTime<Utc>,
        #[serde(serialize_with = "optional_millis")]
        until: Option<DateTime<Utc>>,
        #[serde(serialize_with = "list_of_millis")]
        next: Vec<DateTime<Utc>>,
    }

    #[test]
    fn writes_milliseconds() {
        let at: DateTime<Utc> = "2026-10-25T04:54:30.944127236Z".parse().unwrap();
        let whole: DateTime<Utc> = "2026-10-25T04:54:30Z".parse().unwrap();
        let written = serde_json::to_value(Times { at, until: None, next: vec![whole] }).unwrap();
        assert_eq!(
            written,
            serde_json::json!({"at": "2026-10-25T04:54:30.944Z", "until": null, "next": ["2026-10-25T04:54:30.000Z"]})
        );
    }
}
