//! Answers as tables for people.

use serde_json::Value;

use super::clean;

/// The members of an object, one a line: those of `first` in that order, then the others; those without a value are left out.
pub fn members(data: &Value, first: &[&str]) -> String {
    let place = |name: &str| first.iter().position(|known| *known == name).unwrap_or(first.len());
    let mut members: Vec<(&String, &Value)> = data.as_object().into_iter().flatten().collect();
    members.sort_by_key(|(name, _)| place(name));
    let known: Vec<(String, String)> = members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (clean::line(name), cell(value)))
        .collect();
    let width = known.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = known.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect();
    lines.concat()
}

/// Rows of objects under the columns' names; an empty list says so.
pub fn rows(data: &[Value], columns: &[&str], none: &str) -> String {
    if data.is_empty() {
        return format!("{none}\n");
    }
    // The names of the API, so that they can be looked up and taken over into scripts.
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
        Value::String(text) => clean::line(text),
        other => clean::json(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_unknown_takes_no_line() {
        assert_eq!(
            members(&json!({"status": "RUNNING", "greenUrl": null, "a": 1}), &["status"]),
            "status  RUNNING\na       1\n"
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let data = [json!({"id": "dep_1", "n": 10}), json!({"id": "x\u{1b}[1m\u{feff}", "n": null})];
        assert_eq!(rows(&data, &["id", "n"], "none"), "id         n\ndep_1      10\nx<U+FEFF>  -\n");
        assert_eq!(rows(&[], &["id"], "none yet"), "none yet\n");
    }
}
