//! The API's part of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{millis, origin, role_arn};
use crate::domain::catalogue::Lang;
use crate::domain::network::Network;

/// The API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "API")]
pub struct HttpConfig {
    /// Address to listen on
    #[arg(long, env = "PANDA_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// File with the server's TLS certificate in PEM format, then those that lead to the authority's; without it, HTTP is spoken in the clear. A new one is taken when the files change, and on SIGHUP
    #[arg(long, env = "PANDA_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// File with the certificate's private key in PEM format
    #[arg(long, env = "PANDA_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Web origins that may call the API from a browser, such as https://panda.example.com; none by default
    #[arg(long, env = "PANDA_CORS_ORIGINS", value_name = "ORIGIN,…", value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<String>,
    /// Language of event streams that do not ask for one: ko or en
    #[arg(long, env = "PANDA_LANGUAGE", value_name = "LANG", default_value = "ko")]
    pub language: Lang,
    /// Milliseconds after which an event stream is closed, give or take a fifth, so that its reader comes back; a restart is nothing special then
    #[arg(long = "stream-rotation-ms", env = "PANDA_STREAM_ROTATION_MS", value_name = "MS", default_value = "600000", value_parser = millis)]
    pub stream_rotation: Duration,
    /// Milliseconds after which a client that takes nothing of what it is sent is cut; a stream's reader goes on where it was when it comes back
    #[arg(long = "reader-stall-ms", env = "PANDA_READER_STALL_MS", value_name = "MS", default_value = "30000", value_parser = millis)]
    pub reader_stall: Duration,
    /// Most open event streams; fewer when the limit of open files leaves fewer
    #[arg(long, env = "PANDA_MAX_STREAMS", value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_streams: u32,
    /// Most open event streams of one client: one address, or one IPv6 network of 64 bits
    #[arg(long, env = "PANDA_MAX_STREAMS_PER_CLIENT", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_streams_per_client: u32,
    /// Most open connections; what the limit of open files leaves when absent
    #[arg(long, env = "PANDA_MAX_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub max_connections: Option<u32>,
    /// Requests a second that one client may make for long, and ten times as many at once; 0 for no limit. A client is one address, or one IPv6 network of 64 bits
    #[arg(long, env = "PANDA_RATE_PER_CLIENT", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rate_per_client: u32,
    /// Requests a second that may be made with one token for long, and ten times as many at once; 0 for no limit
    #[arg(long, env = "PANDA_RATE_PER_TOKEN", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rate_per_token: u32,
    /// Milliseconds in which the body of a request must have arrived
    #[arg(long = "body-timeout-ms", env = "PANDA_BODY_TIMEOUT_MS", value_name = "MS", default_value = "10000", value_parser = millis)]
    pub body_timeout: Duration,
    /// Milliseconds after which a request without an answer is given up; event streams are answers from their first byte on
    #[arg(long = "request-timeout-ms", env = "PANDA_REQUEST_TIMEOUT_MS", value_name = "MS", default_value = "60000", value_parser = millis)]
    pub request_timeout: Duration,
    /// Proxies that are believed about the client's address: addresses or networks such as 10.0.0.0/8; none by default
    #[arg(long, env = "PANDA_TRUSTED_PROXIES", value_name = "NETWORK,…", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
    /// Header in which trusted proxies report the client's address: x-forwarded-for or forwarded (RFC 7239). The other one is ignored, since proxies pass on what a client writes there
    #[arg(long, env = "PANDA_FORWARDED_HEADER", value_name = "HEADER", value_enum, default_value_t = ForwardedHeader::XForwardedFor)]
    pub forwarded_header: ForwardedHeader,
    /// AWS regions to accept beside those that this version knows
    #[arg(long, env = "PANDA_EXTRA_REGIONS", value_name = "REGION,…", value_delimiter = ',')]
    pub extra_regions: Vec<String>,
    /// Roles of the controller's own AWS account that users may connect, by ARN; none by default
    #[arg(long, env = "PANDA_CONTROLLER_ROLES", value_name = "ARN,…", value_delimiter = ',', value_parser = role_arn)]
    pub controller_roles: Vec<String>,
}

/// The header in which proxies report the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which nearly all proxies write.
    XForwardedFor,
    /// `Forwarded`, of RFC 7239.
    Forwarded,
}

impl ForwardedHeader {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// Where the certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to the authority's.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl HttpConfig {
    /// Where the certificate is; none when there is to be no TLS.
    pub fn tls(&self) -> Option<TlsFiles> {
        self.tls_cert.clone().zip(self.tls_key.clone()).map(|(cert, key)| TlsFiles { cert, key })
    }

    /// How long a stream that is opened now may live: not all that were opened together are to come back together.
    pub fn stream_lifetime(&self) -> Duration {
        self.stream_rotation.mul_f64(rand::random_range(0.8..=1.2))
    }
}
