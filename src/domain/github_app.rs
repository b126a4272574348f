//! Access to GitHub as an installation of an App, whose tokens last an hour. It is stored in the place of a personal token, as JSON, which no token is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::message::message;
use super::validate::{BrokenRule, FieldRefusal};

/// Longest private key, in bytes: one of 4096 bits has 3,250.
const MAX_KEY: usize = 8_192;

/// Longest id of an App, in bytes: a number, or a client id such as `Iv23li…`.
const MAX_APP_ID: usize = 40;

/// Credentials of an App's installation.
#[derive(Clone, Debug)]
pub struct GithubApp {
    /// Id or client id of the App.
    pub app_id: String,
    /// Id of its installation in the account of the repository.
    pub installation_id: u64,
    /// Private key of the App, as the PEM file that GitHub generates.
    pub private_key: SecretString,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredApp<'a> {
    app_id: &'a str,
    installation_id: u64,
    private_key: String,
}

/// Encoding of the private key of an App.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppKeyForm {
    /// The form that GitHub generates.
    Pkcs1,
    /// The form to which OpenSSL 3 converts.
    Pkcs8,
}

impl GithubApp {
    /// Checks the ids and that the key has a form that can sign.
    ///
    /// # Errors
    /// The field that is invalid; never the key.
    pub fn checked(self) -> Result<Self, FieldRefusal> {
        let is_id = (1..=MAX_APP_ID).contains(&self.app_id.len())
            && self.app_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        if !is_id {
            return Err(FieldRefusal::new("appId", message!("rule.github_app_id", max = MAX_APP_ID)));
        }
        self.key().map_err(|rule| FieldRefusal::new("privateKey", rule))?;
        Ok(self)
    }

    /// Decodes the private key.
    ///
    /// # Errors
    /// It is no PEM block of an RSA key.
    pub fn key(&self) -> Result<(AppKeyForm, Zeroizing<Vec<u8>>), BrokenRule> {
        let pem = self.private_key.expose_secret().trim();
        let block = |label: &str| {
            let body = pem.strip_prefix(&format!("-----BEGIN {label}-----"))?;
            body.strip_suffix(&format!("-----END {label}-----"))
        };
        let decoded = |body: &str| {
            let text: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
            STANDARD.decode(text.as_bytes()).ok().map(Zeroizing::new)
        };
        let key = match (block("RSA PRIVATE KEY"), block("PRIVATE KEY")) {
            (Some(body), _) => decoded(body).map(|key| (AppKeyForm::Pkcs1, key)),
            (None, Some(body)) => decoded(body).map(|key| (AppKeyForm::Pkcs8, key)),
            (None, None) => None,
        };
        key.filter(|_| pem.len() <= MAX_KEY).ok_or_else(|| message!("rule.github_app_key"))
    }

    /// Returns the form in which a connection stores it.
    pub fn to_secret(&self) -> SecretString {
        let key = self.private_key.expose_secret().to_owned();
        let stored = StoredApp { app_id: &self.app_id, installation_id: self.installation_id, private_key: key };
        // Texts and a number cannot fail to be written.
        SecretString::from(serde_json::to_string(&stored).unwrap_or_default())
    }

    /// Reads [`Self::to_secret`]; none for a personal token.
    pub fn of_secret(stored: &SecretString) -> Option<Self> {
        let text = stored.expose_secret();
        let stored: StoredApp<'_> = text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()?;
        Some(Self {
            app_id: stored.app_id.to_owned(),
            installation_id: stored.installation_id,
            private_key: SecretString::from(stored.private_key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(app_id: &str, key: &str) -> GithubApp {
        GithubApp { app_id: app_id.to_owned(), installation_id: 7, private_key: SecretString::from(key) }
    }

    const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nAAEC\nAwQ=\n-----END RSA PRIVATE KEY-----\n";

    #[test]
    fn stored_app_is_read_again_and_a_token_is_none() {
        let stored = app("12", KEY).checked().unwrap().to_secret();
        let read = GithubApp::of_secret(&stored).unwrap();
        assert_eq!((read.app_id.as_str(), read.installation_id), ("12", 7));
        assert_eq!(read.private_key.expose_secret(), KEY);
        let (form, key) = read.key().unwrap();
        assert_eq!((form, key.as_slice()), (AppKeyForm::Pkcs1, &[0, 1, 2, 3, 4][..]));
        for token in ["ghp_x", "{", "{}", ""] {
            assert!(GithubApp::of_secret(&SecretString::from(token)).is_none());
        }
    }

    #[test]
    fn unusable_fields_are_named() {
        let field = |app: GithubApp| app.checked().unwrap_err().field;
        assert_eq!(field(app("", KEY)), "appId");
        assert_eq!(field(app("a/b", KEY)), "appId");
        for key in
            ["", "x", "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----", &KEY.replace("AAEC", "?")]
        {
            assert_eq!(field(app("12", key)), "privateKey");
        }
        assert!(!format!("{:?}", app("12", KEY)).contains("AAEC"));
    }
}
