use std::collections::BTreeMap;

use super::{db, write};
use crate::db::{claim, new_deployment, replica};
use crate::support::postgres_servers::{PASSWORD, Server};

/// Role defaults that would break statements or a session if they applied. The timeouts leave enough time, on a busy machine, for a session's first
/// statement, which overrides them.
const DEFAULTS: [(&str, &str, &str); 15] = [
    ("default_transaction_isolation", "serializable", "read committed"),
    ("default_transaction_deferrable", "on", "off"),
    ("statement_timeout", "9s", "15s"),
    ("lock_timeout", "9s", "0"),
    ("idle_in_transaction_session_timeout", "9s", "15s"),
    ("idle_session_timeout", "9s", "0"),
    ("TimeZone", "Asia/Seoul", "UTC"),
    ("DateStyle", "German", "ISO, MDY"),
    ("IntervalStyle", "iso_8601", "postgres"),
    ("extra_float_digits", "-15", "1"),
    ("bytea_output", "escape", "hex"),
    ("standard_conforming_strings", "off", "on"),
    ("row_security", "off", "on"),
    ("jit", "on", "off"),
    ("plan_cache_mode", "force_generic_plan", "auto"),
];

/// Makes each new replica record the settings of its session.
const WATCH: &str = "CREATE TABLE seen (name text, value text);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO seen SELECT name, current_setting(name) FROM pg_settings; RETURN NULL; END $$;
CREATE TRIGGER watched AFTER INSERT ON replicas FOR EACH ROW EXECUTE FUNCTION watch()";

#[tokio::test]
async fn session_settings__role_defaults_overridden() {
    let Some(server) = Server::of(17, &[]).await else { return };
    server.sql(&format!("CREATE ROLE panda LOGIN PASSWORD '{PASSWORD}';\nCREATE DATABASE panda OWNER panda")).await;
    let mut statements: Vec<String> =
        DEFAULTS.iter().map(|(name, value, _)| format!("ALTER ROLE panda SET {name} = '{value}'")).collect();
    statements.push("ALTER ROLE panda SET transaction_timeout = '9s'".to_owned());
    server.sql(&statements.join(";\n")).await;
    let db = db(&server.url_as("panda", PASSWORD, "panda"));
    db.migrate().await.unwrap();
    server.sql_in("panda", WATCH).await;
    write(&db).await.unwrap();
    let seen = server.ask("panda", "SELECT json_object_agg(name, value)::text FROM seen").await;
    let seen: BTreeMap<String, String> = serde_json::from_str(&seen).unwrap();
    for (name, default, expected) in DEFAULTS {
        assert_eq!(seen[name], expected, "{name}, whose default is {default}");
    }
    assert_eq!(seen["transaction_timeout"], "0");
    assert_eq!(seen["client_connection_check_interval"], "250ms");
    assert_eq!(seen["client_encoding"], "UTF8");
    // As the program itself uses it.
    new_deployment(&db).await;
    let owner = replica(&db).await;
    claim(&db, owner, 1, 1).await;
}

#[tokio::test]
async fn session_settings__serializable_default_causes_no_conflicts() {
    let Some(server) = Server::of(14, &["default_transaction_isolation=serializable"]).await else { return };
    server.sql("CREATE DATABASE panda").await;
    let db = db(&server.url("panda"));
    db.migrate().await.unwrap();
    let writers = (0..12).map(|_| {
        let db = db.clone();
        async move {
            for _ in 0..3 {
                new_deployment(&db).await;
                let owner = replica(&db).await;
                claim(&db, owner, 1, 1).await;
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

#[tokio::test]
async fn session_settings__replica_role_refused_or_reset() {
    let Some(server) = Server::of(16, &[]).await else { return };
    server.sql(&format!("CREATE ROLE panda LOGIN PASSWORD '{PASSWORD}';\nCREATE DATABASE panda OWNER panda")).await;
    server.sql("ALTER ROLE panda SET session_replication_role = 'replica'").await;
    server.sql("ALTER ROLE postgres SET session_replication_role = 'replica'").await;
    let refused = db(&server.url_as("panda", PASSWORD, "panda"));
    let error = refused.schema().await.unwrap_err();
    assert!(error.to_string().contains("refuses a setting that a session needs (SQLSTATE 42501)"), "{error}");
    db(&server.url("panda")).migrate().await.unwrap();
}

#[tokio::test]
async fn session_settings__read_only_default_respected() {
    let Some(server) = Server::of(18, &[]).await else { return };
    server.sql("CREATE DATABASE panda").await;
    db(&server.url("panda")).migrate().await.unwrap();
    server.sql("ALTER DATABASE panda SET default_transaction_read_only = on").await;
    let db = db(&server.url("panda"));
    db.schema().await.unwrap();
    let error = write(&db).await.unwrap_err();
    assert_eq!(error.message().to_string(), "the database is read-only");
}
