//! Options of authentication and approval.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Authentication mode of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// Require a token, unless only this machine can reach the API
    Auto,
    /// Require a token from every caller
    Required,
    /// Require nothing: every caller may do everything
    None,
}

/// Options of authentication and approval.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Authentication and approval")]
pub struct AuthConfig {
    /// Authentication of API callers: required (a token), none (every caller may do everything), or auto: required, unless the API listens on loopback without a trusted proxy, admin token or OpenID Connect issuer
    #[arg(long = "auth", env = "PANDA_AUTH", value_name = "MODE", default_value = "auto", value_enum)]
    pub mode: AuthMode,
    /// Same as --auth none: every caller that reaches the API may do everything
    #[arg(long)]
    pub no_auth: bool,
    /// File with a token that may do everything, at least 32 characters, in addition to tokens of `panda token create`
    #[arg(long, env = "PANDA_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Require four-eyes approval: the caller who started a deployment cannot switch it
    #[arg(long = "another-approves", env = "PANDA_ANOTHER_APPROVES", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub four_eyes: bool,
    /// JSON file with the OpenID Connect issuers whose tokens may sign in; example in docs/security.md
    #[arg(long, env = "PANDA_OIDC_FILE", value_name = "FILE")]
    pub oidc_file: Option<PathBuf>,
    /// Lifetime of a browser session, in milliseconds; the session never outlives the token that opened it
    #[arg(long = "session-ms", env = "PANDA_SESSION_MS", value_name = "MS", default_value = "43200000", value_parser = super::millis)]
    pub session: Duration,
}

impl AuthConfig {
    /// Returns true if authentication was switched off explicitly, by `--no-auth` or `--auth none`.
    pub fn is_off(&self) -> bool {
        self.no_auth || self.mode == AuthMode::None
    }

    /// Returns true if callers must sign in to a server that listens on `listen`. `proxied` means that a trusted proxy is configured:
    /// a proxy on the same machine makes a loopback listener reachable from every network.
    pub fn is_required(&self, listen: SocketAddr, proxied: bool) -> bool {
        match self.mode {
            _ if self.is_off() => false,
            AuthMode::None => false,
            AuthMode::Required => true,
            AuthMode::Auto => {
                !listen.ip().is_loopback() || proxied || self.admin_token_file.is_some() || self.oidc_file.is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        auth: AuthConfig,
    }

    fn required(args: &[&str], listen: &str, proxied: bool) -> bool {
        let cli = Cli::try_parse_from(["panda"].iter().chain(args)).unwrap();
        cli.auth.is_required(listen.parse().unwrap(), proxied)
    }

    #[test]
    fn auto_is_off_only_on_bare_loopback() {
        assert!(!required(&[], "127.0.0.1:80", false) && !required(&[], "[::1]:80", false));
        for listen in ["0.0.0.0:80", "10.0.0.7:80", "[::]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(required(&[], listen, false), "{listen}");
        }
        assert!(required(&[], "127.0.0.1:80", true), "behind a proxy");
        assert!(required(&["--admin-token-file=x"], "127.0.0.1:80", false));
        assert!(required(&["--oidc-file=x"], "127.0.0.1:80", false));
        assert!(required(&["--auth=required"], "127.0.0.1:80", false));
    }

    #[test]
    fn explicit_off_applies_to_every_address() {
        for args in [&["--no-auth"][..], &["--auth=none"], &["--no-auth", "--admin-token-file=x"]] {
            assert!(!required(args, "0.0.0.0:80", true), "{args:?}");
        }
    }
}
