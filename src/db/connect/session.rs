//! Settings of each session, applied after it began, because connection poolers refuse settings in the startup message. One round trip.

use std::fmt::Write as _;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Error, Row as _};

use super::cause::{Cause, MIN_VERSION, wrap};

/// Interval at which the server checks that the client of a long statement is still connected.
const CLIENT_CHECK_INTERVAL: &str = "250ms";

/// Time limits of a session; other settings are the same for all.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// `statement_timeout` with its unit; "0" disables it.
    pub statement: &'static str,
    /// `lock_timeout` with its unit; "0" disables it.
    pub lock: &'static str,
    /// `idle_in_transaction_session_timeout` with its unit; "0" disables it.
    pub idle_in_transaction: &'static str,
}

/// State of the server when the session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) writable: bool,
}

/// Settings that override the defaults of the role, the database and the server's configuration. Excluded are defaults that an operator sets on
/// purpose, such as `search_path` and `default_transaction_read_only`, which fences a server off.
const SETTINGS: [(&str, &str); 15] = [
    // The statements rely on it: each sees what was committed before it.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    // A listener may be silent for long.
    ("idle_session_timeout", "0"),
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("client_encoding", "UTF8"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
    ("row_security", "on"),
    ("jit", "off"),
    ("plan_cache_mode", "auto"),
    // A report uses one processor of the server at most, so that commits find a free one.
    ("max_parallel_workers_per_gather", "0"),
];

impl SessionLimits {
    /// Initialises a new session and returns the state of its server.
    pub(super) async fn begin(&self, connection: &mut PgConnection, own: &[(String, String)]) -> Result<Begun, Error> {
        let version = connection.server_version_num().unwrap_or(0);
        if version / 10_000 < MIN_VERSION {
            return Err(wrap(Cause::TooOld(version / 10_000)));
        }
        let sql = self.sql(version, own);
        // Contains no user text: names and values were checked when the address was parsed, and values are quoted.
        let begun = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await;
        let rows = begun.map_err(|error| match error.as_database_error() {
            Some(refused) => wrap(Cause::Session(refused.code().unwrap_or_default().into_owned())),
            None => error,
        })?;
        let read_only: Option<String> = rows.last().map(|row| row.try_get(0)).transpose()?;
        Ok(Begun { writable: read_only.as_deref() == Some("off") })
    }

    fn sql(&self, version: u32, own: &[(String, String)]) -> String {
        let mut sql = String::from("SELECT ");
        let limits = [
            ("statement_timeout", self.statement),
            ("lock_timeout", self.lock),
            ("idle_in_transaction_session_timeout", self.idle_in_transaction),
        ];
        let newer = (version >= 170_000).then_some(("transaction_timeout", "0"));
        let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(limits).chain(SETTINGS).chain(newer) {
            let _ = write!(sql, "set_config('{name}', '{}', false), ", value.replace('\'', "''"));
        }
        // Only a superuser may set this one, so it is set only where it differs. With another value no trigger would run.
        sql.push_str(
            "CASE WHEN current_setting('session_replication_role') <> 'origin' THEN set_config('session_replication_role', 'origin', false) END;",
        );
        // Servers on operating systems without support refuse the setting.
        let _ = write!(
            sql,
            "DO $$BEGIN PERFORM set_config('client_connection_check_interval', '{CLIENT_CHECK_INTERVAL}', false); EXCEPTION WHEN OTHERS THEN NULL; END$$;"
        );
        sql.push_str("SELECT current_setting('transaction_read_only')");
        sql
    }
}
