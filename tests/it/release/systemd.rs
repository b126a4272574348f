//! `packaging/panda.service`: valid, hardened, and its command starts a server.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use panda_testing::process::command::command;
use panda_testing::process::free_address;
use panda_testing::serve::ServeBuilder;
use panda_testing::{KEY_FILE, Program as _, root, text, wait_for};

use super::{installed, known, succeeds};
use crate::reconcile::{deploy, status};
use crate::support::commands::Commands as _;
use crate::support::db::TestDb;
use crate::support::environment::Environment;
use crate::support::panda::Panda;

const UNIT: &str = "packaging/panda.service";
const SETTINGS: &str = "packaging/panda.env";
const TOKEN: &str = "only-the-tests-know-this-token-of-theirs";

/// The unit's lines, continued ones joined.
fn lines() -> Vec<String> {
    let unit = text(UNIT).replace("\\\n", " ");
    unit.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// What the unit sets, in order: a setting may occur several times.
fn values(setting: &str) -> Vec<String> {
    let begin = format!("{setting}=");
    lines().iter().filter_map(|line| line.strip_prefix(&begin)).map(str::to_owned).collect()
}

/// Variables in lines of the form `NAME=value`.
fn variables(lines: &str) -> BTreeMap<String, String> {
    let lines = lines.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn systemd_unit__valid_and_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("panda.service");
    // The tool also checks that the program exists.
    let with_program = text(UNIT).replace("/usr/local/bin/panda", Panda::path().to_str().unwrap());
    std::fs::write(&unit, with_program).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&unit).output().unwrap();
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !warnings.contains("panda.service"), "{warnings}");
    // Exposure of at most 1.5 of 10: what is left is the network, and sockets.
    succeeds(
        Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=15"]).arg(root().join(UNIT)),
    );
}

#[test]
fn systemd_unit__options_known_and_secrets_are_credentials() {
    let settings = text(SETTINGS);
    // Suggestions in comments are checked as well.
    let suggested = settings.replace("\n#PANDA_", "\nPANDA_");
    let suggested = variables(&suggested);
    assert!(suggested.len() >= 6, "{suggested:?}");
    known(SETTINGS, suggested.keys().map(String::as_str));
    known(UNIT, variables(&values("Environment").join("\n")).keys().map(String::as_str));
    for secret in ["DATABASE_URL", "KEYS", "TOKEN", "SECRET", "PASSWORD"] {
        assert!(!suggested.keys().any(|name| name.contains(secret)), "{SETTINGS} has {secret}");
    }
    let given: Vec<String> =
        values("LoadCredential").iter().map(|value| value.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(given, ["database-url", "keys", "admin-token"]);
    let command = values("ExecStart").remove(0);
    for credential in given {
        assert!(command.contains(&format!("-file=${{CREDENTIALS_DIRECTORY}}/{credential}")), "{command}");
    }
}

#[tokio::test]
async fn systemd_unit__its_command_starts_a_server() {
    let db = TestDb::new().await.into_owners();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), format!("{text}\n")).unwrap();
    write("database-url", db.url());
    write("keys", &std::fs::read_to_string(KEY_FILE).unwrap());
    write("admin-token", TOKEN);

    let line = values("ExecStart").remove(0).replace("${CREDENTIALS_DIRECTORY}", folder.path().to_str().unwrap());
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some("/usr/local/bin/panda"));
    let mut server = command(&Panda::path(), &words.collect::<Vec<_>>());
    let listen = free_address();
    server.envs(variables(&values("Environment").join("\n"))).envs(variables(&text(SETTINGS)));
    server.env("PANDA_LISTEN", listen.to_string()).env("PANDA_WORKSPACE_DIR", folder.path().join("workspaces"));
    server.env("AWS_ACCESS_KEY_ID", "none").env("AWS_SECRET_ACCESS_KEY", "none");
    let mut server = server.spawn().unwrap();
    serves(&format!("http://{listen}"), TOKEN).await;

    kill(Pid::from_raw(server.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(server.wait().await.unwrap().success());
}

/// A whole deployment, with the child that fetches sources, under the filter that systemd would apply; there is no systemd here to do it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_unit__deploys_under_its_system_call_filter() {
    let env = Environment::start().await;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("panda");
    let words =
        [&installed("python"), &root().join("crates/testing/systemd_filter.py"), &root().join(UNIT), &Panda::path()];
    let words = words.map(|path| path.display().to_string()).join(" ");
    std::fs::write(&program, format!("#!/bin/sh\nexec {words} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = ServeBuilder::of(&program).environment(&env).ready().await;
    let filter = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(filter.contains("Seccomp:\t2\n") && filter.contains("NoNewPrivs:\t1\n"), "{filter}");

    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    server.signal(Signal::SIGTERM);
    assert!(server.wait().await.success(), "{}", server.log());
}

/// Waits until the server is ready, and checks that it requires this token.
pub(super) async fn serves(url: &str, token: &str) {
    let client = reqwest::Client::new();
    wait_for("the server is ready", async || {
        client.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let list = client.get(format!("{url}/api/v1/deploy"));
    assert_eq!(list.try_clone().unwrap().send().await.unwrap().status(), 401);
    assert_eq!(list.bearer_auth(token).send().await.unwrap().status(), 200);
}
