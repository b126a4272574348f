use std::os::unix::fs::PermissionsExt as _;

use nix::unistd::Uid;
use panda::sandbox::parts::{PartsError, Postgres, PostgresOptions, temporary_folder};
use sqlx::{Connection as _, PgConnection};

use super::{Victim, is_alive, ready_to_die, victims_folder};

fn options(dir: &tempfile::TempDir) -> PostgresOptions {
    PostgresOptions { data_dir: dir.path().join("postgres"), durable: false }
}

#[tokio::test]
async fn a_server_started_again_on_the_same_folder_keeps_its_data_and_none_is_left_behind() {
    let dir = temporary_folder().unwrap();
    let first = Postgres::start(options(&dir)).await.unwrap();
    let mut connection = PgConnection::connect(&first.url()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('hello')")
        .execute(&mut connection)
        .await
        .unwrap();
    let lock = std::fs::read_to_string(dir.path().join("postgres/cluster/postmaster.pid")).unwrap();
    let pid: i32 = lock.lines().next().unwrap().parse().unwrap();
    assert!(is_alive(pid));
    // Still connected: a stop does not wait for clients to leave.
    first.stop().await.unwrap();
    assert!(!is_alive(pid));

    let second = Postgres::start(options(&dir)).await.unwrap();
    let mut connection = PgConnection::connect(&second.url()).await.unwrap();
    let word: String = sqlx::query_scalar("SELECT word FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(word, "hello");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_kill_minus_nine_the_next_server_waits_for_the_old_one_and_has_its_data() {
    if let Some(dir) = victims_folder() {
        let options = PostgresOptions { data_dir: dir.join("postgres"), durable: false };
        let server = Postgres::start(options).await.unwrap();
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        sqlx::raw_sql("CREATE TABLE kept (word text)").execute(&mut connection).await.unwrap();
        ready_to_die(&dir).await;
    }
    let dir = temporary_folder().unwrap();
    let name = "parts::postgres::after_a_kill_minus_nine_the_next_server_waits_for_the_old_one_and_has_its_data";
    Victim::start(name, dir.path()).await.kill();
    let server = Postgres::start(options(&dir)).await.unwrap();
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::raw_sql("SELECT word FROM kept").execute(&mut connection).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn two_servers_live_side_by_side_and_only_a_durable_one_syncs() {
    let (one, two) = (temporary_folder().unwrap(), temporary_folder().unwrap());
    let durable = PostgresOptions { durable: true, ..options(&two) };
    let (fast, safe) = tokio::try_join!(Postgres::start(options(&one)), Postgres::start(durable)).unwrap();
    assert_ne!(fast.port(), safe.port());
    for (server, expected) in [(&fast, "off"), (&safe, "on")] {
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.unwrap();
        assert_eq!(fsync, expected);
    }
    let (fast, safe) = tokio::join!(fast.stop(), safe.stop());
    fast.and(safe).unwrap();
}

#[tokio::test]
async fn an_initialisation_that_was_cut_short_is_done_anew() {
    let dir = temporary_folder().unwrap();
    let half_made = dir.path().join("postgres/cluster.new");
    std::fs::create_dir_all(&half_made).unwrap();
    std::fs::write(half_made.join("PG_VERSION"), "15").unwrap();
    let server = Postgres::start(options(&dir)).await.unwrap();
    PgConnection::connect(&server.url()).await.unwrap();
    assert!(!half_made.exists());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn as_root_a_folder_that_the_servers_user_cannot_get_to_is_refused_by_name() {
    let closed = temporary_folder().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let result = Postgres::start(options(&closed)).await;
    if Uid::effective().is_root() {
        let error = result.unwrap_err();
        assert!(matches!(error, PartsError::Input { field: "data folder", .. }), "{error}");
        assert!(error.to_string().contains(&closed.path().display().to_string()), "{error}");
    } else {
        result.unwrap().stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_cluster_that_cannot_start_is_an_error_with_the_servers_own_words() {
    let dir = temporary_folder().unwrap();
    Postgres::start(options(&dir)).await.unwrap().stop().await.unwrap();
    std::fs::remove_file(dir.path().join("postgres/cluster/global/pg_control")).unwrap();
    let error = Postgres::start(options(&dir)).await.unwrap_err();
    assert!(error.to_string().contains("could not find the database system"), "{error}");
}
