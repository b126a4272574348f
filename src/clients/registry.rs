//! The image registry itself, asked what the engine cannot tell: an engine passes refusals on as text.

use std::time::Duration;

use reqwest::{Client, redirect::Policy};
use secrecy::ExposeSecret as _;
use url::Url;

use super::{ErrorKind, aws::RegistryLogin, error::chain};
use crate::domain::validate;

const LIMIT: Duration = Duration::from_secs(10);

/// What the registry makes of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginCheck {
    /// It accepts the login: what was denied is a right, not the login.
    Accepted,
    /// It refuses the login.
    Refused,
    /// It is in trouble, so that its refusals say nothing.
    Busy(String),
    /// It cannot be asked from here; the engine may stand in another network.
    Unknown(String),
}

/// Asks the registry of `login` whether it accepts it: `GET /v2/`, as every engine does first. Only the status is read.
pub async fn check_login(login: &RegistryLogin) -> LoginCheck {
    let Some(url) = Url::parse(&login.endpoint).ok().filter(|url| validate::private_url(url).is_ok()) else {
        return LoginCheck::Unknown("its address is not one that a password may be sent to".to_owned());
    };
    let asked = async {
        let mut url = url;
        url.set_path("/v2/");
        let client = Client::builder().timeout(LIMIT).redirect(Policy::none()).build()?;
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
