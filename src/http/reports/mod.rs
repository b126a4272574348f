//! Reports: questions about the history, of which `panda_report` and docs/reporting.md have the SQL.

pub mod answer;
pub mod list;
