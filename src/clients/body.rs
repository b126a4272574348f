//! Bodies of answers, read through a limit: whatever a server sends, it takes no more memory than that.

use reqwest::Response;

use super::error::chain;

/// A body that was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is longer than the limit; the connection was closed.
    #[error("its answer has more than {0} bytes")]
    TooLong(usize),
    /// It broke off.
    #[error("{}", chain(.0))]
    Broken(reqwest::Error),
}

/// The body of `answer`, of at most `most` bytes.
pub(crate) async fn read(mut answer: Response, most: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| BodyError::Broken(error.without_url()))? {
        if body.len() + piece.len() > most {
            return Err(BodyError::TooLong(most));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
