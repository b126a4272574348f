//! What belongs to this installation as a whole.

use secrecy::SecretString;

use super::{Db, DbError};

impl Db {
    /// What the names of trust domains at builders are derived from; the same for all replicas. None when the row was removed.
    pub async fn cache_secret(&self) -> Result<Option<SecretString>, DbError> {
        let secret = sqlx::query_scalar!("SELECT cache_secret FROM installation").fetch_optional(&self.pool).await?;
        Ok(secret.map(SecretString::from))
    }
}
