//! Privileges that the program needs on each table, view and sequence, for a role that owns none of them.

use std::time::{Duration, Instant};

use crate::db::{Db, DbError};

/// Time for which a complete set of privileges is cached.
const CACHE_TTL: Duration = Duration::from_secs(5);

/// Privileges on a table whose rows the program changes.
pub(super) const ALL: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];

/// Privileges on a sequence: UPDATE advances sequences of a database that was copied row by row.
pub(super) const SEQUENCE: &[&str] = &["USAGE", "SELECT", "UPDATE"];

/// Tables and views that need privileges other than [`ALL`].
const SPECIAL: &[(&str, &[&str])] = &[
    ("audit", &["SELECT", "INSERT"]),
    // Written by migrations, which only the owner runs.
    ("_sqlx_migrations", &["SELECT"]),
    ("schema_versions", &["SELECT"]),
    ("history_ends", &["SELECT"]),
    ("history_stages", &["SELECT"]),
    ("write_probe", &["SELECT", "INSERT", "TRUNCATE"]),
];

/// Tables that need [`ALL`].
const TABLES: &[&str] = &[
    "api_budgets",
    "api_tokens",
    "approvals",
    "archived_attempts",
    "archived_deployments",
    "archived_stages",
    "aws_connections",
    "deployment_attempts",
    "deployment_events",
    "deployments",
    "event_clock",
    "freezes",
    "github_apps",
    "github_build_secrets",
    "github_connections",
    "history_pieces",
    "idempotency_keys",
    "installation",
    "leases",
    "log_filter",
    "maintenance_progress",
    "maintenance_runs",
    "policies",
    "push_deliveries",
    "push_hook_secrets",
    "push_hooks",
    "receiver_cursors",
    "receiver_deliveries",
    "receiver_references",
    "receiver_secrets",
    "receiver_senders",
    "receivers",
    "replicas",
    "report_attempts",
    "report_labels",
    "report_places",
    "revoked_subjects",
    "schedule_runs",
    "schedules",
    "sessions",
    "sign_in_settings",
    "status_event_regions",
    "step_runs",
    "step_stages",
    "stream_tickets",
];

/// Views of the schema `panda_report` that the reports of the API read.
const REPORT_VIEWS: &[&str] = &["approvals_v2", "attempts_v1", "dora_occurrences_v2"];

/// Lists all tables that the program uses, and the views outside reports.
pub fn tables() -> impl Iterator<Item = &'static str> {
    TABLES.iter().copied().chain(SPECIAL.iter().map(|(name, _)| *name))
}

/// Returns the privileges that the program needs on the table `name`.
pub(super) fn rights(name: &str) -> &'static [&'static str] {
    SPECIAL.iter().find(|(special, _)| *special == name).map_or(ALL, |(_, rights)| rights)
}

/// A privilege that the program's role lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPrivilege {
    /// Role of the program's connections.
    pub role: String,
    /// Name of the privilege, such as `INSERT`.
    pub privilege: String,
    /// The table, view, sequence or schema.
    pub object: String,
    /// Number of further missing privileges.
    pub more: i64,
}

impl std::fmt::Display for MissingPrivilege {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { role, privilege, object, more } = self;
        write!(f, "the database role {role:?} lacks {privilege} on {object}")?;
        if *more > 0 {
            write!(f, " and {more} more privileges")?;
        }
        write!(f, "; run the SQL that `panda migrate --print-app-role {role}` prints")
    }
}

/// Time at which all privileges were last found to be present.
#[derive(Debug, Default)]
pub(in crate::db) struct PrivilegeCache(parking_lot::Mutex<Option<Instant>>);

impl PrivilegeCache {
    fn is_fresh(&self) -> bool {
        self.lock().is_some_and(|seen| seen.elapsed() < CACHE_TTL)
    }

    fn set(&self, complete: bool) {
        *self.lock() = complete.then(Instant::now);
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Option<Instant>> {
        self.0.lock()
    }
}

impl Db {
    /// Returns the first privilege that the role of this connection lacks; none when it has all that the program needs. Missing objects are reported
    /// by [`Db::schema`].
    pub async fn missing_privilege(&self) -> Result<Option<MissingPrivilege>, DbError> {
        if self.privileges.is_fresh() {
            return Ok(None);
        }
        let needed: Vec<(&str, &str)> =
            tables().flat_map(|table| rights(table).iter().map(move |right| (table, *right))).collect();
        let (tables, rights): (Vec<_>, Vec<_>) =
            needed.iter().map(|(table, right)| ((*table).to_owned(), (*right).to_owned())).unzip();
        let views: Vec<String> = REPORT_VIEWS.iter().map(|view| (*view).to_owned()).collect();
        let sequence: Vec<String> = SEQUENCE.iter().map(|right| (*right).to_owned()).collect();
        let missing = sqlx::query_as!(
            MissingPrivilege,
            "WITH home AS (SELECT oid FROM pg_namespace WHERE nspname = current_schema()),
                  report AS (SELECT oid FROM pg_namespace WHERE nspname = 'panda_report')
             SELECT current_user::text AS \"role!\", object AS \"object!\", privilege AS \"privilege!\", count(*) OVER () - 1 AS \"more!\"
             FROM (SELECT 'table ' || need.name AS object, need.privilege
                   FROM unnest($1::text[], $2::text[]) AS need (name, privilege)
                   JOIN pg_class c ON c.relname = need.name AND c.relnamespace = (SELECT oid FROM home)
                   WHERE NOT has_table_privilege(c.oid, need.privilege)
                   UNION ALL
                   SELECT 'sequence ' || s.relname, privilege
                   FROM pg_class t
                   JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.classid = 'pg_class'::regclass
                                   AND d.deptype IN ('a', 'i')
                   JOIN pg_sequence q ON q.seqrelid = d.objid
                   JOIN pg_class s ON s.oid = q.seqrelid
                   CROSS JOIN unnest($4::text[]) AS privilege
                   WHERE t.relname = ANY ($1) AND t.relnamespace = (SELECT oid FROM home) AND NOT has_sequence_privilege(q.seqrelid, privilege)
                   UNION ALL
                   SELECT 'schema panda_report', 'USAGE' FROM report WHERE NOT has_schema_privilege(oid, 'USAGE')
                   UNION ALL
                   SELECT 'view panda_report.' || relname, 'SELECT' FROM pg_class
                   WHERE relname = ANY ($3) AND relnamespace = (SELECT oid FROM report) AND NOT has_table_privilege(oid, 'SELECT')
                  ) AS missing
             ORDER BY object COLLATE \"C\", privilege COLLATE \"C\" LIMIT 1",
            &tables,
            &rights,
            &views,
            &sequence
        )
        .fetch_optional(&self.pool)
        .await?;
        self.privileges.set(missing.is_none());
        Ok(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::reports::REPORTS;

    #[test]
    fn checks_views_read_by_reports() {
        for report in REPORTS {
            let sql = report.documented();
            for rest in sql.split("panda_report.").skip(1) {
                let view = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
                assert!(REPORT_VIEWS.contains(&view), "{} reads {view}", report.name);
            }
        }
    }

    #[test]
    fn missing_privilege_names_role_object_and_remedy() {
        let missing =
            MissingPrivilege { role: "app".into(), privilege: "INSERT".into(), object: "table audit".into(), more: 0 };
        let words = missing.to_string();
        assert!(words.contains("\"app\" lacks INSERT on table audit;") && words.contains("--print-app-role app"));
        assert!(MissingPrivilege { more: 2, ..missing }.to_string().contains("and 2 more"));
    }
}
