//! Titles and explanations of the reports in Korean: the API has them in English, as its SQL.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::cli::lang::lang;
use crate::domain::lang::Lang;

#[derive(Debug, Deserialize)]
struct Texts {
    title: String,
    about: String,
}

/// Texts by the report's name. A test looks up every report, so that a broken file cannot be shipped.
static TEXTS: LazyLock<HashMap<String, Texts>> =
    LazyLock::new(|| serde_json::from_str(include_str!("korean.json")).unwrap_or_default());

/// Title and explanation of a report in the language of the terminal; `given`, the server's, for a report that is newer than this program.
pub fn texts<'a>(name: &str, given: (&'a str, &'a str)) -> (&'a str, &'a str) {
    match TEXTS.get(name).filter(|_| lang() == Lang::Ko) {
        Some(texts) => (&texts.title, &texts.about),
        None => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::reports::REPORTS;

    #[test]
    fn every_report_has_korean_texts() {
        let mut named: Vec<&str> = TEXTS.keys().map(String::as_str).collect();
        let mut reports: Vec<&str> = REPORTS.iter().map(|report| report.name).collect();
        named.sort_unstable();
        reports.sort_unstable();
        assert_eq!(named, reports);
    }
}
