//! JSON responses. They end with a line break, so that a shell's prompt begins on a new line after `curl`.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A body of JSON.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, kind)], line(&self.0)).into_response()
    }
}

/// The bytes of a response: one line.
pub fn line(value: &impl Serialize) -> Vec<u8> {
    // Texts, numbers, lists and objects with names as keys only, so serialisation cannot fail.
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    body
}
