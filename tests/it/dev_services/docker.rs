use panda_dev_services::{DevServicesError, Engine, temporary_folder};

use super::{Victim, engine, is_alive, ready_to_die, run_in_folder, victims_folder};

#[tokio::test]
async fn private_engine__no_bridge_base_image_and_removed_after_stop() {
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
async fn private_engine__ends_after_sigkill_and_next_has_images() {
    if let Some(dir) = victims_folder() {
        let engine = Engine::start_private(&dir.join("docker")).await.unwrap();
        engine.ensure_base_image("busybox:1").await.unwrap();
        ready_to_die(&dir).await;
    }
    let dir = temporary_folder().unwrap();
    let name = "dev_services::docker::private_engine__ends_after_sigkill_and_next_has_images";
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
async fn private_engine__starts_in_deep_folder() {
    let dir = temporary_folder().unwrap();
    let engine = Engine::start_private(&dir.path().join("deep".repeat(30))).await.unwrap();
    assert_eq!(engine.docker().ping().await.unwrap(), "OK");
    engine.stop_and_remove().await.unwrap();
}

#[tokio::test]
async fn existing_engine__used_and_left_running() {
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
async fn base_image__unavailable_named_with_remedy() {
    let (engine, _dir) = engine().await;
    let error = engine.ensure_base_image("localhost:9/absent/has-this:1").await.unwrap_err();
    assert!(matches!(error, DevServicesError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("localhost:9/absent/has-this:1 could not be pulled"), "{error}");
    let error = engine.ensure_base_image("busybox").await.unwrap_err();
    assert!(error.to_string().contains("write it as name:tag"), "{error}");
    engine.stop_and_remove().await.unwrap();
}

/// Environment variables belong to a process, so the test runs itself in another one.
#[tokio::test]
async fn existing_engine__unreachable_docker_host_named() {
    if let Some(dir) = victims_folder() {
        let error = Engine::find_or_start(&dir.join("docker")).await.unwrap_err();
        std::fs::write(dir.join("error"), error.to_string()).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "dev_services::docker::existing_engine__unreachable_docker_host_named";
    for host in ["unix:///no/such/docker.sock", "tcp://127.0.0.1:1", "nonsense"] {
        let status = run_in_folder(name, dir.path(), &[("DOCKER_HOST", host)]);
        assert!(status.success());
        let error = std::fs::read_to_string(dir.path().join("error")).unwrap();
        assert!(error.contains(&format!("DOCKER_HOST is {host}, and no engine answers there")), "{error}");
    }
}
