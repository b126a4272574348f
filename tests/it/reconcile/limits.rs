//! Sources, builds and services that ask for more than they may.

use panda::domain::catalogue::Lang;
use panda::domain::failure::ErrorCode;
use panda::sandbox::git::SourceFile;

use super::events;
use super::failures::{fails, said};
use crate::support::world::World;

#[tokio::test]
async fn a_service_at_an_address_that_health_checks_may_not_reach_is_never_asked() {
    let world = World::start().await;
    // The sandbox's services are on this machine, as the metadata service of a cloud is.
    let failed = fails(&world, &["--health-allow=10.20.0.0/16"], "main", ErrorCode::GreenUnhealthy).await;
    assert!(said(&world, &failed.id).await.contains("127.0.0.1 may not be reached"));
}

#[tokio::test]
async fn a_repository_over_the_limit_fails_with_the_option_that_raises_it() {
    let world = World::start().await;
    let failed = fails(&world, &["--source-max-files=2"], "main", ErrorCode::SourceTooLarge).await;
    assert!(said(&world, &failed.id).await.contains("PANDA_SOURCE_MAX_FILES"));
}

#[tokio::test]
async fn what_a_fetch_leaves_out_is_told() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n";
    let world = World::with_files(vec![SourceFile::new("model.bin", pointer)]).await;
    let failed = fails(&world, &[], "main", ErrorCode::DockerfileNotFound).await;
    let told = events(&world, &failed.id).await;
    let left_out = told.iter().find(|event| event.code == "source_left_out").unwrap().render(Lang::En);
    assert!(left_out.message.contains("model.bin"), "{left_out:?}");
    assert_eq!(left_out.details.unwrap()["lfsFiles"], 1);
}

#[tokio::test]
async fn an_image_that_unpacks_to_too_much_is_neither_pushed_nor_kept() {
    let dockerfile = "FROM busybox:1\nRUN head -c 50000000 /dev/zero > /bomb\n";
    let world = World::with_files(vec![SourceFile::new("Dockerfile", dockerfile)]).await;
    let failed = fails(&world, &["--image-max-bytes=20000000"], "main", ErrorCode::BuildFailed).await;
    assert!(said(&world, &failed.id).await.contains("PANDA_IMAGE_MAX_BYTES"));
    let image = format!("{}:{}", world.ecr_repository(), failed.id);
    assert!(world.engine.docker().inspect_image(&image).await.is_err(), "the engine has it no more");
    assert_eq!(world.sandbox.effects(&world.ecr_repository()).created, 0, "nothing was prepared for a push");
}

#[tokio::test]
async fn a_dockerfile_that_prints_without_end_leaves_no_more_than_the_limit() {
    let dockerfile = "FROM busybox:1\nRUN yes flood | head -n 200000; exit 1\n";
    let world = World::with_files(vec![SourceFile::new("Dockerfile", dockerfile)]).await;
    let failed = fails(&world, &["--build-max-output=20000"], "main", ErrorCode::BuildFailed).await;
    assert!(events(&world, &failed.id).await.len() < 400);
}
