//! A certificate authority of one test.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

pub struct Authority {
    /// Its own certificate, for clients to trust.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Panda's tests");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `names` and its key, in PEM.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A folder in the format of `DOCKER_CERT_PATH`, for a client that trusts `trusted`.
    pub fn folder(&self, trusted: &Self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = self.issue(&["panda"]);
        for (file, text) in [("ca.pem", &trusted.pem), ("cert.pem", &certificate), ("key.pem", &key)] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        folder
    }
}
