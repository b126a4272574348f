//! Answers as CSV (RFC 4180), for spreadsheets and scripts.

use serde_json::Value;

use crate::cli::error::CliError;
use crate::cli::types::Report;

/// The answer with its heading.
pub fn text(report: &Report) -> Result<String, CliError> {
    let failed =
        |error: csv::Error| CliError::input("--format", format!("the answer cannot be written as CSV: {error}"));
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(report.columns.iter().map(|column| &column.name)).map_err(failed)?;
    for row in &report.rows {
        writer.write_record(row.iter().map(cell)).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.into_error().into()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A branch may be called `=1+1`: whoever opens the file must not run it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::types::ReportColumn;
    use serde_json::json;

    fn report(rows: Value) -> Report {
        let column = |name: &str| ReportColumn { name: name.to_owned(), kind: "text".to_owned() };
        Report {
            title: String::new(),
            about: String::new(),
            chart: None,
            since: String::new(),
            until: String::new(),
            columns: vec![column("branch"), column("n")],
            rows: serde_json::from_value(rows).unwrap(),
            truncated: false,
        }
    }

    #[test]
    fn values_are_quoted_where_they_have_to_be_and_nothing_is_empty() {
        let rows = json!([["main", 1.5], ["a,\"b\"", -2], [null, null]]);
        assert_eq!(text(&report(rows)).unwrap(), "branch,n\nmain,1.5\n\"a,\"\"b\"\"\",-2\n,\n");
    }

    #[test]
    fn no_text_is_a_formula_to_a_spreadsheet() {
        let rows = json!([["=1+1", 0], ["@SUM(A1)", 0], ["+x", 0], ["-x", 0], ["ok=1", -1]]);
        assert_eq!(text(&report(rows)).unwrap(), "branch,n\n'=1+1,0\n'@SUM(A1),0\n'+x,0\n'-x,0\nok=1,-1\n");
    }
}
