//! Git's smart HTTP protocol: requests to one repository, with size limits on the responses.

use std::net::ToSocketAddrs as _;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, redirect::Policy};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_rustls::rustls;
use url::Url;

use super::pkt::{Decoder, Packet};
use super::{GitError, GitErrorKind, tree};
use crate::bounded::{BodyChunks, BodyError};
use crate::domain::text::chain;

/// User name for token authentication: GitHub (and most other servers) expect the token as the password, and do not check the name.
const TOKEN_USER: &str = "x-access-token";
/// Servers recognise a git client by this prefix.
const USER_AGENT: &str = concat!("git/2.0 (panda ", env!("CARGO_PKG_VERSION"), ")");
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum silence of a server, which sends a keep-alive every five seconds while it packs.
const READ_TIMEOUT: Duration = Duration::from_mins(2);
/// A renamed repository takes one redirect.
const MAX_REDIRECTS: usize = 3;
const ADVERTISEMENT: &str = "/info/refs";

/// A repository on a git server.
pub(super) struct Remote<'a> {
    http: Client,
    url: Url,
    token: Option<&'a SecretString>,
    max_bytes: usize,
    received: usize,
}

impl<'a> Remote<'a> {
    pub(super) fn new(url: Url, token: Option<&'a SecretString>, max_bytes: usize) -> Result<Self, GitError> {
        let http = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .dns_resolver(std::sync::Arc::new(OnThisThread));
        // Plain HTTP is allowed for this machine only, which a proxy cannot reach; a proxy would also see the token. Nor are certificates needed,
        // which are slow to read and may not exist.
        let http = if url.scheme() == "http" { http.no_proxy().tls_certs_only([]) } else { http };
        let http = http.build().map_err(|error| GitError::invalid(chain(&error)))?;
        Ok(Self { http, url, token, max_bytes, received: 0 })
    }

    /// Fetches the server's advertisement, at most `limit` bytes. A redirect on the same server changes the repository's address.
    pub(super) async fn advertisement(&mut self, limit: usize) -> Result<PacketReader<'_>, GitError> {
        for _ in 0..=MAX_REDIRECTS {
            let mut url = join_path(&self.url, ADVERTISEMENT);
            url.set_query(Some("service=git-upload-pack"));
            let answer = self.send(self.http.get(url.clone())).await?;
            if answer.status().is_redirection() {
                self.url = redirected_url(&url, &answer)?;
                continue;
            }
            return self.packets(answer, "application/x-git-upload-pack-advertisement", limit);
        }
        Err(GitError::new(
            GitErrorKind::Redirected,
            format!("the git server redirects more than {MAX_REDIRECTS} times"),
        ))
    }

    /// Sends `request` and returns the response, limited to `limit` bytes.
    pub(super) async fn upload_pack(&mut self, request: String, limit: usize) -> Result<PacketReader<'_>, GitError> {
        let post = self.http.post(join_path(&self.url, "/git-upload-pack"));
        let post = post.header(CONTENT_TYPE, "application/x-git-upload-pack-request").body(request);
        let answer = self.send(post.header(ACCEPT, "application/x-git-upload-pack-result")).await?;
        if answer.status().is_redirection() {
            return Err(GitError::new(GitErrorKind::Redirected, "the git server redirects in the middle of a fetch"));
        }
        self.packets(answer, "application/x-git-upload-pack-result", limit)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, GitError> {
        let request = match self.token {
            Some(token) => request.basic_auth(TOKEN_USER, Some(token.expose_secret())),
            None => request,
        };
        let answer = request.header("git-protocol", "version=2").send().await.map_err(connection_error)?;
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            return Ok(answer);
        }
        // The rest of the response is not read: it may be endless.
        let kind = GitErrorKind::of_status(status.as_u16(), answer.headers().contains_key(RETRY_AFTER));
        Err(GitError::new(
            kind,
            match (status.as_u16(), self.token) {
                (401, None) => "the repository requires a token, and the connection has none".to_owned(),
                (401, Some(_)) => "the repository refuses the token".to_owned(),
                (code, _) => format!("the git server answered with status {code}"),
            },
        ))
    }

    fn packets(&mut self, answer: Response, media_type: &str, limit: usize) -> Result<PacketReader<'_>, GitError> {
        let given = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if given.split(';').next().unwrap_or_default().trim() != media_type {
            return Err(GitError::invalid("the server at this address does not speak git's smart HTTP protocol"));
        }
        Ok(PacketReader {
            pieces: BodyChunks::of(answer),
            decoder: Decoder::default(),
            left: limit,
            received: &mut self.received,
            max_bytes: self.max_bytes,
        })
    }
}

