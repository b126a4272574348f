//! Every query of docs/reporting.md, as documented.

use std::collections::BTreeMap;
use std::time::Instant;

use sqlx::{Executor, PgConnection};

use panda_benches::figures::{line, median};

const REPORTING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reporting.md");

/// Runs of each query after the first one, which reads from the disk.
const TIMES: usize = 5;

/// Returns the milliseconds of each query, by its heading.
pub async fn measure(look: &mut PgConnection) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    let text = std::fs::read_to_string(REPORTING).expect("docs/reporting.md");
    let queries = queries(&text);
    assert!(!queries.is_empty(), "docs/reporting.md has queries");
    for (heading, sql) in queries {
        let millis = ask(look, &sql).await;
        line(&heading.chars().take(56).collect::<String>(), format!("{millis:.0} ms"), "1000 ms");
        figures.insert(heading, millis);
    }
    for view in ["dora_daily_v1", "dora_monthly_v1", "dora_daily_v2", "dora_monthly_v2"] {
        // Selects all columns of all rows, because Postgres does not compute unused ones.
        let millis = ask(look, &format!("SELECT count(v::text) FROM panda_report.{view} v")).await;
        line(&format!("{view}, all of it"), format!("{millis:.0} ms"), "2000 ms");
        figures.insert(view.to_owned(), millis);
    }
    figures
}

/// Returns the SQL blocks, each with its heading.
fn queries(text: &str) -> Vec<(String, String)> {
    let (mut heading, mut queries) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix('#') {
            title.trim_start_matches('#').trim().clone_into(&mut heading);
        } else if line.trim() == "```sql" {
            let sql: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            queries.push((heading.clone(), sql.join("\n")));
        }
    }
    queries
}

/// Returns the median in milliseconds; reads the rows to the end.
async fn ask(look: &mut PgConnection, sql: &str) -> f64 {
    let mut millis = Vec::new();
    for _ in 0..=TIMES {
        let begun = Instant::now();
        look.fetch_all(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{error}:\n{sql}"));
        millis.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    median(&millis[1..])
}
