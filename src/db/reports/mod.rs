//! Reports: questions to the views of the schema `panda_report`, and the role that may read them.

mod questions;
mod role;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{Column as _, Executor, Row, SqlSafeStr as _, Statement as _, TypeInfo as _};

use super::{Db, DbError};
use crate::domain::principal::Scope;

pub use questions::{Level, QUESTIONS, Question};
pub use role::{ROLE_SCRIPT, Reporters};

/// Most rows of an answer.
pub const MAX_ROWS: usize = 10_000;

/// About what.
#[derive(Clone, Debug)]
pub struct ReportFilter {
    /// From this time on.
    pub since: DateTime<Utc>,
    /// Before this time.
    pub until: DateTime<Utc>,
    /// Only this account or organisation.
    pub owner: Option<String>,
    /// Only this repository.
    pub repo: Option<String>,
    /// Only this branch.
    pub branch: Option<String>,
}

/// The answer to a question.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its columns, in order.
    pub columns: Vec<ReportColumn>,
    /// Its rows: a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// Whether there were more rows than [`MAX_ROWS`].
    pub truncated: bool,
}

/// A column of an answer.
#[derive(Clone, Debug)]
pub struct ReportColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// A time, RFC 3339 in UTC.
    Time,
    /// A date, YYYY-MM-DD.
    Date,
}

impl Kind {
    /// As clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Time => "time",
            Self::Date => "date",
        }
    }
}

impl Db {
    /// Answers a question about what is in the scope. It can change nothing, and is given up after the time that any statement has.
    pub async fn report(&self, question: &Question, scope: &Scope, filter: &ReportFilter) -> Result<Report, DbError> {
        let level = Level::of(filter, scope.sql().is_some());
        let sql = format!("SELECT * FROM ({}) AS answer LIMIT {}", question.asked(level), MAX_ROWS + 1);
        let mut tx = self.pool.begin().await?;
        // Compiling the plan of a report takes longer than it saves.
        tx.execute("SET TRANSACTION READ ONLY; SET LOCAL jit = off").await?;
        // Our own text: what callers say are its parameters.
        let statement = (&mut *tx).prepare(sqlx::AssertSqlSafe(sql).into_sql_str()).await?;
        let mut columns = Vec::new();
        for column in statement.columns() {
            columns.push(ReportColumn { name: column.name().to_owned(), kind: kind(column.type_info().name())? });
        }
        let mut rows = statement
            .query()
            .bind(filter.since)
            .bind(filter.until)
            .bind(&filter.owner)
            .bind(&filter.repo)
            .bind(&filter.branch)
            .bind(scope.sql())
            .fetch_all(&mut *tx)
            .await?;
        let truncated = rows.len() > MAX_ROWS;
        rows.truncate(MAX_ROWS);
        let rows = rows.iter().map(|row| values(row, &columns)).collect::<Result<_, _>>()?;
        Ok(Report { columns, rows, truncated })
    }
}

fn kind(of: &str) -> Result<Kind, DbError> {
    match of {
        "TEXT" => Ok(Kind::Text),
        "INT4" | "INT8" | "FLOAT8" => Ok(Kind::Number),
        "TIMESTAMPTZ" => Ok(Kind::Time),
        "DATE" => Ok(Kind::Date),
        other => Err(DbError::Corrupt(format!("a report has a column of type {other}"))),
    }
}

fn values(row: &PgRow, columns: &[ReportColumn]) -> Result<Vec<Value>, DbError> {
    (0..columns.len()).map(|at| value(row, at, columns[at].kind).map_err(DbError::from)).collect()
}

fn value(row: &PgRow, at: usize, kind: Kind) -> Result<Value, sqlx::Error> {
    Ok(match kind {
        Kind::Text => row.try_get::<Option<String>, _>(at)?.into(),
        Kind::Time => row
            .try_get::<Option<DateTime<Utc>>, _>(at)?
            .map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            .into(),
        Kind::Date => row.try_get::<Option<NaiveDate>, _>(at)?.map(|date| date.to_string()).into(),
        Kind::Number => match row.column(at).type_info().name() {
            "INT4" => row.try_get::<Option<i32>, _>(at)?.into(),
            "INT8" => row.try_get::<Option<i64>, _>(at)?.into(),
            _ => row.try_get::<Option<f64>, _>(at)?.into(),
        },
    })
}
