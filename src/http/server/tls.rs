//! TLS by rustls, with a certificate that may change while we serve: whoever renews it writes the files, and nobody is cut.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

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

/// Between two looks at the files. Notices of the kernel would miss a network's folder, and how Kubernetes replaces a mounted secret.
const LOOK: Duration = Duration::from_secs(5);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: ReadError,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no {what} in PEM format")]
    Without {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// They cannot be used, or not together.
    #[error("{cert} and {key} cannot be used: {source}")]
    Unusable {
        /// The file with the certificates.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What rustls says.
        source: RustlsError,
    },
}

/// What TLS connections begin with.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: RwLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    /// The certificates as they are in the file: with other ones the key is another as well, or the pair is refused.
    pem: Vec<u8>,
    certified: Arc<CertifiedKey>,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = RwLock::new(read(&files, &provider)?);
        Ok(Arc::new(Self { files, provider, current }))
    }

    /// What makes connections out of sockets. TLS 1.2 and 1.3, HTTP/1.1.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|source| unusable(&self.files, source))?;
        let mut config =
            builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Takes a new certificate soon after its files are there, and at once on SIGHUP, until `stop`. Connections keep what they began
    /// with. Files that cannot be used change nothing: those who renew may be in the middle of it.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut hangup =
            signal(SignalKind::hangup()).inspect_err(|error| tracing::warn!(%error, "SIGHUP is not heard")).ok();
        let mut said = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
                () = heard(&mut hangup) => said.clear(),
            }
            let again = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || again.reload()).await {
                Ok(Ok(true)) => tracing::info!(cert = %self.files.cert.display(), "a new certificate is served"),
                Ok(Ok(false)) => {}
                // Once for each reason: a broken file is one line, not one every few seconds.
                Ok(Err(error)) if error.to_string() == said => continue,
                Ok(Err(error)) => {
                    tracing::error!(%error, "the certificate stays as it is");
                    said = error.to_string();
                    continue;
                }
                Err(error) => tracing::error!(%error, "the certificate could not be looked at"),
            }
            said.clear();
        }
    }

    /// Whether there is a new one.
    fn reload(&self) -> Result<bool, TlsError> {
        let loaded = read(&self.files, &self.provider)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).pem == loaded.pem {
            return Ok(false);
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(true)
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).certified))
    }
}

/// Never, where the signal cannot be had.
async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<Loaded, TlsError> {
    let bytes =
        |path: &Path| bounded::file(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source });
    let without = |path: &Path, what| TlsError::Without { path: path.to_owned(), what };
    let pem = bytes(&files.cert)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
    if chain.is_empty() {
        return Err(without(&files.cert, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes(&files.key)?);
    let key = key.map_err(|_| without(&files.key, "private key (an encrypted one cannot be used)"))?;
    // Two that do not belong together are refused here.
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|source| unusable(files, source))?;
    Ok(Loaded { pem, certified: Arc::new(certified) })
}

fn unusable(files: &TlsFiles, source: RustlsError) -> TlsError {
    TlsError::Unusable { cert: files.cert.clone(), key: files.key.clone(), source }
}
