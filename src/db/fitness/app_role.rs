//! The SQL that creates a role for servers: a role that uses the tables and does not own them.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::privileges::{ALL, SEQUENCE, rights, tables};
use crate::db::{Db, DbError};

/// Postgres truncates longer names; in bytes.
const MAX_NAME: usize = 63;

/// A valid role name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRole(String);

impl FromStr for AppRole {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        // GRANT treats these as keywords, quoted or not; names with pg_ are reserved by Postgres.
        let is_reserved = name.starts_with("pg_") || ["public", "none"].contains(&name);
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) || is_reserved {
            return Err(format!(
                "must be a role name of 1 to {MAX_NAME} bytes without control characters, and not `public`, `none` or `pg_…`"
            ));
        }
        Ok(Self(name.to_owned()))
    }
}

/// Reason for which no SQL can be made for a role.
#[derive(Debug, thiserror::Error)]
pub enum AppRoleError {
    /// The schema does not exist yet, so there is nothing to grant on.
    #[error("the schema is not migrated yet: run `panda migrate` first")]
    NotMigrated,
    /// The role owns the tables: an owner has every right and can undo each restriction.
    #[error("owns Panda's tables: choose a different role for the servers to sign in as")]
    IsOwner,
    /// The database could not be queried.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Names as SQL identifiers, quoted where necessary.
struct Names {
    database: String,
    schema: String,
    role: String,
    /// The statement that creates the role, as a literal.
    create: String,
    /// Roles whose future tables need grants as well.
    owners: Vec<String>,
    is_owner: bool,
}

/// A table, view, sequence or function.
struct Object {
    name: String,
    qualified: String,
    kind: String,
}

impl Db {
    /// Returns the SQL that creates or updates the role `role` with exactly the privileges that servers and `panda token` need, on present objects
    /// and on objects of later migrations.
    pub async fn app_role_script(&self, role: &AppRole) -> Result<String, AppRoleError> {
        let names = self.names(role).await?.ok_or(AppRoleError::NotMigrated)?;
        if names.is_owner {
            return Err(AppRoleError::IsOwner);
        }
        Ok(script(&names, &self.objects().await?))
    }

