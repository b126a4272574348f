//! Reports: queries on the views of the schema `panda_report`, and the role that may read them.

mod definitions;
mod rebuild;
mod role;

use std::time::Duration;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use chrono_tz::Tz;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{Column as _, Executor, Row, SqlSafeStr as _, Statement as _, TypeInfo as _};

use super::{Db, DbError};
use crate::domain::principal::Scope;

pub use definitions::{Grouping, Level, REPORTS, ReportDefinition};
pub use role::{ROLE_SCRIPT, Reporters};

/// Maximum rows of an answer.
pub const MAX_ROWS: usize = 10_000;

/// Period and repositories that a report covers.
#[derive(Clone, Debug)]
pub struct ReportFilter {
    /// Start of the period, inclusive.
    pub since: DateTime<Utc>,
    /// End of the period, exclusive.
    pub until: DateTime<Utc>,
    /// Time zone in which hours, days, weeks and months begin.
    pub zone: Tz,
    /// Only this account or organisation.
    pub owner: Option<String>,
    /// Only this repository, in any owner unless `owner` is set.
    pub repo: Option<String>,
    /// Only this branch, case-sensitive.
    pub branch: Option<String>,
    /// Only deployments with this label: name and value.
    pub label: Option<(String, String)>,
    /// Grouping of the rows, where the report has groups.
    pub group: Option<Grouping>,
    /// Ends the query earlier than the time limit of any statement.
    pub time_limit: Option<Duration>,
}

/// Answer of a report query.
#[derive(Clone, Debug)]
pub struct ReportTable {
    /// Columns in the order of the SQL.
    pub columns: Vec<TableColumn>,
    /// Rows, each with a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// True if there were more rows than [`MAX_ROWS`].
    pub truncated: bool,
}

/// A column of an answer.
#[derive(Clone, Debug)]
pub struct TableColumn {
    /// Name in the SQL.
    pub name: String,
    /// Type of its values.
    pub kind: ColumnKind,
}

/// Type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ColumnKind {
    /// Text, in any language.
    Text,
    /// Integer or floating-point number.
    Number,
    /// Time as RFC 3339 in UTC.
    Time,
    /// Calendar date as YYYY-MM-DD.
    Date,
}

impl ColumnKind {
    /// Returns the name that clients see.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Db {
    /// Runs a report query on the rows in the scope. Runs read-only, and within the time limit of any statement.
    pub async fn report(
        &self,
        definition: &ReportDefinition,
        scope: &Scope,
        filter: &ReportFilter,
    ) -> Result<ReportTable, DbError> {
        let level = Level::of(filter, scope.sql().is_some());
        let sql = format!(
            "SELECT * FROM ({}) AS answer LIMIT {}",
            definition.parameterised(level, filter.label.is_some()),
            MAX_ROWS + 1
        );
        let mut tx = self.pool.begin().await?;
        // Compiling the plan of a report takes longer than it saves; medians of a million values are sorted in memory.
        tx.execute("SET TRANSACTION READ ONLY; SET LOCAL jit = off; SET LOCAL work_mem = '64MB'").await?;
        if let Some(limit) = filter.time_limit {
            let sql = format!("SET LOCAL statement_timeout = {}", limit.as_millis().max(1));
            tx.execute(sqlx::AssertSqlSafe(sql)).await?;
        }
        // The text is constant: user input is passed as parameters.
        let statement = (&mut *tx).prepare(sqlx::AssertSqlSafe(sql).into_sql_str()).await?;
        let mut columns = Vec::new();
        for column in statement.columns() {
            columns.push(TableColumn { name: column.name().to_owned(), kind: kind(column.type_info().name())? });
        }
        let mut query = statement
            .query()
            .bind(filter.since)
            .bind(filter.until)
            .bind(&filter.owner)
            .bind(&filter.repo)
            .bind(&filter.branch)
            .bind(scope.sql())
            .bind(filter.zone.name());
        if let Some((key, value)) = &filter.label {
            query = query.bind(key).bind(value);
        }
        if let Some(Grouping::Label(key)) = filter.group.as_ref().filter(|_| definition.has_groups()) {
            query = query.bind(key);
        }
        let mut rows = query.fetch_all(&mut *tx).await?;
        let truncated = rows.len() > MAX_ROWS;
        rows.truncate(MAX_ROWS);
        let rows = rows.iter().map(|row| values(row, &columns)).collect::<Result<_, _>>()?;
        Ok(ReportTable { columns, rows, truncated })
    }
}

fn kind(of: &str) -> Result<ColumnKind, DbError> {
    match of {
        "TEXT" => Ok(ColumnKind::Text),
        "INT4" | "INT8" | "FLOAT8" => Ok(ColumnKind::Number),
        "TIMESTAMPTZ" => Ok(ColumnKind::Time),
        "DATE" => Ok(ColumnKind::Date),
        other => Err(DbError::Corrupt(format!("a report has a column of type {other}"))),
    }
}

fn values(row: &PgRow, columns: &[TableColumn]) -> Result<Vec<Value>, DbError> {
    (0..columns.len()).map(|at| value(row, at, columns[at].kind).map_err(DbError::from)).collect()
}

fn value(row: &PgRow, at: usize, kind: ColumnKind) -> Result<Value, sqlx::Error> {
    Ok(match kind {
        ColumnKind::Text => row.try_get::<Option<String>, _>(at)?.into(),
        ColumnKind::Time => row
            .try_get::<Option<DateTime<Utc>>, _>(at)?
            .map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            .into(),
        ColumnKind::Date => row.try_get::<Option<NaiveDate>, _>(at)?.map(|date| date.to_string()).into(),
        ColumnKind::Number => match row.column(at).type_info().name() {
            "INT4" => row.try_get::<Option<i32>, _>(at)?.into(),
            "INT8" => row.try_get::<Option<i64>, _>(at)?.into(),
            _ => row.try_get::<Option<f64>, _>(at)?.into(),
        },
    })
}
