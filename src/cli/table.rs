//! Formats responses as text tables.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

use super::sanitize;

/// Formats the members of an object, one per line: first those in `first`, in that order, then the others. Omits nulls.
pub fn members(data: &Value, first: &[&str]) -> String {
    let rank = |name: &str| first.iter().position(|known| *known == name).unwrap_or(first.len());
    let mut members: Vec<(&String, &Value)> = data.as_object().into_iter().flatten().collect();
    members.sort_by_key(|(name, _)| rank(name));
    let known = members.into_iter().filter(|(_, value)| !value.is_null());
    text(known.map(|(name, value)| vec![sanitize::line(name), cell(value)]))
}

/// Formats a list of objects under the columns' names; `none` is the text for an empty list.
pub fn rows(data: &[Value], columns: &[&str], none: &str) -> String {
    if data.is_empty() {
        return format!("{none}\n");
    }
    // Headings are the API's names, so that users can look them up and use them in scripts.
    let heading = columns.iter().map(|column| (*column).to_owned()).collect();
    let row = |row: &Value| columns.iter().map(|column| row.get(column).map(cell).unwrap_or_default()).collect();
    text(std::iter::once(heading).chain(data.iter().map(row)))
}

/// Aligns the cells of sanitized rows, right-aligned in the columns where `right` is true. Every line has the width of all columns and two spaces after
/// each. Widths are those of a terminal: a Hangul syllable is two columns wide.
pub fn align(rows: impl Iterator<Item = Vec<String>>, right: &[bool]) -> Vec<String> {
    let mut table = Table::new();
    table.load_preset(NOTHING).add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.get(at).is_some_and(|right| *right) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().collect()
}

fn text(rows: impl Iterator<Item = Vec<String>>) -> String {
    align(rows, &[]).iter().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// The sanitized text of a value.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => sanitize::line(text),
        other => sanitize::json(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn omits_members_without_value() {
        assert_eq!(
            members(&json!({"status": "RUNNING", "greenUrl": null, "a": 1}), &["status"]),
            "status  RUNNING\na       1\n"
        );
    }

    #[test]
    fn aligns_columns_to_the_widest_cell() {
        let data = [json!({"id": "dep_1", "n": 10}), json!({"id": "x\u{1b}[1m\u{feff}", "n": null})];
        assert_eq!(rows(&data, &["id", "n"], "none"), "id         n\ndep_1      10\nx<U+FEFF>  -\n");
        assert_eq!(rows(&[], &["id"], "none yet"), "none yet\n");
    }

    #[test]
    fn aligns_wide_characters() {
        let data = [json!({"a": "배포", "n": 1}), json!({"a": "abcd", "n": 2})];
        assert_eq!(rows(&data, &["a", "n"], ""), "a     n\n배포  1\nabcd  2\n");
    }
}
