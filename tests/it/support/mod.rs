//! The harness of the crate `panda_testing`, and what it needs to know about this program: its database code, and how it runs in this process.

pub mod api;
pub mod commands;
pub mod db;
pub mod environment;
pub mod panda;
pub mod replica;

pub use panda_testing::postgres::servers as postgres_servers;
pub use panda_testing::proxy::{postgres as postgres_proxy, registry as registry_proxy};
pub use panda_testing::{
    WAIT_LIMIT, api_client, authority, container, dashboard, endless_server, git_server, sse as sse_reader, wait_for,
};

/// Programs as separate processes.
pub mod process {
    pub use panda_testing::process::*;
    pub use panda_testing::serve::Serve;
}

/// A primary, its standby and a proxy.
pub mod standby {
    pub type Pair = panda_testing::postgres::standby::Pair<super::panda::Panda>;
}
