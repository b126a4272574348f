use panda::sandbox::parts::{Engine, PartsError, temporary_folder};

use super::{Victim, engine, is_alive, ready_to_die, run_in_folder, victims_folder};

#[tokio::test]
async fn a_private_engine_has_no_bridge_gets_the_base_image_and_is_gone_after_its_stop() {
    let dir = temporary_folder().unwrap();
    let engine = Engine::start_private(&dir.path().join("docker")).await.unwrap();
    assert!(engine.is_private());
    assert_eq!(engine.network_mode(), Some("host"));
    assert!(engine.has_image("busybox:1").await.unwrap());
    let pid: i32 = std::fs::read_to_string(dir.path().join("docker/docker.pid")).unwrap().trim().parse().unwrap();
    assert!(is_alive(pid));
    engine.stop_and_remove().await.unwrap();
    assert!(!is_alive(pid));
    assert!(!dir.path().join("docker").exists());
}

#[tokio::test]
async fn after_a_kill_minus_nine_a_private_engine_ends_and_the_next_one_has_its_images() {
    if let Some(dir) = victims_folder() {
        let engine = Engine::start_private(&dir.join("docker")).await.unwrap();
        engine.ensure_base_image("busybox:1").await.unwrap();
        ready_to_die(&dir).await;
    }
    let dir = temporary_folder().unwrap();
    let name = "parts::docker::after_a_kill_minus_nine_a_private_engine_ends_and_the_next_one_has_its_images";
    let victim = Victim::start(name, dir.path()).await;
    let pid_file = dir.path().join("docker/docker.pid");
    let pid = || std::fs::read_to_string(&pid_file).unwrap().trim().parse::<i32>().unwrap();
    let first = pid();
    victim.kill();
    let engine = Engine::start_private(&dir.path().join("docker")).await.unwrap();
    assert_ne!(pid(), first);
    assert!(!is_alive(first));
    assert!(engine.has_image("busybox:1").await.unwrap());
    engine.stop_and_remove().await.unwrap();
}

#[tokio::test]
async fn an_engine_in_a_folder_too_deep_for_sockets_starts_all_the_same() {
    let dir = temporary_folder().unwrap();
    let engine = Engine::start_private(&dir.path().join("deep".repeat(30))).await.unwrap();
    assert_eq!(engine.docker().ping().await.unwrap(), "OK");
    engine.stop_and_remove().await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_already_there_is_used_and_left_running() {
    let (first, _dir) = engine().await;
    let host = first.host().to_owned();
    if first.is_private() {
        first.stop_and_remove().await.unwrap();
        assert!(bollard::Docker::connect_with_host(&host).is_err());
    } else {
        first.stop().await.unwrap();
        bollard::Docker::connect_with_host(&host).unwrap().ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_base_image_that_can_be_had_from_nowhere_is_an_error_with_the_remedy() {
    let (engine, _dir) = engine().await;
    let error = engine.ensure_base_image("localhost:9/nobody/has-this:1").await.unwrap_err();
    assert!(matches!(error, PartsError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("localhost:9/nobody/has-this:1 could not be pulled"), "{error}");
    let error = engine.ensure_base_image("busybox").await.unwrap_err();
    assert!(error.to_string().contains("write it as name:tag"), "{error}");
    engine.stop_and_remove().await.unwrap();
}

/// Variables belong to a process, so the test runs itself in another one.
#[tokio::test]
async fn a_docker_host_where_no_engine_answers_is_an_error_that_names_it() {
    if let Some(dir) = victims_folder() {
        let error = Engine::find_or_start(&dir.join("docker")).await.unwrap_err();
        std::fs::write(dir.join("error"), error.to_string()).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "parts::docker::a_docker_host_where_no_engine_answers_is_an_error_that_names_it";
    for host in ["unix:///no/such/docker.sock", "tcp://127.0.0.1:1", "nonsense"] {
        let status = run_in_folder(name, dir.path(), &[("DOCKER_HOST", host)]);
        assert!(status.success());
        let error = std::fs::read_to_string(dir.path().join("error")).unwrap();
        assert!(error.contains(&format!("DOCKER_HOST is {host}, and no engine answers there")), "{error}");
    }
}
