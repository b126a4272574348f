//! Choices that the forms of new integrations offer.

use crate::db::DbError;
use crate::domain::principal::{Caller, Scope};
use crate::http::ApiState;
use crate::http::page::context::Page;
use crate::http::page::deploy_fields::Connections;

/// Connections, and values to begin with.
pub struct IntegrationForms {
    /// Connections of the rules of a push hook.
    pub connections: Connections,
    /// Repositories of the caller, one on each line; empty for all.
    pub repositories: String,
    /// Language of messages to begin with: that of the page.
    pub language: &'static str,
}

impl IntegrationForms {
    /// Kinds of channels, in the order of the documents.
    pub const KINDS: [&'static str; 5] = ["slack", "teams", "discord", "mail", "github"];

    /// Reads the connections of the caller's scope.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn read(state: &ApiState, page: &Page, caller: &Caller) -> Result<Self, DbError> {
        let connections = Connections::read(state, caller, false).await?;
        let repositories = match caller.scope() {
            Scope::All => String::new(),
            Scope::Repositories(names) => names.join("\n"),
        };
        Ok(Self { connections, repositories, language: page.lang.as_str() })
    }
}
