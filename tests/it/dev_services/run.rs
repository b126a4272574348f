use std::ffi::OsString;

use panda_dev_services::{DevServices, DevServicesError, run_command, temporary_folder};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};

#[tokio::test]
async fn dev_services__run_command_with_its_exit_status() {
    let dir = temporary_folder().unwrap();
    let parts = DevServices::start(dir.path(), false).await.unwrap();
    let seen = dir.path().join("seen");
    let script = "printf '%s\\n' \"$DATABASE_URL\" \"$PANDA_DATABASE_URL\" \"$PANDA_TEST_DATABASE_URL\" \"$DOCKER_HOST\" > \"$1\"; exit 7";
    let argv: Vec<OsString> = ["sh".into(), "-c".into(), script.into(), "sh".into(), seen.clone().into()].into();
    let status = run_command(&parts, &argv).await.unwrap();
    assert_eq!(status.code(), Some(7));
    let text = std::fs::read_to_string(&seen).unwrap();
    let (url, host) = (parts.postgres.url().expose_secret().to_owned(), parts.engine.host().to_owned());
    assert_eq!(text, format!("{url}\n{url}\n{url}\n{host}\n"));

    let error = run_command(&parts, &[]).await.unwrap_err();
    assert!(matches!(error, DevServicesError::Input { field: "command", .. }), "{error}");
    let error = run_command(&parts, &["/no/such/program".into()]).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");

    parts.stop_and_remove().await.unwrap();
    assert!(PgConnection::connect(&url).await.is_err());
}
