//! Requirements on a database, checked before anything is created in it or read from it.

use crate::db::{Db, DbError};

/// A requirement of Panda that the database does not meet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The encoding cannot hold every text, or is not validated.
    #[error(
        "the database {database:?} has the encoding {encoding}, and Panda needs UTF8: create another one with `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE \
         template0` and restore a pg_dump of this one into it"
    )]
    Encoding {
        /// Name of the database, not quoted.
        database: String,
        /// Encoding by its Postgres name, such as `SQL_ASCII`.
        encoding: String,
    },
    /// No schema of the search path exists, or the role may use none of them.
    #[error(
        "the search_path {search_path} of the role {role:?} names no schema that exists and that it may use: create it, or `GRANT USAGE ON SCHEMA … TO …`"
    )]
    NoSchema {
        /// Value of `search_path` for this role.
        search_path: String,
        /// Role of the program's connections.
        role: String,
    },
    /// The database holds another installation of Panda in another schema.
    #[error(
        "the schema {schema:?} comes first in search_path, but this database holds a Panda in its schema {other:?}, and one database holds one Panda (the \
         schema panda_report is common to the database): use a database for each, or set search_path to {other:?} to use that one"
    )]
    AnotherPanda {
        /// The schema that this program would use.
        schema: String,
        /// The schema with the other installation's tables.
        other: String,
    },
    /// A foreign schema has the name that the reporting views use.
    #[error(
        "the schema panda_report exists and is not Panda's, which creates its reporting views there: rename it, or use another database"
    )]
    ForeignReportSchema,
    /// The role does not own the schema, or lacks a privilege that migrations need.
    #[error(
        "the role {role:?} may not migrate: {reason}. Run `panda migrate` as the role {owner:?}, and servers without --migrate"
    )]
    NotOwner {
        /// Role of the program's connections.
        role: String,
        /// Missing privilege, with the GRANT that adds it.
        reason: String,
        /// Role that may migrate.
        owner: String,
    },
}

/// Facts read from the system catalogs.
#[expect(clippy::struct_excessive_bools, reason = "one column of the query each")]
struct DatabaseFacts {
    database: String,
    database_owner: String,
    role: String,
    encoding: String,
    search_path: String,
    schema: Option<String>,
    has_report_schema: bool,
    /// Schemas with the tables that the views of panda_report read.
    reported: Vec<String>,
    /// Owner of the tables in `schema`; none when there are no tables.
    owner: Option<String>,
    is_owner: bool,
    may_create_tables: bool,
    may_create_schemas: bool,
}

impl Db {
    /// Fails unless Panda can run on this database.
    ///
    /// # Errors
    /// [`DbError::Unfit`] with the unmet requirement: waiting would not help.
    pub async fn check_fitness(&self) -> Result<(), DbError> {
        Ok(fitness(&self.database_facts().await?)?)
    }

    /// Fails unless the role of this connection can create and alter the tables of this database.
    ///
    /// # Errors
    /// [`DbError::Unfit`] with the missing privilege.
    pub async fn check_may_migrate(&self) -> Result<(), DbError> {
        Ok(may_migrate(&self.database_facts().await?)?)
    }

    async fn database_facts(&self) -> Result<DatabaseFacts, DbError> {
        let found = sqlx::query_as!(
            DatabaseFacts,
            "SELECT d.datname::text AS \"database!\", pg_get_userbyid(d.datdba)::text AS \"database_owner!\", current_user::text AS \"role!\",
                    pg_encoding_to_char(d.encoding)::text AS \"encoding!\", current_setting('search_path') AS \"search_path!\",
                    current_schema()::text AS schema,
                    EXISTS (SELECT FROM pg_namespace WHERE nspname = 'panda_report') AS \"has_report_schema!\",
                    ARRAY (SELECT DISTINCT n.nspname::text
                           FROM pg_class v
                           JOIN pg_rewrite w ON w.ev_class = v.oid
                           JOIN pg_depend p ON p.classid = 'pg_rewrite'::regclass AND p.objid = w.oid AND p.refclassid = 'pg_class'::regclass
                           JOIN pg_class t ON t.oid = p.refobjid AND t.relnamespace <> v.relnamespace
                           JOIN pg_namespace n ON n.oid = t.relnamespace
                           WHERE v.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'panda_report')
                           ORDER BY 1) AS \"reported!\",
                    own.owner::text AS owner, coalesce(own.is_owner, true) AS \"is_owner!\",
                    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS \"may_create_tables!\",
                    has_database_privilege(d.oid, 'CREATE') AS \"may_create_schemas!\"
             FROM pg_database d
             LEFT JOIN LATERAL (SELECT pg_get_userbyid(c.relowner) AS owner, pg_has_role(c.relowner, 'USAGE') AS is_owner
                                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                                WHERE n.nspname = current_schema() AND c.relname = '_sqlx_migrations') own ON true
             WHERE d.datname = current_database()"
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(found)
    }
}

