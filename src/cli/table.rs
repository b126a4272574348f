//! Formats responses as text tables.

use chrono::{DateTime, SecondsFormat};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

use super::api_words::as_commands;
use super::sanitize;

/// Formats the members of an object, one per line: first those in `first`, in that order, then the others. Members of objects within it are lines as
/// well, such as `lastRun.result`. Omits nulls and empty lists.
pub fn members(data: &Value, first: &[&str]) -> String {
    let rank = |name: &str| first.iter().position(|known| *known == name).unwrap_or(first.len());
    let mut members: Vec<(&String, &Value)> = data.as_object().into_iter().flatten().collect();
    members.sort_by_key(|(name, _)| rank(name));
    let mut lines = Vec::new();
    for (name, value) in members {
        flatten(&sanitize::line(name), value, &mut lines);
    }
    text(lines.into_iter())
}

fn flatten(name: &str, value: &Value, lines: &mut Vec<Vec<String>>) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (member, value) in members {
                flatten(&format!("{name}.{}", sanitize::line(member)), value, lines);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (at, item) in (1..).zip(items) {
                flatten(&format!("{name}.{at}"), item, lines);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        value => lines.push(vec![name.to_owned(), cell(value)]),
    }
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

/// The sanitized text of a value: times to the second, numbers with at most three decimals, lists with commas.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => second(text).unwrap_or_else(|| sanitize::line(&as_commands(text))),
        Value::Number(number) if number.is_f64() => {
            let rounded = number.as_f64().map(|number| (number * 1_000.0).round() / 1_000.0);
            rounded.map_or_else(|| number.to_string(), |number| number.to_string())
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        other => sanitize::json(other),
    }
}

/// A time in the API's format without the fraction of its second.
fn second(text: &str) -> Option<String> {
    // The API's times are in UTC, and this long at least.
    let time = Some(text).filter(|text| text.len() >= 20 && text.ends_with('Z'))?;
    Some(DateTime::parse_from_rfc3339(time).ok()?.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true))
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
    fn shows_nested_members_as_lines() {
        let data = json!({
            "id": "sch_1", "deploy": {"owner": "acme", "build": {"args": {"A": "1"}, "secrets": ["npm", "pip"]}, "tag": null},
            "nextRuns": ["2026-01-31T09:30:00Z", "2026-02-01T09:30:00Z"], "runs": [{"a\u{1b}[2J": 1}], "none": [],
        });
        assert_eq!(
            members(&data, &["id", "nextRuns"]),
            "id                    sch_1\nnextRuns              2026-01-31T09:30:00Z, 2026-02-01T09:30:00Z\ndeploy.build.args.A   1\n\
             deploy.build.secrets  npm, pip\ndeploy.owner          acme\nruns.1.a<U+001B>[2J   1\n"
        );
    }

    #[test]
    fn shows_sensible_precision() {
        for (value, shown) in [
            (json!("2026-10-25T04:54:30.944127Z"), "2026-10-25T04:54:30Z"),
            (json!("2026-10-25T04:54:30Z"), "2026-10-25T04:54:30Z"),
            (json!("2026-10-25"), "2026-10-25"),
            (json!(0.333_333_333), "0.333"),
            (json!(3.0), "3"),
            (json!(3), "3"),
        ] {
            assert_eq!(cell(&value), shown);
        }
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
