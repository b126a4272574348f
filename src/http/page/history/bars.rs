//! Panels with a bar in each row: phases of the lead time, failures, stages, and the queue.

use super::chart::bar;
use super::filter::HistoryFilter;
use super::numbers::number;
use super::panel::{Panel, PanelContent, PanelRow, PanelTable};
use super::rows::{ReportRow, rows};
use crate::db::reports::ReportTable;
use crate::http::page::context::Page;

/// Largest number of rows that the view shows; the file has all.
const MOST_ROWS: usize = 10;

/// A panel before its rows.
struct BarPanel<'a> {
    report: &'static str,
    title: String,
    about: String,
    table: Option<&'a ReportTable>,
}

impl BarPanel<'_> {
    /// Fills `empty` with the report's rows: `row` has the name and the cells of one, `values` the stacked values of its bar.
    fn filled(
        self,
        empty: PanelTable,
        row: impl Fn(&ReportRow<'_>) -> (String, Vec<String>),
        values: impl Fn(&ReportRow<'_>) -> Vec<f64>,
    ) -> Panel {
        let Self { report, title, about, table } = self;
        let content = match table {
            None => PanelContent::TooSlow,
            Some(table) if table.rows.is_empty() => PanelContent::Empty,
            Some(table) => {
                let longest = rows(table).map(|row| values(&row).iter().sum()).fold(0.0, f64::max);
                let mut shown = empty;
                shown.is_truncated = table.truncated || table.rows.len() > MOST_ROWS;
                shown.rows = rows(table)
                    .take(MOST_ROWS)
                    .map(|found| {
                        let (name, cells) = row(&found);
                        PanelRow { name, is_code: report == "failures", cells, bar: bar(&values(&found), longest) }
                    })
                    .collect();
                PanelContent::Bars(shown)
            }
        };
        Panel { report, title, about, content }
    }
}

fn duration(page: &Page, row: &ReportRow<'_>, column: &str) -> String {
    row.number(column).map_or_else(|| page.t("history.no_value"), |seconds| page.duration(&seconds))
}

/// Mean lead time by phase.
pub fn phases(page: &Page, table: Option<&ReportTable>) -> Panel {
    let figures = [page.t("history.mean"), page.t("history.median"), page.t("history.slowest_tenth")];
    let empty = PanelTable::new(page.t("history.phase"), &[], &figures);
    let (title, about) = (page.t("history.phases"), page.t("history.phases_about"));
    BarPanel { report: "lead-time-phases", title, about, table }.filled(
        empty,
        |row| {
            let name = match row.text("phase").as_str() {
                "request" => page.t("history.phase_request"),
                "earlier_attempts" => page.t("history.phase_attempts"),
                "queue" => page.t("history.phase_queue"),
                "deploy" => page.t("history.phase_deploy"),
                "approval" => page.t("history.phase_approval"),
                "switch" => page.t("history.phase_switch"),
                other => other.to_owned(),
            };
            (
                name,
                ["mean_seconds", "median_seconds", "slowest_tenth_seconds"]
                    .map(|column| duration(page, row, column))
                    .to_vec(),
            )
        },
        |row| vec![row.count("mean_seconds")],
    )
}

/// Failed attempts by error code and stage.
pub fn failures(page: &Page, filter: &HistoryFilter, table: Option<&ReportTable>) -> Panel {
    let figures = [page.t("history.failed_attempts"), page.t("history.retried")];
    let empty = PanelTable::new(page.t("history.code"), &[page.t("history.stage"), page.t("history.last")], &figures);
    let (title, about) = (page.t("history.failures"), page.t("history.failures_about"));
    BarPanel { report: "failures", title, about, table }.filled(
        empty,
        |row| {
            let last = row.minute("last_failed_at", filter.report.zone);
            let counts = [number(row.count("failed_attempts")), number(row.count("retried"))];
            let cells = [stage(page, &row.text("stage")), last].into_iter().chain(counts).collect();
            (row.text("error_code"), cells)
        },
        |row| vec![row.count("failed_attempts")],
    )
}

/// Mean working and waiting time of stages.
pub fn stages(page: &Page, table: Option<&ReportTable>) -> Panel {
    let (working, waiting) = (page.t("history.working"), page.t("history.waiting"));
    let figures = [page.t("history.times"), working.clone(), page.t("history.slowest_tenth"), waiting.clone()];
    let mut empty = PanelTable::new(page.t("history.stage"), &[], &figures);
    empty.legend = vec![working, waiting];
    let (title, about) = (page.t("history.stages"), page.t("history.stages_about"));
    BarPanel { report: "slowest-stages", title, about, table }.filled(
        empty,
        |row| {
            let durations = ["mean_working_seconds", "slowest_tenth_seconds", "mean_waiting_seconds"];
            let durations = durations.map(|column| duration(page, row, column));
            (stage(page, &row.text("stage")), std::iter::once(number(row.count("times"))).chain(durations).collect())
        },
        |row| vec![row.count("mean_working_seconds"), row.count("mean_waiting_seconds")],
    )
}

/// Waits in the queues of targets.
pub fn queue(page: &Page, table: Option<&ReportTable>) -> Panel {
    let figures =
        [page.t("history.waits"), page.t("history.mean"), page.t("history.longest"), page.t("history.waiting_now")];
    let empty = PanelTable::new(page.t("history.repository"), &[page.t("history.target")], &figures);
    let (title, about) = (page.t("history.queue"), page.t("history.queue_about"));
    BarPanel { report: "queue", title, about, table }.filled(
        empty,
        |row| {
            let target = format!("{} · {}", row.text("account_id"), row.text("region"));
            let durations = ["mean_seconds", "longest_seconds"].map(|column| duration(page, row, column));
            let [mean, longest] = durations;
            let cells = vec![target, number(row.count("waits")), mean, longest, number(row.count("waiting_now"))];
            (format!("{}/{}", row.text("owner"), row.text("repo")), cells)
        },
        |row| vec![row.count("longest_seconds")],
    )
}

/// Name of a stage with its meaning.
fn stage(page: &Page, name: &str) -> String {
    let meaning = match name {
        "Step 1" => page.t("history.step_1"),
        "Step 2" => page.t("history.step_2"),
        "Stage 1" => page.t("history.stage_1"),
        "Stage 2" => page.t("history.stage_2"),
        "Stage 3" => page.t("history.stage_3"),
        "Stage 4" => page.t("history.stage_4"),
        other => return other.to_owned(),
    };
    format!("{name} · {meaning}")
}
