use std::os::unix::fs::PermissionsExt as _;

use nix::unistd::Uid;
use panda_dev_services::{DevServicesError, Postgres, PostgresOptions, password_file, temporary_folder};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};

use super::{Victim, is_alive, ready_to_die, victims_folder};

fn options(dir: &tempfile::TempDir) -> PostgresOptions {
    PostgresOptions { data_dir: dir.path().join("postgres"), durable: false }
}

#[tokio::test]
async fn postgres_service__restart_keeps_data_and_no_orphan() {
    let dir = temporary_folder().unwrap();
    let first = Postgres::start(options(&dir)).await.unwrap();
    let mut connection = PgConnection::connect(first.url().expose_secret()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('hello')")
        .execute(&mut connection)
        .await
        .unwrap();
    let lock = std::fs::read_to_string(dir.path().join("postgres/cluster/postmaster.pid")).unwrap();
    let pid: i32 = lock.lines().next().unwrap().parse().unwrap();
    assert!(is_alive(pid));
    // Still connected: a stop does not wait for clients to disconnect.
    first.stop().await.unwrap();
    assert!(!is_alive(pid));

    let second = Postgres::start(options(&dir)).await.unwrap();
    let mut connection = PgConnection::connect(second.url().expose_secret()).await.unwrap();
    let word: String = sqlx::query_scalar("SELECT word FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(word, "hello");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_service__restart_after_sigkill_has_data() {
    if let Some(dir) = victims_folder() {
        let options = PostgresOptions { data_dir: dir.join("postgres"), durable: false };
        let server = Postgres::start(options).await.unwrap();
        let mut connection = PgConnection::connect(server.url().expose_secret()).await.unwrap();
        sqlx::raw_sql("CREATE TABLE kept (word text)").execute(&mut connection).await.unwrap();
        ready_to_die(&dir).await;
    }
    let dir = temporary_folder().unwrap();
    let name = "dev_services::postgres::postgres_service__restart_after_sigkill_has_data";
    Victim::start(name, dir.path()).await.kill();
    let server = Postgres::start(options(&dir)).await.unwrap();
    let mut connection = PgConnection::connect(server.url().expose_secret()).await.unwrap();
    sqlx::raw_sql("SELECT word FROM kept").execute(&mut connection).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_service__two_servers_and_only_durable_syncs() {
    let (one, two) = (temporary_folder().unwrap(), temporary_folder().unwrap());
    let durable = PostgresOptions { durable: true, ..options(&two) };
    let (fast, safe) = tokio::try_join!(Postgres::start(options(&one)), Postgres::start(durable)).unwrap();
    assert_ne!(fast.port(), safe.port());
    for (server, expected) in [(&fast, "off"), (&safe, "on")] {
        let mut connection = PgConnection::connect(server.url().expose_secret()).await.unwrap();
        let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.unwrap();
        assert_eq!(fsync, expected);
    }
    let (fast, safe) = tokio::join!(fast.stop(), safe.stop());
    fast.and(safe).unwrap();
}

#[tokio::test]
async fn postgres_service__interrupted_initialisation_repeated() {
    let dir = temporary_folder().unwrap();
    let half_made = dir.path().join("postgres/cluster.new");
    std::fs::create_dir_all(&half_made).unwrap();
    std::fs::write(half_made.join("PG_VERSION"), "15").unwrap();
    let server = Postgres::start(options(&dir)).await.unwrap();
    PgConnection::connect(server.url().expose_secret()).await.unwrap();
    assert!(!half_made.exists());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_service__folder_inaccessible_to_server_user_named() {
    let closed = temporary_folder().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let result = Postgres::start(options(&closed)).await;
    if Uid::effective().is_root() {
        let error = result.unwrap_err();
        assert!(matches!(error, DevServicesError::Input { field: "data folder", .. }), "{error}");
        assert!(error.to_string().contains(&closed.path().display().to_string()), "{error}");
    } else {
        result.unwrap().stop().await.unwrap();
    }
}

#[tokio::test]
async fn postgres_service__failed_start_shows_server_output() {
    let dir = temporary_folder().unwrap();
    Postgres::start(options(&dir)).await.unwrap().stop().await.unwrap();
    std::fs::remove_file(dir.path().join("postgres/cluster/global/pg_control")).unwrap();
    let error = Postgres::start(options(&dir)).await.unwrap_err();
    assert!(error.to_string().contains("could not find the database system"), "{error}");
}

/// The URL without the password.
fn bare(url: &str) -> String {
    let mut url: url::Url = url.parse().unwrap();
    url.set_password(None).unwrap();
    url.into()
}

async fn refuses(url: &str) {
    let error = PgConnection::connect(url).await.unwrap_err();
    assert!(error.to_string().contains("password"), "{error}");
}

#[tokio::test]
async fn postgres_service__password_required_and_private() {
    let dir = temporary_folder().unwrap();
    let server = Postgres::start(options(&dir)).await.unwrap();
    assert!(!format!("{server:?}").contains(server.url().expose_secret()));
    assert_eq!(bare(server.url().expose_secret()), server.shown_url());
    refuses(&server.shown_url()).await;
    refuses(&server.shown_url().replace("postgres@", "postgres:guess@")).await;
    let file = password_file(&dir.path().join("postgres"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    if Uid::effective().is_root() {
        let read =
            std::process::Command::new("runuser").args(["-u", "nobody", "--", "cat"]).arg(&file).output().unwrap();
        assert!(!read.status.success() && read.stdout.is_empty());
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_service__older_trusting_folder_secured() {
    let dir = temporary_folder().unwrap();
    let first = Postgres::start(options(&dir)).await.unwrap();
    let mut connection = PgConnection::connect(first.url().expose_secret()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (word text); ALTER ROLE postgres PASSWORD NULL")
        .execute(&mut connection)
        .await
        .unwrap();
    first.stop().await.unwrap();
    let folder = dir.path().join("postgres");
    std::fs::remove_file(password_file(&folder)).unwrap();
    let rules = folder.join("cluster/pg_hba.conf");
    std::fs::write(&rules, "local all all trust\nhost all all 127.0.0.1/32 trust\n").unwrap();

    let second = Postgres::start(options(&dir)).await.unwrap();
    refuses(&second.shown_url()).await;
    let mut connection = PgConnection::connect(second.url().expose_secret()).await.unwrap();
    sqlx::raw_sql("SELECT word FROM kept").execute(&mut connection).await.unwrap();
    let before = second.url_of("x").expose_secret().split('@').next().unwrap().to_owned();
    second.stop().await.unwrap();
    let third = Postgres::start(options(&dir)).await.unwrap();
    assert!(third.url().expose_secret().starts_with(&before), "the password stays");
    third.stop().await.unwrap();
}
