//! A landed view is never changed, because reports depend on it. A new definition is a new view with the next number.

use std::collections::BTreeMap;

use pretty_assertions::assert_eq;
use sha2::{Digest, Sha256};
use sqlx::migrate::Migrator;

use crate::support::db::TestDb;

static ALL: Migrator = sqlx::migrate!();

/// Landed views, with the first half of the SHA-256 of their definitions. Lines are added and never changed.
const LANDED: &[(&str, &str)] = &[
    ("history_attempts", "d0d25bcef28bbd052e7d0dea4ca04e16"),
    ("history_dora", "09c5d2397e0f984655d1f33103e27c46"),
    ("history_dora_levels", "fad68957c5048456229a9b53b69bfe3a"),
    ("history_ends", "ea8910889ea35b2bf3d3a1644cc9a5a4"),
    ("history_key", "e3d694d1b8425a9c4ce89ccf2e9f277a"),
    ("history_outcome", "13eb62f6440436a18131422e3d4e3ee9"),
    ("history_phase", "ae8f5a5e158a4804001b09d7a0015b4a"),
    ("history_seconds", "a547b675d7c66586a8ad174163664376"),
    ("history_stages", "0ab3bf7a2d2b05a8c078f486d2a091ca"),
    ("panda_report.approvals_v1", "ecc184179599cd786332512e68e4d2b8"),
    ("panda_report.approvals_v2", "631914808609d230aefa2de161b61a49"),
    ("panda_report.attempts_v1", "3a70919d16536fe2c41af55037340728"),
    ("panda_report.deployments_v1", "9c4d42b54d97a4dd040d4e7920a45a38"),
    ("panda_report.dora_daily_v1", "8bbe21ed7f37b380cfe50164f372cf6c"),
    ("panda_report.dora_daily_v2", "6a07a8c2b54eed4ff87195054b3ea8fb"),
    ("panda_report.dora_monthly_v1", "9ad06663d21312856c715138a2fda011"),
    ("panda_report.dora_monthly_v2", "51feb1d67d36141da712473214414d48"),
    ("panda_report.dora_occurrences_v1", "7a49f64a14d0aa41c87a503468fada0e"),
    ("panda_report.dora_occurrences_v2", "ec5bae645be931dab049fbfeb929ea89"),
    ("panda_report.events_v1", "380dec1174bf304cdf487609b1710a3d"),
    ("panda_report.failures_v1", "4859a848e07de26b2b69db8348013419"),
    ("panda_report.queue_v1", "2a3cea998105fae51519a884baf9a0c3"),
    ("panda_report.stages_v1", "d68c992151a27b5723c8fedadea22f63"),
    ("panda_report.measurements_v1", "09eea0558857e5f0ad803a090fae7914"),
    ("panda_report.step_runs_v1", "3712b253e9eea0a9232cecd65f7d4870"),
    ("panda_report.throughput_v1", "87de824b5f2c06dab8181b5edd74fa65"),
];

/// Forbidden changes to landed views.
const CHANGES: [&str; 6] = [
    "OR REPLACE VIEW",
    "ALTER VIEW",
    "DROP VIEW",
    "OR REPLACE FUNCTION history_",
    "DROP FUNCTION history_",
    "ALTER FUNCTION history_",
];

/// Definitions of views and of the functions that they use, from the migrations.
fn definitions() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for migration in ALL.iter() {
        let sql = migration.sql.as_str();
        for kind in ["CREATE VIEW ", "CREATE FUNCTION history_"] {
            for (at, _) in sql.match_indices(kind) {
                let text = sql[at..].split(";\n").next().unwrap();
                let name = text.split([' ', '(']).nth(2).unwrap();
                let hash = hex::encode(Sha256::digest(text.as_bytes()));
                assert!(found.insert(name.to_owned(), hash[..32].to_owned()).is_none(), "{name} is defined twice");
            }
        }
    }
    found
}

#[tokio::test]
async fn report_views__unchanged_once_landed() {
    let defined = definitions();
    let landed: BTreeMap<String, String> =
        LANDED.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect();
    assert_eq!(defined, landed, "definitions on the left, landed ones on the right: add new views, change none");
    for migration in ALL.iter() {
        for change in CHANGES {
            assert!(!migration.sql.as_str().contains(change), "migration {} says {change}", migration.version);
        }
    }
    // No view exists beside the listed ones.
    let test = TestDb::new().await;
    let sql = "SELECT CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname IN ('public', 'panda_report') AND c.relkind IN ('v', 'm') ORDER BY 1";
    let there: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut test.psql().await).await.unwrap();
    let views: Vec<_> = landed.keys().filter(|name| there.contains(name)).collect();
    assert_eq!(views.len(), there.len(), "{there:?}");
}

#[tokio::test]
async fn report_role__script_matches_newest_migration() {
    let newest = ALL.iter().rfind(|migration| migration.sql.as_str().contains("CREATE VIEW panda_report.")).unwrap();
    let script = panda::db::reports::ROLE_SCRIPT;
    // If the script is included, the line with the schema's version follows it.
    let sql = newest.sql.as_str();
    let sql = sql.rsplit_once("SELECT schema_version(").map_or(sql, |(before, _)| before);
    assert!(sql.trim_end().ends_with(script.trim_end()), "end it with src/db/reports/role.sql");
}
