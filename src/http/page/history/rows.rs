//! Reads the answer of a report by the names of its columns.

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;
use serde_json::Value;

use crate::db::reports::ReportTable;
use crate::domain::text::visible;

#[derive(Clone, Copy, Debug)]
pub struct ReportRow<'a> {
    table: &'a ReportTable,
    values: &'a [Value],
}

/// Iterates over the rows.
pub fn rows(table: &ReportTable) -> impl Iterator<Item = ReportRow<'_>> {
    table.rows.iter().map(move |values| ReportRow { table, values })
}

impl ReportRow<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        let at = self.table.columns.iter().position(|column| column.name == name)?;
        self.values.get(at)
    }

    /// A text, with misleading characters shown; empty without a value.
    pub fn text(&self, name: &str) -> String {
        self.value(name).and_then(Value::as_str).map(visible).unwrap_or_default()
    }

    /// A number; none without a value.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.value(name).and_then(Value::as_f64)
    }

    /// A number; 0 without a value.
    pub fn count(&self, name: &str) -> f64 {
        self.number(name).unwrap_or(0.0)
    }

    /// A date; none without a value.
    pub fn date(&self, name: &str) -> Option<NaiveDate> {
        self.value(name).and_then(Value::as_str)?.parse().ok()
    }

    /// A time to the minute, in the zone.
    pub fn minute(&self, name: &str, zone: Tz) -> String {
        let at = self.value(name).and_then(Value::as_str).and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        at.map(|at| at.with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string()).unwrap_or_default()
    }
}
