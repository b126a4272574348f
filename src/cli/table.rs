//! Formats responses as text tables.

use serde_json::Value;

use super::sanitize;

/// Formats the members of an object, one per line: first those in `first`, in that order, then the others. Omits nulls.
pub fn members(data: &Value, first: &[&str]) -> String {
    let rank = |name: &str| first.iter().position(|known| *known == name).unwrap_or(first.len());
    let mut members: Vec<(&String, &Value)> = data.as_object().into_iter().flatten().collect();
    members.sort_by_key(|(name, _)| rank(name));
    let known: Vec<(String, String)> = members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (sanitize::line(name), cell(value)))
        .collect();
    let width = known.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = known.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect();
    lines.concat()
}

/// Formats a list of objects under the columns' names; `none` is the text for an empty list.
pub fn rows(data: &[Value], columns: &[&str], none: &str) -> String {
    if data.is_empty() {
        return format!("{none}\n");
    }
    // Headings are the API's names, so that users can look them up and use them in scripts.
    let heading = columns.iter().map(|column| (*column).to_owned()).collect();
    let mut table: Vec<Vec<String>> = vec![heading];
    table.extend(
        data.iter().map(|row| columns.iter().map(|column| row.get(column).map(cell).unwrap_or_default()).collect()),
    );
    let widths: Vec<usize> =
        (0..columns.len()).map(|at| table.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>().join("  ");
        format!("{}\n", cells.trim_end())
    };
    table.iter().map(line).collect()
}

fn cell(value: &Value) -> String {
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
}
