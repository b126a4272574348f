//! Size limits for reading: no server, pipe or file can make the program use more memory than the caller allows.
//!
//! Clippy rejects the calls that have no limit (`clippy.toml`). Readers that process bytes in chunks, such as git's packets and event streams, use
//! [`BodyChunks`]; AWS's SDK reads by itself, limited by `clients::aws::response_limit`. Parsers have limits as well: nesting of JSON and TOML (128 or
//! fewer levels), request bodies at `http::MAX_BODY`, response heads at hyper's 100 headers, pages of a history at a maximum number. Each client, or
//! the step that uses it, has a time limit for the whole response, so a slow drip ends as well. Responses are never decompressed: reqwest is built
//! without that, so the limits apply to memory. The engine, the database and the trace collector belong to the operator and are trusted with memory.

use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use reqwest::Response;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::domain::text::chain;

/// Maximum size in bytes of a file that an operator names: keys, tokens, lists. All have a few kilobytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reason why a source was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source is longer than the limit, in bytes.
    #[error("it has more than {0} bytes")]
    TooLong(u64),
    /// The content is not valid UTF-8.
    #[error("it is not valid UTF-8")]
    NotText,
    /// An I/O error occurred while reading.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reason why a response body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body is longer than the limit, in bytes; the connection was closed.
    #[error("its answer has more than {0} bytes")]
    TooLong(usize),
    /// The connection broke before the end of the body.
    #[error("{}", chain(.0))]
    Broken(reqwest::Error),
}

/// Reads `source` to its end; fails if it has more than `max` bytes.
///
/// # Errors
/// [`ReadError::TooLong`], [`ReadError::Io`].
#[expect(clippy::disallowed_methods, reason = "reads through a limit")]
pub fn all(source: impl Read, max: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    source.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { Err(ReadError::TooLong(max)) } else { Ok(bytes) }
}

/// Reads up to `max` bytes from the beginning of `source`.
///
/// # Errors
/// Any I/O error of the source.
#[expect(clippy::disallowed_methods, reason = "reads through a limit")]
pub fn start(source: impl Read, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads up to `max` bytes from the beginning of `source`; stops early at an error.
#[expect(clippy::disallowed_methods, reason = "reads through a limit")]
pub async fn start_of(source: &mut (impl AsyncRead + Unpin), max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The bytes read before an error are returned.
    let _ = source.take(max).read_to_end(&mut bytes).await;
    bytes
}

/// Reads a file that an operator named, at most [`MAX_FILE_BYTES`] bytes. It may be a pipe.
///
/// # Errors
/// [`ReadError::TooLong`], [`ReadError::Io`].
pub fn file(path: &Path) -> Result<Vec<u8>, ReadError> {
    all(std::fs::File::open(path)?, MAX_FILE_BYTES)
}

/// Reads such a file as UTF-8 text.
///
/// # Errors
/// Any [`ReadError`].
pub fn text_file(path: &Path) -> Result<String, ReadError> {
    text(file(path)?)
}

/// Converts bytes to text. Invalid bytes are overwritten in memory: they may have been a secret.
///
/// # Errors
/// [`ReadError::NotText`].
pub fn text(bytes: Vec<u8>) -> Result<String, ReadError> {
    String::from_utf8(bytes).map_err(|error| {
        drop(secrecy::zeroize::Zeroizing::new(error.into_bytes()));
        ReadError::NotText
    })
}

/// Reads the body of `answer`, at most `max` bytes.
///
/// # Errors
/// Any [`BodyError`].
pub async fn body(answer: Response, max: usize) -> Result<Vec<u8>, BodyError> {
    let mut chunks = BodyChunks::of(answer);
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next(max - body.len()).await.map_err(|error| error.of(max))? {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads about `max` bytes of the body of `answer` and discards them, to check that the response arrives.
///
/// # Errors
/// [`BodyError::Broken`].
pub async fn skim(answer: Response, max: usize) -> Result<(), BodyError> {
    let mut chunks = BodyChunks::of(answer);
    let mut read = 0;
    while read < max {
        let Some(chunk) = chunks.next(usize::MAX).await? else { break };
        read += chunk.len();
    }
    Ok(())
}

/// Reads up to `max` bytes from the beginning of a response body.
///
/// # Errors
/// [`BodyError::Broken`].
pub async fn body_start(answer: Response, max: usize) -> Result<Vec<u8>, BodyError> {
    let (mut chunks, mut bytes) = (BodyChunks(answer), Vec::new());
    while bytes.len() < max {
        let Some(chunk) = chunks.next(usize::MAX).await? else { break };
        let rest = max - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(rest)]);
    }
    Ok(bytes)
}

/// A response body in chunks as they arrive from the network, some kilobytes each.
#[derive(Debug)]
pub struct BodyChunks(Response);

impl BodyChunks {
    pub(crate) fn of(answer: Response) -> Self {
        Self(answer)
    }

    /// Returns the next chunk, which may have at most `left` bytes; `None` at the end.
    ///
    /// # Errors
    /// Any [`BodyError`].
    #[expect(clippy::disallowed_methods, reason = "each chunk is counted")]
    pub async fn next(&mut self, left: usize) -> Result<Option<Bytes>, BodyError> {
        match self.0.chunk().await {
            Ok(Some(chunk)) if chunk.len() > left => Err(BodyError::TooLong(left)),
            Ok(chunk) => Ok(chunk),
            Err(error) => Err(BodyError::Broken(error.without_url())),
        }
    }
}

impl BodyError {
    /// Replaces the limit of a single chunk by the limit of the whole body.
    fn of(self, max: usize) -> Self {
        match self {
            Self::TooLong(_) => Self::TooLong(max),
            broken @ Self::Broken(_) => broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_endless_sources() {
        assert!(matches!(file(Path::new("/dev/zero")), Err(ReadError::TooLong(MAX_FILE_BYTES))));
        assert!(matches!(all(io::repeat(1), 10), Err(ReadError::TooLong(10))));
        assert_eq!(all(&b"0123456789"[..], 10).unwrap(), b"0123456789");
        assert_eq!(start(io::repeat(1), 10).unwrap(), [1; 10]);
        assert!(matches!(text_file(Path::new("/nonexistent")), Err(ReadError::Io(_))));
        assert!(matches!(text(vec![0xff]), Err(ReadError::NotText)));
    }

    #[tokio::test]
    async fn limits_bodies_with_and_without_length() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let endless = || async {
            let chunks = futures_util::stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 1024])));
            axum::body::Body::from_stream(chunks)
        };
        let app = axum::Router::new()
            .route("/endless", axum::routing::get(endless))
            .route("/ten", axum::routing::get(|| async { "0123456789" }));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let get = async |path: &str| reqwest::get(format!("{base}{path}")).await.unwrap();
        assert_eq!(body(get("/ten").await, 10).await.unwrap(), b"0123456789");
        assert!(matches!(body(get("/ten").await, 9).await, Err(BodyError::TooLong(9))));
        assert!(matches!(body(get("/endless").await, 100_000).await, Err(BodyError::TooLong(100_000))));
        skim(get("/endless").await, 10_000).await.unwrap();
        skim(get("/ten").await, 10_000).await.unwrap();
    }
}
