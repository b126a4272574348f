//! A service of a compose file in a container, as Docker Compose would run it, as far as an engine can: on the host's network.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use panda_dev_services::Engine;
use serde_json::{Value, json};

use crate::container::{Contained, Given};

/// Starts `service` with `image`. `secrets` is a folder with the service's secrets by name, in which folders for its tmpfs are created.
pub async fn start(
    engine: &Engine,
    image: &str,
    service: &Value,
    changed: &[(&str, String)],
    secrets: &Path,
) -> Contained {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let environment = service["environment"].as_object().unwrap();
    let mut env: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    env.extend(changed.iter().map(|(name, value)| format!("{name}={value}")));
    let mounted = |name: &Value| format!("{}:/run/secrets/{}:ro", secrets.join(text(name)).display(), text(name));
    let mut binds: Vec<String> = service["secrets"].as_array().unwrap().iter().map(mounted).collect();
    for target in service["tmpfs"].as_array().unwrap() {
        let (path, mode) = target.as_str().unwrap().split_once(":mode=").unwrap();
        let folder = secrets.join(path.trim_start_matches('/'));
        std::fs::create_dir(&folder).unwrap();
        let mode = u32::from_str_radix(mode, 8).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
        binds.push(format!("{}:{path}", folder.display()));
    }
    assert_eq!(
        (&service["read_only"], &service["cap_drop"]),
        (&json!(true), &json!(["ALL"])),
        "as `Contained` runs it"
    );
    let args = service["command"].as_array().unwrap().iter().map(text).collect();
    Contained::start(engine.docker(), image, Given { args, env, binds, memory: 1 << 30, ..Given::default() }).await
}
