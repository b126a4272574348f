//! One GitHub App with one installation: <https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app>.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use uuid::Uuid;

/// Longest validity of an assertion that GitHub accepts, in seconds.
const MAX_VALIDITY: i64 = 600;

/// An App as it is installed in the account of an owner.
#[derive(Clone, Debug)]
pub struct InstalledApp {
    /// Id of the App.
    pub id: String,
    /// Public key of the App, as PKCS#1.
    pub public_key: Vec<u8>,
    /// Id of the installation.
    pub installation: u64,
    /// Account whose repositories the installation may read.
    pub owner: String,
    /// The account has suspended it.
    pub suspended: bool,
    /// Tokens that were created.
    pub created: usize,
}

#[derive(Deserialize)]
struct Claims {
    iat: i64,
    exp: i64,
    iss: String,
}

impl InstalledApp {
    /// Creates a token of the installation `id` for the App that signed `assertion`.
    ///
    /// # Errors
    /// Status and message of GitHub's refusal.
    pub(crate) fn create_token(
        &mut self,
        id: u64,
        assertion: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<String, (StatusCode, &'static str)> {
        let mut rules = Validation::new(Algorithm::RS256);
        // The time is checked below, by GitHub's clock.
        (rules.validate_aud, rules.validate_exp) = (false, false);
        let key = DecodingKey::from_rsa_der(&self.public_key);
        let claims = assertion.and_then(|jwt| decode::<Claims>(jwt, &key, &rules).ok()).map(|jwt| jwt.claims);
        let claims = claims.ok_or((StatusCode::UNAUTHORIZED, "A JSON web token could not be decoded"))?;
        let now = now.timestamp();
        if claims.iat > now {
            return Err((
                StatusCode::UNAUTHORIZED,
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            ));
        }
        if claims.exp <= now {
            return Err((
                StatusCode::UNAUTHORIZED,
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
            ));
        }
        if claims.exp - now > MAX_VALIDITY {
            return Err((StatusCode::UNAUTHORIZED, "'Expiration time' claim ('exp') is too far in the future"));
        }
        if claims.iss != self.id || id != self.installation {
            return Err((StatusCode::NOT_FOUND, "Not Found"));
        }
        if self.suspended {
            return Err((StatusCode::FORBIDDEN, "This installation has been suspended"));
        }
        self.created += 1;
        Ok(format!("ghs_{}", Uuid::new_v4().simple()))
    }
}
