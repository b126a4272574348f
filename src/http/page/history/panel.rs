//! A panel of the view: a heading, a chart over time or bars beside the rows, and the table that both show.

use super::chart::{Chart, Part};

/// A panel with the report that it shows.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Name of the report, and id in the document.
    pub report: &'static str,
    pub title: String,
    /// Knowledge needed to read the figures.
    pub about: String,
    /// Rows, or the reason why there are none.
    pub content: PanelContent,
}

#[derive(Clone, Debug)]
pub enum PanelContent {
    /// The report exceeded its time limit.
    TooSlow,
    /// Nothing happened in the period.
    Empty,
    /// A chart over time, and its table.
    Timeline(Box<Chart>, PanelTable),
    /// A table with a bar in each row.
    Bars(PanelTable),
}

/// A table, the accessible form of each chart.
#[derive(Clone, Debug, Default)]
pub struct PanelTable {
    /// Headings: the first is that of the rows' names.
    pub columns: Vec<Heading>,
    /// Rows in the order of the report.
    pub rows: Vec<PanelRow>,
    /// Names of the stacked parts of the bars; empty for single ones.
    pub legend: Vec<String>,
    /// True when the report has more rows than its limit.
    pub is_truncated: bool,
}

/// Heading of a column.
#[derive(Clone, Debug)]
pub struct Heading {
    pub name: String,
    /// True for figures, which are aligned at their ends.
    pub is_number: bool,
}

/// A row of a table.
#[derive(Clone, Debug)]
pub struct PanelRow {
    /// Name of the row.
    pub name: String,
    /// True for codes, which have letters of one width.
    pub is_code: bool,
    /// Cells below the other headings.
    pub cells: Vec<String>,
    pub bar: Vec<Part>,
}

impl PanelTable {
    /// A table without rows.
    pub fn new(name: String, texts: &[String], figures: &[String]) -> Self {
        let of = |is_number| move |name: &String| Heading { name: name.clone(), is_number };
        let others = texts.iter().map(of(false)).chain(figures.iter().map(of(true)));
        let columns = std::iter::once(Heading { name, is_number: false }).chain(others).collect();
        Self { columns, ..Self::default() }
    }

    /// True when rows have bars.
    pub fn has_bars(&self) -> bool {
        self.rows.iter().any(|row| !row.bar.is_empty())
    }

    /// True when the cell at this place of a row is a figure.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates pass references")]
    pub fn is_number(&self, cell: &usize) -> bool {
        self.columns.get(cell + 1).is_some_and(|column| column.is_number)
    }
}
