//! docs/reporting.md agrees with the database.

use std::fmt::Write as _;
use std::path::PathBuf;

use panda::db::reports::REPORTS;
use pretty_assertions::assert_eq;
use sqlx::{AssertSqlSafe, Executor as _, Row};

use super::{VIEWS, figures, reporter};
use crate::support::db::TestDb;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reporting.md")
}

fn text() -> String {
    std::fs::read_to_string(path()).unwrap()
}

/// Every query of the document, as written.
pub fn sql_blocks() -> Vec<String> {
    text().split("```sql\n").skip(1).map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

/// The views and their columns, from the comments of the database.
async fn views(test: &TestDb) -> String {
    let mut psql = test.psql().await;
    let mut written = String::new();
    for view in VIEWS {
        let about: String = sqlx::query_scalar("SELECT obj_description($1::regclass)")
            .bind(format!("panda_report.{view}"))
            .fetch_one(&mut psql)
            .await
            .unwrap();
        write!(written, "\n### {view}\n\n{about}\n\n| column | type | meaning |\n| --- | --- | --- |\n").unwrap();
        let sql = "SELECT attname::text, format_type(atttypid, NULL), coalesce(col_description(attrelid, attnum), '')
                   FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum";
        let columns = sqlx::query(sql).bind(format!("panda_report.{view}")).fetch_all(&mut psql).await.unwrap();
        for column in columns {
            let (name, kind, about): (String, String, String) = (column.get(0), column.get(1), column.get(2));
            assert!(!about.is_empty(), "{view}.{name} has no comment");
            writeln!(written, "| `{name}` | {kind} | {about} |").unwrap();
        }
    }
    written
}

const BEGIN: &str = "<!-- Generated from the database's comments: make docs-renew -->\n";
const END: &str = "\n<!-- Until here. -->";

#[tokio::test]
async fn report_docs__views_and_columns_from_comments() {
    let test = TestDb::new().await;
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = 'panda_report'::regnamespace ORDER BY 1";
    let there: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut test.psql().await).await.unwrap();
    let mut documented = VIEWS.map(str::to_owned).to_vec();
    documented.sort();
    assert_eq!(there, documented, "the views of the schema, and those known to this test");
    let from_database = views(&test).await;
    let document = text();
    let (before, rest) = document.split_once(BEGIN).expect("the document contains the marker for the views");
    let (written, after) = rest.split_once(END).expect("and its end");
    if std::env::var_os("PANDA_WRITE_DOCS").is_some() {
        std::fs::write(path(), format!("{before}{BEGIN}{from_database}{END}{after}")).unwrap();
    } else {
        assert_eq!(written, from_database);
    }
}

#[test]
fn report_docs__queries_match_sql() {
    let text = text();
    for question in REPORTS {
        let block = format!(
            "### {}\n\n`{}`: {}\n\n```sql\n{}\n```\n",
            question.title(),
            question.name,
            question.about(),
            question.documented()
        );
        assert!(text.contains(&block), "docs/reporting.md lacks:\n\n{block}");
    }
}

#[tokio::test]
async fn report_docs__example_columns_match_queries() {
    let test = TestDb::new().await;
    let mut psql = test.psql().await;
    let document = text();
    let mut shown = 0;
    for part in document.split("```sql\n").skip(1) {
        let (sql, rest) = part.split_once("\n```\n").unwrap();
        let Some(output) = rest.strip_prefix("\n```text\n") else { continue };
        shown += 1;
        let heading: Vec<&str> = output.lines().next().unwrap().split('|').map(str::trim).collect();
        let described =
            sqlx::Executor::describe(&mut psql, sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(sql.to_owned())))
                .await
                .unwrap();
        let columns: Vec<&str> = described.columns().iter().map(sqlx::Column::name).collect();
        assert_eq!(heading, columns, "{sql}");
    }
    assert!(shown >= 12, "{shown}");
}

#[tokio::test]
async fn report_docs__queries_run_for_reporter() {
    let test = figures::filled().await;
    let mut reporter = reporter(&test).await;
    for view in VIEWS {
        reporter.execute(AssertSqlSafe(format!("SELECT * FROM panda_report.{view}"))).await.unwrap();
    }
    let blocks = sql_blocks();
    assert!(blocks.len() >= REPORTS.len(), "{}", blocks.len());
    for sql in blocks {
        if let Err(error) = reporter.fetch_all(AssertSqlSafe(sql.clone())).await {
            panic!("{error}\n{sql}");
        }
    }
}
