//! The language that a request asks for: `?lang=`, else `Accept-Language`. An unknown value of `lang` counts as absent, as on event streams.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::domain::lang::Lang;

/// Name of the query parameter.
pub const PARAMETER: &str = "lang";

/// Languages named by a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedLang {
    query: Option<Lang>,
    header: Option<Lang>,
}

impl AskedLang {
    /// Reads the query and the headers of a request.
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let pairs = uri.query().map(|query| url::form_urlencoded::parse(query.as_bytes()));
        let named = pairs.into_iter().flatten().filter(|(name, _)| name == PARAMETER).last();
        let lines: Option<Vec<&str>> =
            headers.get_all(header::ACCEPT_LANGUAGE).iter().map(|line| line.to_str().ok()).collect();
        Self {
            query: named.and_then(|(_, value)| value.parse().ok()),
            header: lines.and_then(|lines| Lang::preferred(&lines.join(","))),
        }
    }

    /// The language of an error.
    pub fn of_errors(self) -> Lang {
        self.texts().unwrap_or(Lang::En)
    }

    /// The language of `lang`; none without a known one.
    pub fn named(self) -> Option<Lang> {
        self.query
    }

    /// The language of stored texts; none when the request names no known language.
    pub fn texts(self) -> Option<Lang> {
        self.query.or(self.header)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AskedLang {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri, &parts.headers))
    }
}

/// Labels a response whose texts depend on the request's language.
pub fn label(headers: &mut HeaderMap, lang: Lang) {
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(lang.as_str()));
    vary(headers);
}

/// Makes caches keep the response for its `Accept-Language` only.
fn vary(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("accept-language"));
}

/// A response whose texts follow the request's language, where it names one.
#[derive(Debug)]
pub struct Labelled<T> {
    /// Language of the texts; none for the default of the endpoint.
    pub lang: Option<Lang>,
    /// Response without the headers.
    pub body: T,
}

impl<T: IntoResponse> IntoResponse for Labelled<T> {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        match self.lang {
            Some(lang) => label(response.headers_mut(), lang),
            None => vary(response.headers_mut()),
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str, accept: &[&str]) -> (Lang, Option<Lang>) {
        let mut headers = HeaderMap::new();
        for line in accept {
            headers.append(header::ACCEPT_LANGUAGE, HeaderValue::from_str(line).unwrap());
        }
        let asked = AskedLang::of(&uri.parse().unwrap(), &headers);
        (asked.of_errors(), asked.texts())
    }

    #[test]
    fn parameter_comes_before_header_and_header_before_default() {
        assert_eq!(asked("/x", &[]), (Lang::En, None));
        assert_eq!(asked("/x", &["ko-KR,ko;q=0.9"]), (Lang::Ko, Some(Lang::Ko)));
        assert_eq!(asked("/x?lang=en", &["ko"]), (Lang::En, Some(Lang::En)));
        assert_eq!(asked("/x?a=b&lang=ko", &["en"]), (Lang::Ko, Some(Lang::Ko)));
        assert_eq!(asked("/x?lang=en&lang=ko", &[]), (Lang::Ko, Some(Lang::Ko)));
        assert_eq!(asked("/x", &["fr", "ko"]), (Lang::Ko, Some(Lang::Ko)));
    }

    #[test]
    fn unknown_parameter_counts_as_absent() {
        for query in ["lang=tlh", "lang=", "lang", "lang=KO", "lang=ko%00", "Lang=ko", "lang=en&lang=xx"] {
            assert_eq!(asked(&format!("/x?{query}"), &[]), (Lang::En, None), "{query}");
            assert_eq!(asked(&format!("/x?{query}"), &["ko"]), (Lang::Ko, Some(Lang::Ko)), "{query}");
        }
    }
}
