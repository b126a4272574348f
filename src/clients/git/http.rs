//! Git's smart HTTP: requests to one repository, answers as packets through limits.

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
use crate::bounded::{BodyError, Pieces};
use crate::clients::error::chain;

/// GitHub (and most others) take a token as this user's password; the name itself is not checked.
const TOKEN_USER: &str = "x-access-token";
/// Servers know a git client by this beginning.
const USER_AGENT: &str = concat!("git/2.0 (panda ", env!("CARGO_PKG_VERSION"), ")");
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest silence of a server, which sends a sign of life every five seconds while it packs.
const READ_TIMEOUT: Duration = Duration::from_mins(2);
/// A renamed repository is one redirect.
const REDIRECTS: usize = 3;
const ADVERTISEMENT: &str = "/info/refs";

/// One repository on a git server.
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
        // Plain HTTP is for this machine alone, which a proxy cannot reach; it would see the token. Nor does it need certificates, which
        // are slow to read and may not be there.
        let http = if url.scheme() == "http" { http.no_proxy().tls_certs_only([]) } else { http };
        let http = http.build().map_err(|error| GitError::invalid(chain(&error)))?;
        Ok(Self { http, url, token, max_bytes, received: 0 })
    }

    /// The server's advertisement, at most `limit` bytes of it. A redirect on the same server moves the repository's address.
    pub(super) async fn advertisement(&mut self, limit: usize) -> Result<Answer<'_>, GitError> {
        for _ in 0..=REDIRECTS {
            let mut url = below(&self.url, ADVERTISEMENT);
            url.set_query(Some("service=git-upload-pack"));
            let answer = self.send(self.http.get(url.clone())).await?;
            if answer.status().is_redirection() {
                self.url = moved(&url, &answer)?;
                continue;
            }
            return self.packets(answer, "application/x-git-upload-pack-advertisement", limit);
        }
        Err(GitError::new(GitErrorKind::Redirected, "the git server redirects without end"))
    }

    /// The answer to `request`, at most `limit` bytes of it.
    pub(super) async fn upload_pack(&mut self, request: String, limit: usize) -> Result<Answer<'_>, GitError> {
        let post = self.http.post(below(&self.url, "/git-upload-pack"));
        let post = post.header(CONTENT_TYPE, "application/x-git-upload-pack-request").body(request);
        let answer = self.send(post.header(ACCEPT, "application/x-git-upload-pack-result")).await?;
        if answer.status().is_redirection() {
            return Err(GitError::new(GitErrorKind::Redirected, "the git server redirects a fetch on its way"));
        }
        self.packets(answer, "application/x-git-upload-pack-result", limit)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, GitError> {
        let request = match self.token {
            Some(token) => request.basic_auth(TOKEN_USER, Some(token.expose_secret())),
            None => request,
        };
        let answer = request.header("git-protocol", "version=2").send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            return Ok(answer);
        }
        // What else it says is not read: it may have no end.
        let kind = GitErrorKind::of_status(status.as_u16(), answer.headers().contains_key(RETRY_AFTER));
        Err(GitError::new(
            kind,
            match (status.as_u16(), self.token) {
                (401, None) => "the repository asks for a token, and there is none".to_owned(),
                (401, Some(_)) => "the repository refuses the token".to_owned(),
                (code, _) => format!("the git server answered with status {code}"),
            },
        ))
    }

    fn packets(&mut self, answer: Response, media_type: &str, limit: usize) -> Result<Answer<'_>, GitError> {
        let given = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if given.split(';').next().unwrap_or_default().trim() != media_type {
            return Err(GitError::invalid("the server at this address does not speak git's smart HTTP protocol"));
        }
        Ok(Answer {
            pieces: Pieces::of(answer),
            decoder: Decoder::default(),
            left: limit,
            received: &mut self.received,
            max_bytes: self.max_bytes,
        })
    }
}

/// An answer, read packet by packet.
pub(super) struct Answer<'a> {
    pieces: Pieces,
    decoder: Decoder,
    /// Bytes that this answer may still have.
    left: usize,
    /// Bytes of all answers so far.
    received: &'a mut usize,
    max_bytes: usize,
}

impl Answer<'_> {
    /// The next packet; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Packet>, GitError> {
        loop {
            if let Some(packet) = self.decoder.next().map_err(GitError::invalid)? {
                return Ok(Some(packet));
            }
            let Some(piece) = self.pieces.next(usize::MAX).await.map_err(broken)? else {
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
            self.left = self.left.checked_sub(piece.len()).ok_or_else(|| {
                GitError::too_large("the git server's list of branches and tags is too long to be one")
            })?;
            self.decoder.push(&piece);
        }
    }

    /// The next packet, which the protocol wants here.
    pub(super) async fn expect(&mut self) -> Result<Packet, GitError> {
        self.next().await?.ok_or_else(|| GitError::unavailable("the git server's answer broke off"))
    }
}

/// `path` below the repository's address.
fn below(repository: &Url, path: &str) -> Url {
    let mut url = repository.clone();
    url.set_path(&format!("{}{path}", repository.path().trim_end_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// The repository's address after a redirect from `from`: on the same scheme, host and port, or the token would go to somebody else.
fn moved(from: &Url, answer: &Response) -> Result<Url, GitError> {
    let refused = |what: &str| Err(GitError::new(GitErrorKind::Redirected, what));
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(to) = location.and_then(|location| from.join(location).ok()) else {
        return refused("the git server redirects to no address");
    };
    if to.origin() != from.origin() {
        return refused("the git server redirects to another host or port: give the repository's own address");
    }
    match to.path().strip_suffix(ADVERTISEMENT) {
        Some(path) => {
            let mut repository = to.clone();
            repository.set_path(path);
            Ok(below(&repository, ""))
        }
        None => refused("the git server redirects to an address that is no repository"),
    }
}

fn broken(error: BodyError) -> GitError {
    match error {
        BodyError::Broken(error) => unreachable(error),
        error @ BodyError::TooLong(_) => GitError::too_large(error.to_string()),
    }
}

/// No connection, or one that broke: only a certificate that does not fit is not mended by time.
fn unreachable(error: reqwest::Error) -> GitError {
    let error = error.without_url();
    let text = chain(&error);
    if is_about_certificates(&error) { GitError::invalid(text) } else { GitError::unavailable(text) }
}

fn is_about_certificates(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // An I/O error hides the one that it carries: its source is that one's source.
    let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match carried {
        Some(carried) => is_about_certificates(carried),
        None => error.source().is_some_and(is_about_certificates),
    }
}

/// Looks names up on this thread: the process may have no other, and does nothing else meanwhile.
struct OnThisThread;

impl Resolve for OnThisThread {
    fn resolve(&self, name: Name) -> Resolving {
        // The port is put in by the client.
        let found = (name.as_str(), 0).to_socket_addrs();
        Box::pin(std::future::ready(
            found.map(|found| Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs).map_err(Into::into),
        ))
    }
}