    async fn names(&self, role: &AppRole) -> Result<Option<Names>, DbError> {
        // The role that prints this is likely to run the next migration: the objects that it creates need grants too.
        let names = sqlx::query_as!(
            Names,
            "SELECT quote_ident(current_database()) AS \"database!\", quote_ident(current_schema()) AS \"schema!\", quote_ident($1) AS \"role!\",
                    quote_literal(format(E'\nBEGIN\n    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %L) THEN\n        CREATE ROLE %I LOGIN;\n    END IF;\nEXCEPTION\n    WHEN duplicate_object OR unique_violation THEN NULL;\nEND\n', $1, $1)) AS \"create!\",
                    ARRAY (SELECT DISTINCT quote_ident(name) FROM unnest(ARRAY[pg_get_userbyid(m.relowner)::text,
                               CASE WHEN has_schema_privilege(m.relnamespace, 'CREATE') THEN current_user::text END]) AS name
                           WHERE name IS NOT NULL AND name <> $1 ORDER BY 1) AS \"owners!\",
                    pg_get_userbyid(m.relowner) = $1 AS \"is_owner!\"
             FROM pg_class m
             JOIN pg_namespace n ON n.oid = m.relnamespace AND n.nspname = current_schema()
             WHERE m.relname = '_sqlx_migrations' AND EXISTS (SELECT FROM pg_namespace WHERE nspname = 'panda_report')",
            role.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(names)
    }

    /// Lists Panda's objects: the schema of its tables may hold others.
    async fn objects(&self) -> Result<Vec<Object>, DbError> {
        let tables: Vec<String> = tables().map(str::to_owned).collect();
        let objects = sqlx::query_as!(
            Object,
            "SELECT c.relname::text AS \"name!\", format('%I.%I', n.nspname, c.relname) AS \"qualified!\",
                    CASE WHEN c.relkind = 'S' THEN 'sequence' WHEN c.relkind IN ('r', 'p') THEN 'table' ELSE 'view' END AS \"kind!\"
             FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE (n.nspname = 'panda_report' AND c.relkind IN ('r', 'p', 'v', 'm', 'S'))
                OR (n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v')
                    AND (c.relname = ANY ($1::text[]) OR (c.relkind = 'v' AND starts_with(c.relname::text, 'history_'))))
                OR (n.nspname = current_schema() AND c.relkind = 'S' AND EXISTS (
                    SELECT FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid AND t.relnamespace = n.oid AND t.relname = ANY ($1::text[])
                    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')))
             UNION ALL
             SELECT p.proname::text, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), 'function'
             FROM pg_class m
             JOIN pg_proc p ON p.proowner = m.relowner AND p.prokind = 'f'
             JOIN pg_namespace n ON n.oid = p.pronamespace AND (n.oid = m.relnamespace OR n.nspname = 'panda_report')
             WHERE m.oid = to_regclass('_sqlx_migrations') AND NOT EXISTS (
                 SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
             ORDER BY 3, 2",
            &tables
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(objects)
    }
}

fn script(names: &Names, objects: &[Object]) -> String {
    let Names { database, schema, role, create, owners, .. } = names;
    let of = |kind: &str| objects.iter().filter(|object| object.kind == kind).collect::<Vec<_>>();
    let (tables, views, sequences, functions) = (of("table"), of("view"), of("sequence"), of("function"));
    let mut out = vec![
        format!("-- The role {role} for Panda's servers and for `panda token`: it uses the tables and owns none. Safe to run again."),
        "-- Run it as a superuser, or as the owner of the tables with the right to create roles; with psql: -v ON_ERROR_STOP=1.".to_owned(),
        "-- The role has no password yet: \\password in psql sets one; for IAM on RDS, grant it rds_iam.".to_owned(),
        "BEGIN;".to_owned(),
        format!("DO {create};"),
        format!("GRANT CONNECT ON DATABASE {database} TO {role};"),
        format!("GRANT USAGE ON SCHEMA {schema}, panda_report TO {role};"),
    ];
    if schema != "public" {
        out.push(format!("ALTER ROLE {role} IN DATABASE {database} SET search_path = {schema};"));
    }
    let everything: Vec<&Object> = tables.iter().chain(&views).copied().collect();
    out.push(format!("REVOKE ALL ON {} FROM {role};", list(&everything)));
    let mut by_rights: BTreeMap<&[&str], Vec<&Object>> = BTreeMap::new();
    for table in tables {
        by_rights.entry(rights(&table.name)).or_default().push(table);
    }
    out.extend(by_rights.iter().map(|(rights, tables)| grant(rights, "", tables, role)));
    out.push(grant(&["SELECT"], "", &views, role));
    if !sequences.is_empty() {
        out.push(grant(SEQUENCE, "SEQUENCE ", &sequences, role));
    }
    out.push(grant(&["EXECUTE"], "FUNCTION ", &functions, role));
    out.push("-- Objects of later migrations.".to_owned());
    out.extend(owners.iter().flat_map(|owner| defaults(owner, schema, role)));
    out.push("COMMIT;".to_owned());
    out.join("\n")
}

/// Grants privileges on objects that `owner` will create.
fn defaults(owner: &str, schema: &str, role: &str) -> Vec<String> {
    let later = |schema: &str, rights: &[&str], kind: &str| {
        let rights = rights.join(", ");
        format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT {rights} ON {kind} TO {role};")
    };
    vec![
        later(schema, ALL, "TABLES"),
        later(schema, SEQUENCE, "SEQUENCES"),
        later(schema, &["EXECUTE"], "FUNCTIONS"),
        later("panda_report", &["SELECT"], "TABLES"),
        later("panda_report", &["EXECUTE"], "FUNCTIONS"),
    ]
}

fn grant(rights: &[&str], kind: &str, objects: &[&Object], role: &str) -> String {
    format!("GRANT {} ON {kind}{} TO {role};", rights.join(", "), list(objects))
}

fn list(objects: &[&Object]) -> String {
    let names: Vec<&str> = objects.iter().map(|object| object.qualified.as_str()).collect();
    names.join(",\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_names_reserved_by_grant() {
        for name in ["", "public", "none", "pg_read_all_data", "a\nb", &"x".repeat(64)] {
            assert!(name.parse::<AppRole>().is_err(), "{name:?}");
        }
        for name in ["panda_app", "Panda App", "a\"b'c", "Public"] {
            assert!(name.parse::<AppRole>().is_ok(), "{name:?}");
        }
    }
}
