//! Rows turned into columns, as `unnest` takes them.

use super::{Row, Told};
use crate::domain::Facts;

/// One value for each row; nothing at all when none has one, which `unnest` fills up with nulls. Most columns of most commits are
/// such.
pub(super) fn column<'a, T>(rows: &'a [Row], of: impl Fn(&'a Row) -> Option<T>) -> Vec<Option<T>> {
    let values: Vec<Option<T>> = rows.iter().map(of).collect();
    if values.iter().all(Option::is_none) { Vec::new() } else { values }
}

/// The same of a text that was learned.
pub(super) fn learned(rows: &[Row], of: fn(&Facts) -> Option<&str>) -> Vec<Option<&str>> {
    column(rows, |row| of(&row.change.learned))
}

/// A value of each row's own, whether or not it is null.
pub(super) fn always<'a, T>(rows: &'a [Row], of: impl Fn(&'a Row) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// One value for each event of all rows, in their order.
pub(super) fn told<'a, T>(rows: &'a [Row], of: impl Fn(&'a Row, &'a Told) -> T) -> Vec<T> {
    rows.iter().flat_map(|row| row.told.iter().map(move |told| (row, told))).map(|(row, told)| of(row, told)).collect()
}
