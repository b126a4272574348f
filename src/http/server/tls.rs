//! TLS by rustls. A renewed certificate is loaded when its files change, without closing any connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as RustlsError, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::bounded::{self, ReadError};
use crate::config::TlsFiles;

/// Interval of the checks for changed files. File-system notifications would miss changes on network file systems, and the way in which Kubernetes
/// replaces a mounted secret.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Errors in the configured certificate and key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is missing, too large or not readable by this process.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// Path of the file as configured.
        path: PathBuf,
        /// Cause as reported by the operating system.
        source: ReadError,
    },
    /// The file has no PEM block of the required kind.
    #[error("{path} holds no {what} in PEM format")]
    MissingPem {
        /// Path of the file as configured.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// rustls rejects the certificate or the key, for example because they do not belong together.
    #[error("{cert} and {key} cannot be used: {source}")]
    Unusable {
        /// Path of the certificate chain.
        cert: PathBuf,
        /// Path of the private key.
        key: PathBuf,
        /// Cause as reported by rustls.
        source: RustlsError,
    },
}

/// The current certificate and key, shared by all TLS connections.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: RwLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    /// Contents of the certificate file, to detect a renewal. The key need not be compared: a new key without a new certificate would be rejected as
    /// a pair.
    pem: Vec<u8>,
    certified: Arc<CertifiedKey>,
}

impl Tls {
    /// Reads the certificate and the key from `files`.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = RwLock::new(read(&files, &provider)?);
        Ok(Arc::new(Self { files, provider, current }))
    }

    /// Returns an acceptor for TLS 1.2 and 1.3 that negotiates HTTP/1.1.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|source| unusable(&self.files, source))?;
        let mut config =
            builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Loads a new certificate within seconds after its files change, and immediately on SIGHUP, until `stop`. Open connections keep the certificate
    /// they began with. Unusable files change nothing, since a renewal may be in progress.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut hangup =
            signal(SignalKind::hangup()).inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be handled")).ok();
        let mut logged = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = received(&mut hangup) => logged.clear(),
            }
            let again = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || again.reload()).await {
                Ok(Ok(true)) => tracing::info!(cert = %self.files.cert.display(), "TLS certificate reloaded"),
                Ok(Ok(false)) => {}
                // Each error is logged once: a broken file is one line, not one every few seconds.
                Ok(Err(error)) if error.to_string() == logged => continue,
                Ok(Err(error)) => {
                    tracing::error!(%error, "TLS certificate cannot be reloaded, keeping the current one");
                    logged = error.to_string();
                    continue;
                }
                Err(error) => tracing::error!(%error, "TLS certificate check failed"),
            }
            logged.clear();
        }
    }

    /// Loads the files. Returns true when the certificate has changed.
    fn reload(&self) -> Result<bool, TlsError> {
        let loaded = read(&self.files, &self.provider)?;
        if self.current.read().pem == loaded.pem {
            return Ok(false);
        }
        *self.current.write() = loaded;
        Ok(true)
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().certified))
    }
}

/// Waits for the signal, forever if it cannot be handled.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<Loaded, TlsError> {
    let bytes =
        |path: &Path| bounded::file(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source });
    let missing_pem = |path: &Path, what| TlsError::MissingPem { path: path.to_owned(), what };
    let pem = bytes(&files.cert)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
    if chain.is_empty() {
        return Err(missing_pem(&files.cert, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes(&files.key)?);
    let key = key.map_err(|_| missing_pem(&files.key, "private key (an encrypted one cannot be used)"))?;
    // Rejects a key that does not belong to the certificate.
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|source| unusable(files, source))?;
    Ok(Loaded { pem, certified: Arc::new(certified) })
}

fn unusable(files: &TlsFiles, source: RustlsError) -> TlsError {
    TlsError::Unusable { cert: files.cert.clone(), key: files.key.clone(), source }
}
