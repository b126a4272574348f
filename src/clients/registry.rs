//! Checks a login at the image registry itself: a Docker engine reports refusals of a registry only as text.

use std::time::Duration;

use reqwest::{Client, redirect::Policy};
use secrecy::ExposeSecret as _;
use url::Url;

use super::{ErrorKind, aws::RegistryLogin};
use crate::domain::text::chain;
use crate::domain::validate;

const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Result of checking a login at the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginCheck {
    /// The registry accepts the login: a denied push lacks a permission.
    Accepted,
    /// The registry refuses the login.
    Refused,
    /// The registry is overloaded or failing, so its refusals prove nothing; contains the status.
    Busy(String),
    /// The registry is unreachable from this process; contains the cause. The engine may be in another network.
    Unknown(String),
}

/// Asks the registry of `login` whether it accepts the login, with `GET /v2/`, which every engine sends first. Only the status is read.
pub async fn check_login(login: &RegistryLogin) -> LoginCheck {
    let Some(url) = Url::parse(&login.endpoint).ok().filter(|url| validate::private_url(url).is_ok()) else {
        return LoginCheck::Unknown("a password must not be sent to its address".to_owned());
    };
    let asked = async {
        let mut url = url;
        url.set_path("/v2/");
        let client = Client::builder().timeout(CHECK_TIMEOUT).redirect(Policy::none()).build()?;
        client.get(url).basic_auth(&login.username, Some(login.password.expose_secret())).send().await
    };
    match asked.await {
        Ok(answer) if answer.status().is_success() => LoginCheck::Accepted,
        Ok(answer) => match ErrorKind::of_status(answer.status().as_u16()) {
            ErrorKind::Denied => LoginCheck::Refused,
            ErrorKind::Throttled | ErrorKind::Unavailable => LoginCheck::Busy(format!("status {}", answer.status())),
            _ => LoginCheck::Unknown(format!("status {}", answer.status())),
        },
        Err(error) => LoginCheck::Unknown(chain(&error.without_url())),
    }
}
