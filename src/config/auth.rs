//! Who may use the API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Whether the API asks who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// It does, unless nobody but this machine can reach it.
    Auto,
    /// It does.
    Required,
    /// It does not: everybody may everything.
    None,
}

/// Who may use the API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Who may do what")]
pub struct AuthConfig {
    /// Who may use the API: required (whoever has a token), none (everybody, everything), or auto: required, unless it listens on loopback with neither a trusted proxy nor an admin token nor an OpenID Connect issuer
    #[arg(long = "auth", env = "PANDA_AUTH", value_name = "MODE", default_value = "auto", value_enum)]
    pub mode: AuthMode,
    /// The same as --auth none: everybody who reaches the API may do everything
    #[arg(long)]
    pub no_auth: bool,
    /// File with a token that may do everything, 32 characters or more, beside those that `panda token create` makes
    #[arg(long, env = "PANDA_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Whether whoever started a deployment may not switch it: another approver has to
    #[arg(long, env = "PANDA_ANOTHER_APPROVES", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub another_approves: bool,
    /// File with the OpenID Connect issuers whose tokens may sign in, in JSON; docs/security.md has an example
    #[arg(long, env = "PANDA_OIDC_FILE", value_name = "FILE")]
    pub oidc_file: Option<PathBuf>,
    /// Milliseconds that a browser's session lasts, which ends with the token that it was opened with in any case
    #[arg(long = "session-ms", env = "PANDA_SESSION_MS", value_name = "MS", default_value = "43200000", value_parser = super::millis)]
    pub session: Duration,
}

impl AuthConfig {
    /// Whether it was told in so many words that nobody has to sign in.
    pub fn is_off(&self) -> bool {
        self.no_auth || self.mode == AuthMode::None
    }

    /// Whether whoever comes has to sign in, at a server that listens there, `proxied` or not. A proxy on the same machine brings
    /// the whole world to loopback.
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
    fn only_loopback_without_anything_else_is_open_by_itself() {
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
    fn in_so_many_words_it_is_open_anywhere() {
        for args in [&["--no-auth"][..], &["--auth=none"], &["--no-auth", "--admin-token-file=x"]] {
            assert!(!required(args, "0.0.0.0:80", true), "{args:?}");
        }
    }
}
