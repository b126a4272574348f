//! The compatibility table of docs/postgres.md: each row names the test that holds it.

use std::fmt::Write as _;

/// Set-up, what works, the test.
const ROWS: [(&str, &str, &str); 27] = [
    ("Postgres 14", "works", "postgres_14_works"),
    ("Postgres 15", "works", "postgres_15_works"),
    ("Postgres 16", "works", "postgres_16_works"),
    ("Postgres 17", "works", "postgres_17_works"),
    ("Postgres 18", "works", "postgres_18_works"),
    ("Postgres 13 and older", "refused at the start", "postgres_12_is_refused_in_words"),
    ("Unix socket, IPv6", "works", "sockets_and_ipv6_every_way_to_write_them"),
    ("`options` in the address (`search_path`)", "works", "options_hold_in_each_session_and_are_not_sent_at_its_start"),
    (
        "Server, database or role with other defaults (time zone, isolation, timeouts, formats)",
        "works",
        "defaults_of_a_role_do_not_reach_the_sessions",
    ),
    (
        "`default_transaction_isolation = serializable`",
        "works",
        "serializable_default_statements_side_by_side_do_not_fail",
    ),
    (
        "`default_transaction_read_only = on`",
        "not ready, `the database is read-only`",
        "read_only_default_is_respected_because_it_fences_a_server_off",
    ),
    (
        "`session_replication_role = replica`",
        "taken back, or refused",
        "replica_role_without_triggers_is_refused_or_taken_back",
    ),
    ("`sslmode` disable, prefer, require, verify-ca, verify-full", "works", "tls_each_mode_and_what_is_refused"),
    ("Client certificate", "works", "client_certificate_in_place_of_a_password"),
    (
        "Password rotated, address in a file",
        "works, without a restart",
        "rotated_password_a_server_is_ready_again_without_a_restart",
    ),
    ("IAM authentication of RDS and Aurora", "works", "iam_a_token_is_signed_in_place_of_the_password"),
    ("Failover, several hosts", "writes resume", "failover_writes_resume_on_the_promoted_server"),
    (
        "Failover, several hosts, the old primary swallows packets",
        "writes resume",
        "failover_a_primary_that_swallows_packets_is_left",
    ),
    (
        "Failover, one name that leads elsewhere",
        "writes resume",
        "failover_by_name_connections_of_the_old_server_are_not_used_again",
    ),
    (
        "A standby first among several hosts",
        "never written",
        "failover_the_standby_is_never_written_and_the_first_that_writes_is_found",
    ),
    ("A standby alone", "not ready, `the database is read-only`", "standby_alone_reads_and_says_read_only"),
    ("PgBouncer 1.18, session mode", "works", "pgbouncer_1_18_session_mode_works"),
    ("PgBouncer 1.24, session mode", "works", "pgbouncer_1_24_session_mode_works"),
    (
        "PgBouncer 1.24, transaction mode, and a direct address",
        "works",
        "pgbouncer_1_24_transaction_mode_works_beside_a_direct_address",
    ),
    (
        "PgBouncer 1.24, transaction mode alone",
        "works without notifications; no migrations",
        "pgbouncer_1_24_transaction_mode_alone_does_without_notifications_and_migrates_nothing",
    ),
    (
        "PgBouncer 1.18, transaction mode",
        "refused at the start",
        "pgbouncer_1_18_transaction_mode_is_refused_because_it_forgets_prepared_statements",
    ),
    (
        "Transaction mode with defaults of the role that do not do",
        "refused at the start",
        "transaction_mode_what_has_to_be_set_for_the_role_is_named",
    ),
];

const SOURCES: [&str; 8] = [
    include_str!("addresses.rs"),
    include_str!("failover.rs"),
    include_str!("iam.rs"),
    include_str!("pooler.rs"),
    include_str!("rotation.rs"),
    include_str!("settings.rs"),
    include_str!("tls.rs"),
    include_str!("versions.rs"),
];

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/postgres.md");
const BEGIN: &str = "<!-- made by tests/it/postgres/table.rs -->\n";
const END: &str = "<!-- end -->";

#[test]
fn table_names_a_test_for_each_row_and_is_the_documents() {
    let mut table = String::from("| set-up | Panda | test |\n| --- | --- | --- |\n");
    for (setup, works, test) in ROWS {
        let known = SOURCES.iter().any(|source| source.contains(&format!("async fn {test}(")));
        assert!(known, "there is no test {test}");
        writeln!(table, "| {setup} | {works} | `{test}` |").unwrap();
    }
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os("PANDA_WRITE_DOCS").is_some() {
        std::fs::write(DOCUMENT, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(found, table, "write it with PANDA_WRITE_DOCS=1");
    }
}
