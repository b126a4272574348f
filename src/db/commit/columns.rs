//! Converts rows to the arrays that `unnest` takes.

use super::{NewEvent, Row};

/// Returns one value for each row, or an empty array when no row has a value: `unnest` fills it up with nulls. Most columns of most commits are
/// empty.
pub(super) fn column<'a, T>(rows: &'a [Row], of: impl Fn(&'a Row) -> Option<T>) -> Vec<Option<T>> {
    let values: Vec<Option<T>> = rows.iter().map(of).collect();
    if values.iter().all(Option::is_none) { Vec::new() } else { values }
}

/// Returns one value for each row, never shortened.
pub(super) fn always<'a, T>(rows: &'a [Row], of: impl Fn(&'a Row) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Returns one value for each event of all rows, in their order.
pub(super) fn event_column<'a, T>(rows: &'a [Row], of: impl Fn(&'a Row, &'a NewEvent) -> T) -> Vec<T> {
    rows.iter()
        .flat_map(|row| row.events.iter().map(move |event| (row, event)))
        .map(|(row, event)| of(row, event))
        .collect()
}
