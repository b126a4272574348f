//! Sources, builds and services that exceed their limits.

use panda::domain::catalogue::Lang;
use panda::domain::failure::ErrorCode;
use panda_sandbox::git::SourceFile;

use super::events;
use super::failures::{fails, said};
use crate::support::environment::Environment;

#[tokio::test]
async fn verify_green__forbidden_address_never_requested() {
    let env = Environment::start().await;
    // The sandbox's services are on this machine, like a cloud's metadata service.
    let failed = fails(&env, &["--health-allow=10.20.0.0/16"], "main", ErrorCode::GreenUnhealthy).await;
    assert!(said(&env, &failed.id).await.contains("127.0.0.1 may not be reached"));
}

#[tokio::test]
async fn fetch__repository_over_limit_names_option() {
    let env = Environment::start().await;
    let failed = fails(&env, &["--source-max-files=2"], "main", ErrorCode::SourceTooLarge).await;
    assert!(said(&env, &failed.id).await.contains("PANDA_SOURCE_MAX_FILES"));
}

#[tokio::test]
async fn fetch__omissions_reported() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n";
    let env = Environment::with_files(vec![SourceFile::new("model.bin", pointer)]).await;
    let failed = fails(&env, &[], "main", ErrorCode::DockerfileNotFound).await;
    let emitted = events(&env, &failed.id).await;
    let left_out = emitted.iter().find(|event| event.code == "source_left_out").unwrap().render(Lang::En);
    assert!(left_out.message.contains("model.bin"), "{left_out:?}");
    assert_eq!(left_out.details.unwrap()["lfsFiles"], 1);
}

#[tokio::test]
async fn image_limit__oversized_image_not_pushed_or_kept() {
    let dockerfile = "FROM busybox:1\nRUN head -c 50000000 /dev/zero > /bomb\n";
    let env = Environment::with_files(vec![SourceFile::new("Dockerfile", dockerfile)]).await;
    let failed = fails(&env, &["--image-max-bytes=20000000"], "main", ErrorCode::BuildFailed).await;
    assert!(said(&env, &failed.id).await.contains("PANDA_IMAGE_MAX_BYTES"));
    let image = format!("{}:{}", env.ecr_repository(), failed.id);
    assert!(env.engine.docker().inspect_image(&image).await.is_err(), "the engine no longer has it");
    assert_eq!(env.sandbox.effects(&env.ecr_repository()).created, 0, "nothing was prepared for a push");
}

#[tokio::test]
async fn build__endless_output_limited() {
    let dockerfile = "FROM busybox:1\nRUN yes flood | head -n 200000; exit 1\n";
    let env = Environment::with_files(vec![SourceFile::new("Dockerfile", dockerfile)]).await;
    let failed = fails(&env, &["--build-max-output=20000"], "main", ErrorCode::BuildFailed).await;
    assert!(events(&env, &failed.id).await.len() < 400);
}
