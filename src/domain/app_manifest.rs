//! The manifest from which GitHub creates an App for Panda, and the addresses of that flow:
//! <https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest>.

use serde_json::{Value, json};
use url::Url;

use super::message::message;
use super::text::is_unfit_for_names;
use super::validate::BrokenRule;

/// Time for which a state is accepted, in seconds: GitHub's code is valid for an hour.
pub const LIFETIME_SECONDS: f64 = 3_600.0;

/// Time for which an exchange counts as running, in seconds. Calls to GitHub end much earlier by default.
pub const EXCHANGE_SECONDS: u32 = 60;

/// Most Apps of an installation, awaited ones included.
pub const MAX_APPS: i64 = 200;

/// Longest name of an App that GitHub accepts, in characters.
const MAX_NAME: usize = 34;

/// Longest code, in bytes. GitHub's have 40.
const MAX_CODE: usize = 255;

/// Path of the page to which GitHub returns with a code.
const CALLBACK: &str = "connections/github-apps/callback";

/// Path of the pages of single Apps, to which GitHub returns after their installation.
const APPS: &str = "connections/github-apps";

/// Addresses between which a manifest is exchanged.
#[derive(Clone, Debug)]
pub struct ManifestSite {
    /// Address of GitHub's pages.
    pub github: Url,
    /// Address of Panda's page, which GitHub's pages lead back to; none where it is not configured.
    pub public: Option<Url>,
}

/// Values of one manifest.
#[derive(Clone, Copy, Debug)]
pub struct AppManifest<'a> {
    /// Id of the App in Panda.
    pub id: &'a str,
    /// Proposed name, which the person may change at GitHub.
    pub name: &'a str,
    /// Address of Panda's page, with a slash at its end.
    pub public: &'a Url,
    /// Path of the push hook that receives its events; none without one.
    pub payload_path: Option<&'a str>,
}

impl ManifestSite {
    /// Returns GitHub's page that creates an App from a manifest, in an organisation or else in the account of the person.
    pub fn address(&self, organization: Option<&str>, state: &str) -> Url {
        let mut address = self.github.clone();
        if let Ok(mut path) = address.path_segments_mut() {
            path.pop_if_empty();
            if let Some(organization) = organization {
                path.extend(["organizations", organization]);
            }
            path.extend(["settings", "apps", "new"]);
        }
        address.query_pairs_mut().append_pair("state", state);
        address
    }

    /// Returns the page of Panda at which Apps are created; none without a configured address.
    pub fn page(&self) -> Option<Url> {
        self.public.as_ref()?.join(APPS).ok()
    }

    /// Returns true for an address of GitHub's pages.
    pub fn is_github(&self, address: &Url) -> bool {
        address.origin() == self.github.origin() && address.username().is_empty() && address.password().is_none()
    }
}

impl AppManifest<'_> {
    /// Returns the manifest: private, with the permissions that deployments need, and events of pushes only where a push hook receives them.
    pub fn to_json(&self) -> Value {
        let below = |path: &str| format!("{}{path}", self.public);
        let mut manifest = json!({
            "name": self.name,
            "url": self.public.as_str(),
            "redirect_url": below(CALLBACK),
            "setup_url": below(&format!("{APPS}/{}", self.id)),
            "setup_on_update": false,
            "public": false,
            "default_permissions": {"contents": "read", "metadata": "read", "deployments": "write", "statuses": "write"},
            "default_events": [],
        });
        // Left out without a hook: GitHub would require an address that it can reach, which Panda's page may not have.
        if let Some(path) = self.payload_path {
            manifest["hook_attributes"] = json!({"url": below(path.trim_start_matches('/')), "active": true});
            manifest["default_events"] = json!(["push"]);
        }
        manifest
    }
}

/// Returns the name that is proposed where the caller chooses none. GitHub requires that no other App has it.
pub fn default_name(id: &str) -> String {
    format!("Panda {}", id.trim_start_matches("gha_").get(..8).unwrap_or_default())
}

/// Checks the name of an App.
///
/// # Errors
/// The rule that it breaks.
pub fn name(value: &str) -> Result<(), BrokenRule> {
    let fits = (1..=MAX_NAME).contains(&value.chars().count()) && !value.contains(is_unfit_for_names);
    if fits && value.trim() == value { Ok(()) } else { Err(message!("rule.github_app_name", max = MAX_NAME)) }
}

/// Checks the code that GitHub returned.
///
/// # Errors
/// The rule that it breaks.
pub fn code(value: &str) -> Result<(), BrokenRule> {
    let fits = (1..=MAX_CODE).contains(&value.len());
    let is_plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fits && is_plain { Ok(()) } else { Err(message!("rule.github_app_code")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(github: &str) -> ManifestSite {
        ManifestSite { github: github.parse().unwrap(), public: Some("https://panda.example/base/".parse().unwrap()) }
    }

    #[test]
    fn addresses_of_github_fit_accounts_organisations_and_enterprise_servers() {
        let address = |github: &str, organization| site(github).address(organization, "s").to_string();
        assert_eq!(address("https://github.com", None), "https://github.com/settings/apps/new?state=s");
        let acme = "https://git.example/at/organizations/acme/settings/apps/new?state=s";
        assert_eq!(address("https://git.example/at/", Some("acme")), acme);
        let github = site("https://github.com");
        assert!(github.is_github(&"https://github.com/apps/x".parse().unwrap()));
        for other in ["http://github.com/", "https://github.com:444/", "https://x@github.com/", "https://evil.example/"]
        {
            assert!(!github.is_github(&other.parse().unwrap()), "{other}");
        }
        assert_eq!(github.page().unwrap().as_str(), "https://panda.example/base/connections/github-apps");
    }

    #[test]
    fn manifest_has_least_permissions_and_events_for_a_hook_only() {
        let public = "https://panda.example/".parse().unwrap();
        let of = |payload_path| AppManifest { id: "gha_1", name: "P", public: &public, payload_path }.to_json();
        let none = of(None);
        assert!(none.get("hook_attributes").is_none());
        assert_eq!((&none["default_events"], &none["public"]), (&json!([]), &json!(false)));
        assert_eq!(none["setup_url"], "https://panda.example/connections/github-apps/gha_1");
        let hook = of(Some("/api/v1/hooks/github/hok_1"));
        assert_eq!(hook["hook_attributes"]["url"], "https://panda.example/api/v1/hooks/github/hok_1");
        assert_eq!(hook["default_events"], json!(["push"]));
    }

    #[test]
    fn names_and_codes_are_bounded() {
        assert!(name("Panda of Acme").is_ok() && name(&default_name("gha_4k1zq0v7w3m9x2c8b5n6")).is_ok());
        for wrong in ["", " x", "a\nb", &"a".repeat(35)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
        assert!(code("a180b1a3d263c81bc6441d7b990bae27d4c10679").is_ok());
        for wrong in ["", "../user", "a b", "a%2f", &"a".repeat(256)] {
            assert!(code(wrong).is_err(), "{wrong:?}");
        }
    }
}
