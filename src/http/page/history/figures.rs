//! The DORA figures as cards, each compared with the period before.

use super::numbers::number;
use super::rows::{ReportRow, rows};
use crate::db::reports::ReportTable;
use crate::http::page::context::Page;

/// A change below this share counts as none.
const NOTICEABLE: f64 = 0.005;

/// A figure with its comparison.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Name of the figure.
    pub name: String,
    /// Value, or that there is none.
    pub value: String,
    /// Numbers behind the value.
    pub note: String,
    /// Comparison with the period before; none where one of both has no value.
    pub trend: Option<Trend>,
    /// Value of the period before.
    pub before: String,
}

/// Change from the period before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trend {
    /// Class of the style: `better`, `worse` or `same`.
    pub kind: &'static str,
    pub amount: String,
    /// Judgement in words, because colours are not readable for everyone.
    pub words: String,
}

/// One of the figures: its column, how it is written, and whether more of it is better.
struct FigureKind {
    name: String,
    column: &'static str,
    more_is_better: bool,
}

/// Makes the cards of the report `dora-trend`.
pub fn figures(page: &Page, table: &ReportTable) -> Vec<Figure> {
    let period = |name: &str| rows(table).find(|row| row.text("period") == name);
    let (now, before) = (period("this"), period("before"));
    let kinds = [
        FigureKind { name: page.t("history.dora.frequency"), column: "deployments_per_day", more_is_better: true },
        FigureKind {
            name: page.t("history.dora.lead_time"),
            column: "lead_time_median_seconds",
            more_is_better: false,
        },
        FigureKind { name: page.t("history.dora.fail_rate"), column: "change_fail_percent", more_is_better: false },
        FigureKind {
            name: page.t("history.dora.recovery"),
            column: "recovery_time_median_seconds",
            more_is_better: false,
        },
        FigureKind { name: page.t("history.dora.rework"), column: "rework_percent", more_is_better: false },
    ];
    kinds.into_iter().map(|kind| figure(page, kind, now, before)).collect()
}

fn figure(page: &Page, kind: FigureKind, now: Option<ReportRow<'_>>, before: Option<ReportRow<'_>>) -> Figure {
    let value = |row: Option<ReportRow<'_>>| {
        row.and_then(|row| row.number(kind.column)).or(none_deployed(&kind, row.is_some()))
    };
    let (current, earlier) = (value(now), value(before));
    let shown = |value: Option<f64>| {
        value.map_or_else(|| page.t("history.no_value"), |value| written(page, kind.column, value))
    };
    let count = |column: &str| number(now.map_or(0.0, |row| row.count(column)));
    let note = match kind.column {
        "change_fail_percent" => {
            let (failed, all) = (count("failed_deployments"), count("deployments"));
            page.fill("history.dora.of_failed", &[("failed", &failed), ("n", &all)])
        }
        "rework_percent" => {
            let (rework, all) = (count("rework_deployments"), count("deployments"));
            page.fill("history.dora.of_rework", &[("rework", &rework), ("n", &all)])
        }
        "recovery_time_median_seconds" => page.fill("history.dora.of_recoveries", &[("n", &count("recoveries"))]),
        "lead_time_median_seconds" => page.fill("history.dora.median_of", &[("n", &count("changes"))]),
        _ if now.is_some_and(|row| row.count("redeployments") > 0.0) => {
            let again = count("redeployments");
            page.fill("history.dora.of_redeployments", &[("n", &count("deployments")), ("again", &again)])
        }
        _ => page.fill("history.dora.of_deployments", &[("n", &count("deployments"))]),
    };
    Figure {
        value: shown(current),
        note,
        trend: current.zip(earlier).map(|(now, before)| trend(page, &kind, now, before)),
        before: shown(earlier),
        name: kind.name,
    }
}

/// No deployments are a frequency of zero; the other figures need something to measure.
fn none_deployed(kind: &FigureKind, is_measured: bool) -> Option<f64> {
    (kind.column == "deployments_per_day" && !is_measured).then_some(0.0)
}

fn written(page: &Page, column: &str, value: f64) -> String {
    match column {
        "deployments_per_day" => page.fill("history.dora.per_day", &[("n", &decimal(value))]),
        _ if is_share(column) => format!("{} %", decimal(value)),
        _ => page.duration(&value),
    }
}

/// Reports that the figure is a percentage of deployments.
fn is_share(column: &str) -> bool {
    column.ends_with("_percent")
}

fn trend(page: &Page, kind: &FigureKind, now: f64, before: f64) -> Trend {
    let is_share = is_share(kind.column);
    let change = if is_share {
        (now - before) / 100.0
    } else if before > 0.0 {
        now / before - 1.0
    } else {
        now.min(1.0)
    };
    if change.abs() < NOTICEABLE {
        return Trend { kind: "same", amount: "＝".to_owned(), words: page.t("history.trend.same") };
    }
    let arrow = if change > 0.0 { "▲" } else { "▼" };
    let percent = decimal((change * 100.0).abs());
    let amount = if is_share {
        page.fill("history.trend.points", &[("n", &percent)])
    } else if before > 0.0 {
        format!("{percent} %")
    } else {
        String::new()
    };
    let amount = format!("{arrow} {amount}").trim_end().to_owned();
    if (change > 0.0) == kind.more_is_better {
        Trend { kind: "better", amount, words: page.t("history.trend.better") }
    } else {
        Trend { kind: "worse", amount, words: page.t("history.trend.worse") }
    }
}

/// At most two decimals, fewer for larger values.
fn decimal(value: f64) -> String {
    let text = match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_depend_on_size() {
        let shown: Vec<String> = [0.0, 0.333, 1.5, 12.34, 100.0, 1_234.5].into_iter().map(decimal).collect();
        assert_eq!(shown, ["0", "0.33", "1.5", "12.3", "100", "1234"]);
    }
}
