//! The page's files: scripts, styles and icons, embedded in the program. Their addresses contain a hash of all files, so that browsers keep them for
//! ever and never mix versions: `/assets/{hash}/components/app.js`.
//!
//! Without optimisation (`cargo run`), files are read from the folder of the source, so that a change shows when the page is loaded again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::domain::catalogue::{self, EventCode};
use crate::domain::lang::Lang;
use crate::domain::message::script_texts;
use crate::http::error::ApiError;
use crate::http::error::server::ServerError;
use crate::http::json;

/// Files of the folder `page` that browsers may load.
#[derive(Embed)]
#[folder = "page"]
#[include = "components/*.js"]
#[include = "components/log/*.js"]
#[include = "icons/*"]
#[include = "styles/*.css"]
#[include = "vendor/*.js"]
struct PageFiles;

/// The module that follows event streams, which front ends of others use too.
#[derive(Embed)]
#[folder = "clients/js/src"]
#[include = "*.js"]
struct ClientFiles;

/// Modules that every view loads. Named in the HTML, so that a browser requests them together instead of one after the other.
pub const COMMON_MODULES: &[&str] = &[
    "components/page.js",
    "components/display-settings.js",
    "components/local-time.js",
    "components/live-region.js",
    "components/feed.js",
    "components/session.js",
    "components/connection-state.js",
    "components/api-form.js",
    "components/form-body.js",
    "components/form-problem.js",
    "components/keyboard.js",
];

/// Folder of the addresses of [`ClientFiles`].
const CLIENT: &str = "client/";

/// Hash of all files, in the addresses of each.
pub static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    let page = PageFiles::iter().map(|name| (PageFiles::get(&name), name));
    let client = ClientFiles::iter().map(|name| (ClientFiles::get(&name), name));
    for (file, name) in page.chain(client) {
        hash.update(name.as_bytes());
        hash.update(file.map(|file| file.metadata.sha256_hash()).unwrap_or_default());
    }
    for lang in Lang::ALL {
        hash.update(texts(lang));
    }
    hex::encode(&hash.finalize()[..8])
});

/// Answers a file. The hash of the address is not compared: a page of another version then gets this version's file, which is better than none
/// during a rolling update.
pub async fn handle(Path((hash, path)): Path<(String, String)>) -> Result<Response, ApiError> {
    let (content, kind) = content(&path).ok_or(ServerError::RouteNotFound)?;
    // Only the own hash identifies the content; another version's address must not keep this content.
    let is_kept = hash == *HASH && !cfg!(debug_assertions);
    let cache = if is_kept { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    Ok((headers, content.into_owned()).into_response())
}

fn content(path: &str) -> Option<(Cow<'static, [u8]>, &'static str)> {
    if let Some(lang) = path.strip_prefix("texts/").and_then(|rest| rest.strip_suffix(".js")) {
        return Some((Cow::Owned(texts(lang.parse().ok()?)), JAVASCRIPT));
    }
    let file: EmbeddedFile = match path.strip_prefix(CLIENT) {
        Some(name) => ClientFiles::get(name)?,
        None => PageFiles::get(path)?,
    };
    Some((file.data, media_type(path)?))
}

/// The catalogue of the scripts in one language, as a module.
fn texts(lang: Lang) -> Vec<u8> {
    let mut texts: BTreeMap<&str, Cow<str>> =
        script_texts(lang).into_iter().map(|(name, text)| (name, Cow::Borrowed(text))).collect();
    for (name, code) in [("output_build", EventCode::BuildProgress), ("output_push", EventCode::PushProgress)] {
        texts.insert(name, Cow::Owned(output_prefix(code, lang)));
    }
    [b"export default ".as_slice(), &json::line(&texts), b";\n"].concat()
}

/// Beginning of the message of every event of this kind: its text without the output.
pub fn output_prefix(code: EventCode, lang: Lang) -> String {
    let without_output = Map::from_iter([("message".to_owned(), Value::from(""))]);
    catalogue::render(code.as_str(), &without_output, lang).message
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

fn media_type(path: &str) -> Option<&'static str> {
    match path.rsplit_once('.')?.1 {
        "js" => Some(JAVASCRIPT),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_only_files_of_browsers() {
        for path in
            ["components/app.js", "client/follow.js", "styles/base.css", "texts/ko.js", "vendor/idiomorph.min.js"]
        {
            assert!(content(path).is_some(), "{path}");
        }
        for path in [
            "templates/layout.html",
            "client/index.d.ts",
            "client/../package.json",
            "../Cargo.toml",
            "texts/fr.js",
            "vendor/README.md",
            "",
        ] {
            assert!(content(path).is_none(), "{path}");
        }
    }
}
