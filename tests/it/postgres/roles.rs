//! Roles and names as operators and secret stores make them.

use std::fmt::Write as _;

use super::{db, write};
use crate::db::{claim, new_deployment, replica};
use crate::support::postgres_servers::{PASSWORD, Server};

/// Percent-encodes every byte, as any client may.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "%{byte:02X}");
        out
    })
}

#[tokio::test]
async fn names__special_characters_work() {
    const OWNER: &str = "Ow\"ner o'x %41 소유자";
    const APP: &str = "app \"role\" $1; -- \\";
    const DATABASE: &str = "db \"x\" 'y' ?#&=%2F 데이터";
    let Some(server) = Server::of(18, &[]).await else { return };
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let (owner, app, database) = (quoted(OWNER), quoted(APP), quoted(DATABASE));
    server.sql(&format!("CREATE ROLE {owner} LOGIN PASSWORD '{PASSWORD}'")).await;
    server.sql(&format!("CREATE DATABASE {database} OWNER {owner}")).await;
    let url = |role: &str| server.url_as(&encoded(role), PASSWORD, &encoded(DATABASE));
    let migrating = db(&url(OWNER));
    migrating.migrate().await.unwrap();
    let script = migrating.app_role_script(&APP.parse().unwrap()).await.unwrap();
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&server.url(&encoded(DATABASE))).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut admin).await.unwrap();
    server.sql(&format!("ALTER ROLE {app} PASSWORD '{PASSWORD}'")).await;
    let used = db(&url(APP));
    assert!(used.missing_privilege().await.unwrap().is_none());
    used.check_fitness().await.unwrap();
    new_deployment(&used).await;
    let me = replica(&used).await;
    claim(&used, me, 1, 1).await;
}

/// As secret stores make a role for each lease: a member of the owner, or one that becomes the owner when it signs in.
#[tokio::test]
async fn roles__short_lived_members_of_owner_and_app_role_work() {
    let Some(server) = Server::of(16, &[]).await else { return };
    server.sql("CREATE ROLE owner NOLOGIN;\nCREATE DATABASE panda OWNER owner").await;
    for (name, more) in [("first", "INHERIT"), ("second", "NOINHERIT"), ("third", "NOINHERIT")] {
        server.sql(&format!("CREATE ROLE {name} LOGIN {more} PASSWORD '{PASSWORD}' IN ROLE owner")).await;
    }
    server.sql("ALTER ROLE second SET role = 'owner';\nALTER ROLE third SET role = 'owner'").await;
    let as_role = |name: &str| db(&server.url_as(name, PASSWORD, "panda"));
    as_role("second").migrate().await.unwrap();
    assert_eq!(
        server.ask("panda", "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'").await,
        "owner"
    );
    for name in ["first", "third"] {
        let db = as_role(name);
        db.check_may_migrate().await.unwrap();
        db.migrate().await.unwrap();
        write(&db).await.unwrap();
    }
    let script = as_role("third").app_role_script(&"app".parse().unwrap()).await.unwrap();
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&server.url("panda")).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut admin).await.unwrap();
    server.sql(&format!("CREATE ROLE lease_1 LOGIN PASSWORD '{PASSWORD}' IN ROLE app")).await;
    let leased = as_role("lease_1");
    assert!(leased.missing_privilege().await.unwrap().is_none());
    new_deployment(&leased).await;
    let me = replica(&leased).await;
    claim(&leased, me, 1, 1).await;
}

/// Their texts are translated, and none is parsed.
#[tokio::test]
async fn server_messages__any_format_and_verbosity() {
    let Some(server) = Server::of(17, &[]).await else { return };
    server.sql(&format!("CREATE ROLE panda LOGIN PASSWORD '{PASSWORD}';\nCREATE DATABASE panda OWNER panda")).await;
    server
        .sql("ALTER ROLE panda SET client_min_messages = 'error';\nALTER ROLE panda SET default_tablespace = 'pg_default';\nALTER ROLE panda SET xmlbinary = 'hex';\nALTER ROLE panda SET backslash_quote = 'off';\nALTER ROLE panda SET array_nulls = 'off';\nALTER ROLE panda SET quote_all_identifiers = 'on';\nALTER ROLE panda SET check_function_bodies = 'off';\nALTER ROLE panda SET default_with_oids = 'off'")
        .await;
    let db = db(&server.url_as("panda", PASSWORD, "panda"));
    db.migrate().await.unwrap();
    new_deployment(&db).await;
    let me = replica(&db).await;
    claim(&db, me, 1, 1).await;
}
