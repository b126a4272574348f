//! Content negotiation of event streams by the `Accept` header.

use axum::http::{HeaderMap, header};

/// Returns true when the `Accept` header is absent, or names `text/event-stream`, `text/*` or `*/*` with a quality above 0. The most specific
/// range decides (RFC 9110, 12.5.1).
pub fn accepts_event_stream(headers: &HeaderMap) -> bool {
    let mut best: Option<(u8, bool)> = None;
    let mut any = false;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut fields = range.split(';').map(str::trim);
            let name = fields.next().unwrap_or_default().to_ascii_lowercase();
            if name.is_empty() {
                continue;
            }
            any = true;
            let specific = match name.as_str() {
                "text/event-stream" => 3,
                "text/*" => 2,
                "*/*" => 1,
                _ => continue,
            };
            let refused = fields.any(|parameter| {
                let (key, quality) = parameter.split_once('=').unwrap_or_default();
                key.trim().eq_ignore_ascii_case("q")
                    && quality.trim().parse::<f32>().is_ok_and(|quality| quality <= 0.0)
            });
            if best.is_none_or(|(known, _)| known < specific) {
                best = Some((specific, !refused));
            }
        }
    }
    best.map_or(!any, |(_, accepted)| accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(accept: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        accepts_event_stream(&headers)
    }

    #[test]
    fn accepts_headers_of_browsers_and_tools() {
        for accept in
            ["text/event-stream", "*/*", "text/html, */*;q=0.8", "TEXT/*", "text/event-stream;charset=utf-8", ""]
        {
            assert!(accepts(&[accept]), "{accept:?}");
        }
        assert!(accepts(&[]));
        assert!(accepts(&["application/json", "text/event-stream"]));
    }

    #[test]
    fn refuses_header_without_event_streams() {
        for accept in ["application/json", "text/html", "text/event-stream;q=0", "*/*, text/event-stream; q=0.0"] {
            assert!(!accepts(&[accept]), "{accept:?}");
        }
    }
}
