//! What is read from outside is read here, through a limit: whatever a server, a pipe or a file holds, it takes no more memory than that.
//!
//! The calls that have no limit are refused by clippy (`clippy.toml`). Readers that take bytes in pieces, such as git's packets and event streams,
//! stand on [`Pieces`]; AWS's SDK reads by itself, through `clients::aws::bounded`. What is parsed has limits too: JSON and TOML end at a depth
//! (128 and fewer), bodies of requests at `http::MAX_BODY`, heads of answers at hyper's 100 headers, pages of a history at a number. Each client
//! has a time for the whole answer, or its step has one, so that a drip ends as well. Answers are never decompressed: reqwest is built without that,
//! so that a limit is one of what is in memory. The engine, the database and the collector of traces are the operator's own, and trusted with memory.

use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use reqwest::Response;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::domain::text::chain;

/// Most bytes of a file that an operator names: keys, tokens, lists. All are a few kilobytes.
pub const MOST_OF_FILE: u64 = 1 << 20;

/// What was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is longer than the limit.
    #[error("it has more than {0} bytes")]
    TooLong(u64),
    /// It is text, and not encoded in UTF-8.
    #[error("it is not valid UTF-8")]
    NotText,
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An answer's body that was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the limit; the connection was closed.
    #[error("its answer has more than {0} bytes")]
    TooLong(usize),
    /// It broke off.
    #[error("{}", chain(.0))]
    Broken(reqwest::Error),
}

/// All of `source`, of at most `most` bytes.
///
/// # Errors
/// [`ReadError::TooLong`], [`ReadError::Io`].
#[expect(clippy::disallowed_methods, reason = "behind the limit")]
pub fn all(source: impl Read, most: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    source.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(ReadError::TooLong(most)) } else { Ok(bytes) }
}

/// The first `most` bytes of `source`, or fewer.
///
/// # Errors
/// The source's.
#[expect(clippy::disallowed_methods, reason = "behind the limit")]
pub fn start(source: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The first `most` bytes of `source`, as far as it can be read.
#[expect(clippy::disallowed_methods, reason = "behind the limit")]
pub async fn start_of(source: &mut (impl AsyncRead + Unpin), most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before it broke is what there is.
    let _ = source.take(most).read_to_end(&mut bytes).await;
    bytes
}

/// A file that an operator named, whatever it is: a pipe as well.
///
/// # Errors
/// [`ReadError::TooLong`], [`ReadError::Io`].
pub fn file(path: &Path) -> Result<Vec<u8>, ReadError> {
    all(std::fs::File::open(path)?, MOST_OF_FILE)
}

/// The text of such a file.
///
/// # Errors
/// [`ReadError`].
pub fn text_file(path: &Path) -> Result<String, ReadError> {
    text(file(path)?)
}

/// Bytes as text. Those that are none are overwritten: they may have been a secret.
///
/// # Errors
/// [`ReadError::NotText`].
pub fn text(bytes: Vec<u8>) -> Result<String, ReadError> {
    String::from_utf8(bytes).map_err(|error| {
        drop(secrecy::zeroize::Zeroizing::new(error.into_bytes()));
        ReadError::NotText
    })
}

/// The body of `answer`, of at most `most` bytes.
///
/// # Errors
/// [`BodyError`].
pub async fn body(answer: Response, most: usize) -> Result<Vec<u8>, BodyError> {
    let mut pieces = Pieces::of(answer);
    let mut body = Vec::new();
    while let Some(piece) = pieces.next(most - body.len()).await.map_err(|error| error.of(most))? {
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Reads at most about `most` bytes of the body of `answer`, and forgets them: only that they come matters.
///
/// # Errors
/// [`BodyError::Broken`].
pub async fn skim(answer: Response, most: usize) -> Result<(), BodyError> {
    let mut pieces = Pieces::of(answer);
    let mut read = 0;
    while read < most {
        let Some(piece) = pieces.next(usize::MAX).await? else { break };
        read += piece.len();
    }
    Ok(())
}

/// An answer's body in pieces, as they come from the network: each is some kilobytes.
#[derive(Debug)]
pub struct Pieces(Response);

impl Pieces {
    /// Those of `answer`.
    pub fn of(answer: Response) -> Self {
        Self(answer)
    }

    /// The next piece, which may have at most `left` bytes; none at the end.
    ///
    /// # Errors
    /// [`BodyError`].
    #[expect(clippy::disallowed_methods, reason = "each piece is counted")]
    pub async fn next(&mut self, left: usize) -> Result<Option<Bytes>, BodyError> {
        match self.0.chunk().await {
            Ok(Some(piece)) if piece.len() > left => Err(BodyError::TooLong(left)),
            Ok(piece) => Ok(piece),
            Err(error) => Err(BodyError::Broken(error.without_url())),
        }
    }
}

impl BodyError {
    /// The same error of a whole body.
    fn of(self, most: usize) -> Self {
        match self {
            Self::TooLong(_) => Self::TooLong(most),
            broken @ Self::Broken(_) => broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_without_an_end_is_read_to_its_end() {
        assert!(matches!(file(Path::new("/dev/zero")), Err(ReadError::TooLong(MOST_OF_FILE))));
        assert!(matches!(all(io::repeat(1), 10), Err(ReadError::TooLong(10))));
        assert_eq!(all(&b"0123456789"[..], 10).unwrap(), b"0123456789");
        assert_eq!(start(io::repeat(1), 10).unwrap(), [1; 10]);
        assert!(matches!(text_file(Path::new("/nonexistent")), Err(ReadError::Io(_))));
        assert!(matches!(text(vec![0xff]), Err(ReadError::NotText)));
    }

    #[tokio::test]
    async fn a_body_has_a_limit_with_and_without_a_length() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let endless = || async {
            let pieces = futures_util::stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 1024])));
            axum::body::Body::from_stream(pieces)
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