/// A response, read packet by packet.
pub(super) struct PacketReader<'a> {
    pieces: BodyChunks,
    decoder: Decoder,
    /// Bytes that this response may still contain.
    left: usize,
    /// Bytes of all responses so far.
    received: &'a mut usize,
    max_bytes: usize,
}

impl PacketReader<'_> {
    /// Reads the next packet; `None` at the end of the response.
    pub(super) async fn next(&mut self) -> Result<Option<Packet>, GitError> {
        loop {
            if let Some(packet) = self.decoder.next().map_err(GitError::invalid)? {
                return Ok(Some(packet));
            }
            let Some(piece) = self.pieces.next(usize::MAX).await.map_err(body_error)? else {
                let is_whole = self.decoder.is_empty();
                return if is_whole {
                    Ok(None)
                } else {
                    Err(GitError::unavailable("the git server's answer broke off"))
                };
            };
            *self.received = self.received.saturating_add(piece.len());
            if *self.received > self.max_bytes {
                return Err(GitError::too_large(tree::too_large(self.max_bytes)));
            }
            self.left = self
                .left
                .checked_sub(piece.len())
                .ok_or_else(|| GitError::too_large("the git server's list of branches and tags is too long"))?;
            self.decoder.push(&piece);
        }
    }

    /// Reads the next packet; the end of the response is an error here.
    pub(super) async fn expect(&mut self) -> Result<Packet, GitError> {
        self.next().await?.ok_or_else(|| GitError::unavailable("the git server's answer broke off"))
    }
}

/// Appends `path` to the repository's address.
fn join_path(repository: &Url, path: &str) -> Url {
    let mut url = repository.clone();
    url.set_path(&format!("{}{path}", repository.path().trim_end_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Returns the repository's address after a redirect from `from`. Scheme, host and port must stay the same: otherwise another server would receive
/// the token.
fn redirected_url(from: &Url, answer: &Response) -> Result<Url, GitError> {
    let refused = |what: &str| Err(GitError::new(GitErrorKind::Redirected, what));
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(to) = location.and_then(|location| from.join(location).ok()) else {
        return refused("the git server redirects without an address");
    };
    if to.origin() != from.origin() {
        return refused("the git server redirects to another host or port: use the repository's current address");
    }
    match to.path().strip_suffix(ADVERTISEMENT) {
        Some(path) => {
            let mut repository = to.clone();
            repository.set_path(path);
            Ok(join_path(&repository, ""))
        }
        None => refused("the git server redirects to an address that is not a repository"),
    }
}

fn body_error(error: BodyError) -> GitError {
    match error {
        BodyError::Broken(error) => connection_error(error),
        error @ BodyError::TooLong(_) => GitError::too_large(error.to_string()),
    }
}

/// Classifies a connection that failed or broke: only an untrusted certificate is permanent.
fn connection_error(error: reqwest::Error) -> GitError {
    let error = error.without_url();
    let text = chain(&error);
    if is_about_certificates(&error) { GitError::invalid(text) } else { GitError::unavailable(text) }
}

fn is_about_certificates(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // The source of an I/O error skips the error that it wraps, so the wrapped error is checked separately.
    let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match carried {
        Some(carried) => is_about_certificates(carried),
        None => error.source().is_some_and(is_about_certificates),
    }
}

/// Resolves names on the current thread: the process may have no other threads, and does nothing else meanwhile.
struct OnThisThread;

impl Resolve for OnThisThread {
    fn resolve(&self, name: Name) -> Resolving {
        // The HTTP client fills in the port.
        let found = (name.as_str(), 0).to_socket_addrs();
        Box::pin(std::future::ready(
            found.map(|found| Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs).map_err(Into::into),
        ))
    }
}
