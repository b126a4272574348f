//! The demo is the main job, told as a newcomer sees it.

use super::{panda, run};

#[tokio::test]
async fn the_demo_takes_a_repository_to_completed_and_leaves_no_folder() {
    let temporary = panda::sandbox::parts::temporary_folder().unwrap();
    let ended = run(panda(&["demo", "--lang", "ko"]).env("TMPDIR", temporary.path())).await;
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    for part in [
        "[Step 1] EventBridge 규칙 생성 완료",
        "[Stage 4] Green 서비스 배포 완료 - 트래픽 전환 대기 중",
        "hello from version 1",
        "Deployment completed successfully",
        "COMPLETED",
        "hello from version 2",
    ] {
        assert!(ended.stdout.contains(part), "{part} is missing:\n{}", ended.stdout);
    }
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
