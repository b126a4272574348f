//! Options of the HTTP API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{base_path, keep_alive, millis, origin, role_arn};
use crate::domain::catalogue::Lang;
use crate::domain::deployment::Concurrency;
use crate::domain::network::Network;

/// Options of the HTTP API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "API")]
pub struct HttpConfig {
    /// Address to listen on
    #[arg(long, env = "PANDA_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Separate address for the metrics, in plaintext, such as 0.0.0.0:9090; by default they are served with the API, at /metrics
    #[arg(long, env = "PANDA_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<SocketAddr>,
    /// Path before all others, such as /panda, where programs share a host name; paths without it are served, too
    #[arg(long, env = "PANDA_BASE_PATH", value_name = "PATH", default_value = "", value_parser = base_path)]
    pub base_path: String,
    /// File with the server's TLS certificate in PEM format, followed by the intermediate certificates; without it, the API is plaintext HTTP. Reloaded if the files change, and on SIGHUP
    #[arg(long, env = "PANDA_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// File with the certificate's private key in PEM format
    #[arg(long, env = "PANDA_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Web origins that may call the API from a browser, such as https://panda.example.com; by default none
    #[arg(long, env = "PANDA_CORS_ORIGINS", value_name = "ORIGIN,…", value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<String>,
    /// Language of event streams whose request names none: ko or en
    #[arg(long, env = "PANDA_LANGUAGE", value_name = "LANG", default_value = "ko")]
    pub language: Lang,
    /// Policy of deploy requests and new schedules that name none, when another deployment of the same target is unfinished: reject, queue or supersede. A front end that neither queues nor cancels needs queue or supersede
    #[arg(long, env = "PANDA_DEFAULT_CONCURRENCY", value_name = "POLICY", default_value = "reject")]
    pub default_concurrency: Concurrency,
    /// Lifetime of a stream of all deployments, in milliseconds, varied by up to 20 %; its readers reconnect regularly, so that a restart is routine. The stream of one deployment lasts until the deployment ends
    #[arg(long = "stream-rotation-ms", env = "PANDA_STREAM_ROTATION_MS", value_name = "MS", default_value = "600000", value_parser = millis)]
    pub stream_rotation: Duration,
    /// Interval of the comments in quiet event streams, in milliseconds, at most 15000; shorter than the idle timeout of each proxy before the server
    #[arg(long = "stream-keep-alive-ms", env = "PANDA_STREAM_KEEP_ALIVE_MS", value_name = "MS", default_value = "15000", value_parser = keep_alive)]
    pub stream_keep_alive: Duration,
    /// Time after which a client that accepts no data is disconnected, in milliseconds; a stream's reader resumes at its position when it reconnects
    #[arg(long = "reader-stall-ms", env = "PANDA_READER_STALL_MS", value_name = "MS", default_value = "30000", value_parser = millis)]
    pub reader_stall: Duration,
    /// Maximum number of open event streams; lowered if the limit of open files requires it
    #[arg(long, env = "PANDA_MAX_STREAMS", value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_streams: u32,
    /// Maximum number of open event streams of one client (one address, or one IPv6 /64 network)
    #[arg(long, env = "PANDA_MAX_STREAMS_PER_CLIENT", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_streams_per_client: u32,
    /// Maximum number of open connections; by default what the limit of open files allows
    #[arg(long, env = "PANDA_MAX_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub max_connections: Option<u32>,
    /// Sustained requests per second of one client (one address, or one IPv6 /64 network), with bursts of ten times as many; 0 for no limit
    #[arg(long, env = "PANDA_RATE_PER_CLIENT", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rate_per_client: u32,
    /// Sustained requests per second with one token, with bursts of ten times as many; 0 for no limit
    #[arg(long, env = "PANDA_RATE_PER_TOKEN", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rate_per_token: u32,
    /// Time limit for receiving the body of a request, in milliseconds
    #[arg(long = "body-timeout-ms", env = "PANDA_BODY_TIMEOUT_MS", value_name = "MS", default_value = "10000", value_parser = millis)]
    pub body_timeout: Duration,
    /// Time limit until a request is answered, in milliseconds; an event stream counts as answered from its first byte
    #[arg(long = "request-timeout-ms", env = "PANDA_REQUEST_TIMEOUT_MS", value_name = "MS", default_value = "60000", value_parser = millis)]
    pub request_timeout: Duration,
    /// Proxies trusted to report the client's address and the requested host: addresses or networks such as 10.0.0.0/8; by default none
    #[arg(long, env = "PANDA_TRUSTED_PROXIES", value_name = "NETWORK,…", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
    /// Header in which trusted proxies report the client's address and host: x-forwarded-for (with x-forwarded-host) or forwarded (RFC 7239). The other one is ignored, because proxies pass it on unchanged from the client
    #[arg(long, env = "PANDA_FORWARDED_HEADER", value_name = "HEADER", value_enum, default_value_t = ForwardedHeader::XForwardedFor)]
    pub forwarded_header: ForwardedHeader,
    /// AWS regions to accept in addition to those that this version knows
    #[arg(long, env = "PANDA_EXTRA_REGIONS", value_name = "REGION,…", value_delimiter = ',')]
    pub extra_regions: Vec<String>,
    /// ARNs of roles in the controller's own AWS account that users may connect; by default none
    #[arg(long, env = "PANDA_CONTROLLER_ROLES", value_name = "ARN,…", value_delimiter = ',', value_parser = role_arn)]
    pub controller_roles: Vec<String>,
    /// Let agents deploy, cancel and switch at /mcp, as the role of their token permits; otherwise its tools only read
    #[arg(long, env = "PANDA_MCP_ACTIONS", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub mcp_actions: bool,
}

/// Header in which proxies report the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForwardedHeader {
    /// X-Forwarded-For, which nearly all proxies write
    XForwardedFor,
    /// Forwarded, as defined in RFC 7239
    Forwarded,
}

impl ForwardedHeader {
    /// Returns the header's name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// Paths of the TLS certificate and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by the intermediate certificates.
    pub cert: PathBuf,
    /// Private key of the server's certificate.
    pub key: PathBuf,
}

impl HttpConfig {
    /// Returns the certificate's files, or none if TLS is not configured.
    pub fn tls(&self) -> Option<TlsFiles> {
        self.tls_cert.clone().zip(self.tls_key.clone()).map(|(cert, key)| TlsFiles { cert, key })
    }

    /// Returns the lifetime of a new stream of all deployments, varied at random by 20 %, so that streams opened together do not reconnect together.
    pub fn stream_lifetime(&self) -> Duration {
        self.stream_rotation.mul_f64(rand::random_range(0.8..=1.2))
    }
}