fn fitness(facts: &DatabaseFacts) -> Result<(), Unfit> {
    if facts.encoding != "UTF8" {
        return Err(Unfit::Encoding { database: facts.database.clone(), encoding: facts.encoding.clone() });
    }
    let Some(schema) = &facts.schema else {
        return Err(Unfit::NoSchema { search_path: facts.search_path.clone(), role: facts.role.clone() });
    };
    match facts.reported.first() {
        _ if facts.reported.contains(schema) => Ok(()),
        Some(other) => Err(Unfit::AnotherPanda { schema: schema.clone(), other: other.clone() }),
        None if facts.has_report_schema => Err(Unfit::ForeignReportSchema),
        None => Ok(()),
    }
}

fn may_migrate(facts: &DatabaseFacts) -> Result<(), Unfit> {
    let schema = facts.schema.as_deref().unwrap_or_default();
    let (owner, reason) = match &facts.owner {
        Some(owner) if !facts.is_owner => {
            (owner.as_str(), format!("the tables in schema {schema:?} belong to {owner:?}"))
        }
        owner if !facts.may_create_tables => (
            owner.as_ref().unwrap_or(&facts.database_owner).as_str(),
            format!("it lacks CREATE on schema {schema:?} (`GRANT CREATE ON SCHEMA … TO …`)"),
        ),
        owner if !facts.may_create_schemas && !facts.has_report_schema => (
            owner.as_ref().unwrap_or(&facts.database_owner).as_str(),
            format!("it lacks CREATE on database {:?} (`GRANT CREATE ON DATABASE … TO …`)", facts.database),
        ),
        _ => return Ok(()),
    };
    Err(Unfit::NotOwner { role: facts.role.clone(), reason, owner: owner.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit() -> DatabaseFacts {
        DatabaseFacts {
            database: "panda".into(),
            database_owner: "panda".into(),
            role: "panda".into(),
            encoding: "UTF8".into(),
            search_path: "\"$user\", public".into(),
            schema: Some("public".into()),
            has_report_schema: true,
            reported: vec!["public".into()],
            owner: Some("panda".into()),
            is_owner: true,
            may_create_tables: true,
            may_create_schemas: true,
        }
    }

    #[test]
    fn accepts_empty_and_migrated_databases() {
        assert_eq!(fitness(&fit()), Ok(()));
        let empty = DatabaseFacts { reported: vec![], has_report_schema: false, owner: None, ..fit() };
        assert_eq!((fitness(&empty), may_migrate(&empty)), (Ok(()), Ok(())));
    }

    #[test]
    fn names_value_and_remedy_of_unmet_requirement() {
        let facts = DatabaseFacts { encoding: "SQL_ASCII".into(), ..fit() };
        let words = fitness(&facts).unwrap_err().to_string();
        assert!(words.contains("SQL_ASCII") && words.contains("ENCODING 'UTF8'"), "{words}");
        let words = fitness(&DatabaseFacts { schema: None, ..fit() }).unwrap_err().to_string();
        assert!(words.contains("$user") && words.contains("GRANT USAGE"), "{words}");
        let words = fitness(&DatabaseFacts { schema: Some("second".into()), ..fit() }).unwrap_err().to_string();
        assert!(words.contains("\"second\"") && words.contains("\"public\"") && words.contains("a database for each"));
        let facts = DatabaseFacts { reported: vec![], ..fit() };
        assert_eq!(fitness(&facts), Err(Unfit::ForeignReportSchema));
    }

    #[test]
    fn names_privilege_missing_to_migrate() {
        let other = DatabaseFacts { owner: Some("boss".into()), is_owner: false, ..fit() };
        assert!(may_migrate(&other).unwrap_err().to_string().contains("belong to \"boss\""));
        let words = may_migrate(&DatabaseFacts { may_create_tables: false, ..fit() }).unwrap_err().to_string();
        assert!(words.contains("CREATE ON SCHEMA"), "{words}");
        let facts = DatabaseFacts { may_create_schemas: false, has_report_schema: false, ..fit() };
        assert!(may_migrate(&facts).unwrap_err().to_string().contains("CREATE ON DATABASE"));
    }
}
