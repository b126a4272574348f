//! The compatibility table of docs/postgres.md: each row names the test that proves it.

use std::fmt::Write as _;

/// Rows of configuration, behaviour, test.
const ROWS: [(&str, &str, &str); 30] = [
    ("Postgres 14", "works", "postgres_14__works"),
    ("Postgres 15", "works", "postgres_15__works"),
    ("Postgres 16", "works", "postgres_16__works"),
    ("Postgres 17", "works", "postgres_17__works"),
    ("Postgres 18", "works", "postgres_18__works"),
    ("Postgres 13 and older", "refused at the start", "postgres_12__refused_with_reason"),
    ("Unix socket, IPv6", "works", "address__sockets_and_ipv6_in_every_notation"),
    ("`options` in the address (`search_path`)", "works", "address__options_set_per_session_not_at_startup"),
    (
        "Server, database or role with other defaults (time zone, isolation, timeouts, formats)",
        "works",
        "session_settings__role_defaults_overridden",
    ),
    (
        "`default_transaction_isolation = serializable`",
        "works",
        "session_settings__serializable_default_causes_no_conflicts",
    ),
    (
        "`default_transaction_read_only = on`",
        "not ready, `the database is read-only`",
        "session_settings__read_only_default_respected",
    ),
    (
        "`session_replication_role = replica`",
        "taken back, or refused",
        "session_settings__replica_role_refused_or_reset",
    ),
    ("Any characters in the names of database and roles", "works", "names__special_characters_work"),
    (
        "Short-lived roles that are members of the owner or of the servers' role",
        "works",
        "roles__short_lived_members_of_owner_and_app_role_work",
    ),
    ("`sslmode` disable, prefer, require, verify-ca, verify-full", "works", "postgres_tls__each_sslmode"),
    ("Client certificate", "works", "postgres_tls__client_certificate_replaces_password"),
    (
        "Password rotated, address in a file",
        "works, without a restart",
        "password_rotation__ready_again_without_restart",
    ),
    ("IAM authentication of RDS and Aurora", "works", "iam__signed_token_replaces_password"),
    ("Failover, several hosts", "writes resume", "failover__writes_resume_on_promoted_server"),
    (
        "Failover, several hosts, the old primary swallows packets",
        "writes resume",
        "failover__silent_primary_abandoned",
    ),
    ("Failover, one name that leads elsewhere", "writes resume", "failover__dns_change_drops_old_connections"),
    ("A standby first among several hosts", "never written", "failover__standby_never_written"),
    ("A standby alone", "not ready, `the database is read-only`", "standby__alone_reports_read_only"),
    ("PgBouncer 1.18, session mode", "works", "pgbouncer_1_18__session_mode_works"),
    ("PgBouncer 1.24, session mode", "works", "pgbouncer_1_24__session_mode_works"),
    (
        "PgBouncer 1.24, transaction mode, and a direct address",
        "works",
        "pgbouncer_1_24__transaction_mode_with_direct_address_works",
    ),
    (
        "PgBouncer 1.24, transaction mode alone",
        "works without notifications; no migrations",
        "pgbouncer_1_24__transaction_mode_alone_cannot_notify_or_migrate",
    ),
    ("PgBouncer, statement mode", "refused at the start", "pgbouncer__statement_mode_refused"),
    ("PgBouncer 1.18, transaction mode", "refused at the start", "pgbouncer_1_18__transaction_mode_refused"),
    (
        "Transaction mode with defaults of the role that do not do",
        "refused at the start",
        "transaction_mode__required_role_settings_named",
    ),
];

const SOURCES: [&str; 9] = [
    include_str!("addresses.rs"),
    include_str!("failover.rs"),
    include_str!("iam.rs"),
    include_str!("pooler.rs"),
    include_str!("roles.rs"),
    include_str!("rotation.rs"),
    include_str!("settings.rs"),
    include_str!("tls.rs"),
    include_str!("versions.rs"),
];

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/postgres.md");
const BEGIN: &str = "<!-- made by tests/it/postgres/table.rs -->\n";
const END: &str = "<!-- end -->";

#[test]
fn compatibility_table__names_tests_and_matches_document() {
    let mut table = String::from("| set-up | Panda | test |\n| --- | --- | --- |\n");
    for (setup, works, test) in ROWS {
        let known = SOURCES.iter().any(|source| source.contains(&format!("async fn {test}(")));
        assert!(known, "the test {test} does not exist");
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
