//! Formats tables as CSV (RFC 4180), for spreadsheets and scripts.

use serde_json::Value;

use super::text::visible;

/// First characters that make a spreadsheet read a text as a formula, in half and full width.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Characters that require quotes: the ones in RFC 4180, and separators that spreadsheets use in some locales.
const SPLITS: [char; 7] = [',', '"', '\n', '\r', ';', '\t', '|'];

/// Formats the rows below a heading with the names of the columns.
pub fn text<'a>(columns: impl Iterator<Item = &'a str>, rows: &[Vec<Value>]) -> String {
    let heading = line(columns.map(plain));
    let rows = rows.iter().map(|row| line(row.iter().map(cell)));
    std::iter::once(heading).chain(rows).collect()
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.map(|cell| quoted(&cell)).collect();
    format!("{}\n", cells.join(","))
}

fn quoted(cell: &str) -> String {
    if cell.contains(SPLITS) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        number @ Value::Number(_) => number.to_string(),
        other => plain(&other.to_string()),
    }
}

/// Makes a text harmless: a branch may be named `=1+1`, and the reader's spreadsheet must neither evaluate it nor show a different name.
fn plain(text: &str) -> String {
    let shown = visible(text);
    let is_formula = shown.trim_start().starts_with(FORMULA) || text.starts_with(['\t', '\r', '\n']);
    if is_formula { format!("'{shown}") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn csv(rows: Value) -> String {
        let rows: Vec<Vec<Value>> = serde_json::from_value(rows).unwrap();
        text(["branch", "n"].into_iter(), &rows)
    }

    #[test]
    fn quotes_values_and_leaves_null_empty() {
        let rows = json!([["main", 1.5], ["a,\"b\"", -2], [null, null]]);
        assert_eq!(csv(rows), "branch,n\nmain,1.5\n\"a,\"\"b\"\"\",-2\n,\n");
    }

    #[test]
    fn escapes_formulas() {
        for formula in ["=1+1", "@SUM(A1)", "+x", "-x", " =1+1", "\n=1+1", "\u{a0}=1", "＝1＋1", "＠x", "－1"] {
            let shown = csv(json!([[formula, 0]]));
            assert!(shown.trim_start_matches("branch,n\n").trim_start_matches('"').starts_with('\''), "{shown:?}");
        }
        assert_eq!(csv(json!([["ok=1", -1], ["-2", -2]])), "branch,n\nok=1,-1\n'-2,-2\n");
        let split = json!([["a;=1+1", 0], ["a\"\n=1", 0], ["a|=1", 0]]);
        assert_eq!(csv(split), "branch,n\n\"a;=1+1\",0\n\"a\"\"\n=1\",0\n\"a|=1\",0\n");
        let hidden = json!([["a\t\u{202e}b", 0], ["\u{feff}=1", 0]]);
        assert_eq!(csv(hidden), "branch,n\na<U+0009><U+202E>b,0\n<U+FEFF>=1,0\n");
    }
}
