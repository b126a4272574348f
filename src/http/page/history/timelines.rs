//! Panels with a chart over time: deployments, and lead time.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::chart::{Chart, ChartTexts, Slot};
use super::filter::HistoryFilter;
use super::numbers::{number, short_duration, short_number};
use super::panel::{Panel, PanelContent, PanelRow, PanelTable};
use super::rows::rows;
use super::slots::SlotUnit;
use super::ticks::Scale;
use crate::db::reports::ReportTable;
use crate::http::page::context::Page;

const SECONDS_PER_HOUR: f64 = 3_600.0;

/// Completed, failed and stopped deployments by day, or by week or month in a long period.
pub fn results(page: &Page, filter: &HistoryFilter, table: Option<&ReportTable>) -> Panel {
    let title = page.t("history.results");
    let about = page.t("history.results_about");
    let content = table.map_or(PanelContent::TooSlow, |table| results_content(page, filter, table, &title));
    Panel { report: "results-by-day", title, about, content }
}

fn results_content(page: &Page, filter: &HistoryFilter, table: &ReportTable, title: &str) -> PanelContent {
    let unit = SlotUnit::of(filter.length());
    let mut sums: BTreeMap<NaiveDate, [f64; 3]> = BTreeMap::new();
    for row in rows(table) {
        let Some(day) = row.date("day") else { continue };
        let sum = sums.entry(unit.first(day)).or_default();
        for (sum, column) in sum.iter_mut().zip(["completed", "failed", "stopped"]) {
            *sum += row.count(column);
        }
    }
    if sums.is_empty() {
        return PanelContent::Empty;
    }
    let names = [page.t("history.completed"), page.t("history.failed"), page.t("history.stopped")];
    let unit_name = match unit {
        SlotUnit::Day => page.t("history.day"),
        SlotUnit::Week => page.t("history.week"),
        SlotUnit::Month => page.t("history.month"),
    };
    let slots: Vec<Slot> = unit
        .all(filter.from, filter.to)
        .into_iter()
        .map(|first| {
            let [completed, failed, _] = sums.get(&first).copied().unwrap_or_default();
            let tip = format!("{first}: {} {}, {} {}", names[0], number(completed), names[1], number(failed));
            Slot { label: unit.axis_label(first), tip, values: vec![completed, failed] }
        })
        .collect();
    let totals = sums.values().fold([0.0; 3], |[a, b, c], [x, y, z]| [a + x, b + y, c + z]);
    let [completed, failed, stopped] = totals.map(number);
    let texts = ChartTexts {
        id: "results",
        title: title.to_owned(),
        description: page
            .fill("history.results_summary", &[("completed", &completed), ("failed", &failed), ("stopped", &stopped)]),
        legend: names[..2].to_vec(),
    };
    let mut shown = PanelTable::new(unit_name, &[], &names);
    shown.is_truncated = table.truncated;
    shown.rows = sums.iter().rev().map(|(first, sums)| row(*first, sums.map(number).to_vec())).collect();
    PanelContent::Timeline(Box::new(Chart::columns(texts, &slots, Scale::Count, short_number)), shown)
}

/// Median lead time by week.
pub fn lead_time(page: &Page, filter: &HistoryFilter, table: Option<&ReportTable>) -> Panel {
    let title = page.t("history.lead_time");
    let about = page.t("history.lead_time_about");
    let content = table.map_or(PanelContent::TooSlow, |table| lead_time_content(page, filter, table, &title));
    Panel { report: "lead-time", title, about, content }
}

fn lead_time_content(page: &Page, filter: &HistoryFilter, table: &ReportTable, title: &str) -> PanelContent {
    let hours =
        |row: &super::rows::ReportRow<'_>, column: &str| row.number(column).map(|hours| hours * SECONDS_PER_HOUR);
    let medians: BTreeMap<NaiveDate, f64> =
        rows(table).filter_map(|row| Some((row.date("week")?, hours(&row, "median_hours")?))).collect();
    let (Some(shortest), Some(longest)) = (least(&medians), most(&medians)) else { return PanelContent::Empty };
    let week = page.t("history.week");
    let slots: Vec<Slot> = SlotUnit::Week
        .all(filter.from, filter.to)
        .into_iter()
        .map(|first| {
            let median = medians.get(&first).copied();
            let value = median.map_or_else(|| page.t("history.no_value"), |median| page.duration(&median));
            Slot {
                label: SlotUnit::Week.axis_label(first),
                tip: format!("{week} {first}: {value}"),
                values: median.into_iter().collect(),
            }
        })
        .collect();
    let (shortest, longest) = (page.duration(&shortest), page.duration(&longest));
    let range = [("shortest", shortest.as_str()), ("longest", longest.as_str())];
    let texts = ChartTexts {
        id: "lead-time",
        title: title.to_owned(),
        description: page.fill("history.lead_time_summary", &range),
        legend: Vec::new(),
    };
    let figures = [page.t("history.deployments"), page.t("history.median"), page.t("history.slowest_tenth")];
    let mut shown = PanelTable::new(week, &[], &figures);
    shown.is_truncated = table.truncated;
    let duration = |seconds: Option<f64>| seconds.map(|seconds| page.duration(&seconds)).unwrap_or_default();
    shown.rows = rows(table)
        .filter_map(|found| {
            let cells = vec![
                number(found.count("deployments")),
                duration(hours(&found, "median_hours")),
                duration(hours(&found, "slowest_tenth_hours")),
            ];
            Some(row(found.date("week")?, cells))
        })
        .collect();
    shown.rows.reverse();
    PanelContent::Timeline(
        Box::new(Chart::line(texts, &slots, Scale::Duration, |seconds| short_duration(page, seconds))),
        shown,
    )
}

fn least(values: &BTreeMap<NaiveDate, f64>) -> Option<f64> {
    values.values().copied().min_by(f64::total_cmp)
}

fn most(values: &BTreeMap<NaiveDate, f64>) -> Option<f64> {
    values.values().copied().max_by(f64::total_cmp)
}

fn row(first: NaiveDate, cells: Vec<String>) -> PanelRow {
    PanelRow { name: first.to_string(), is_code: false, cells, bar: Vec::new() }
}
