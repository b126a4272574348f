//! `panda demo` and `panda up` as a newcomer uses them.

use std::path::Path;
use std::process::Stdio;

use panda_testing::Program as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{panda, run};
use crate::clients::docker::{build, context, engine, name};
use crate::support::panda::Panda;

#[tokio::test]
async fn cli_demo__completes_and_leaves_no_folder() {
    let temporary = panda_dev_services::temporary_folder().unwrap();
    let ended = run(panda(&["demo", "--lang", "ko"]).env("TMPDIR", temporary.path())).await;
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    for part in [
        "[Step 1] EventBridge 규칙 생성 완료",
        "[Stage 4] Green 서비스 배포 완료 - 트래픽 전환 대기 중",
        "hello from version 1",
        "배포를 완료했습니다",
        "COMPLETED",
        "hello from version 2",
    ] {
        assert!(ended.stdout.contains(part), "{part} is missing:\n{}", ended.stdout);
    }
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn cli_demo__canary_and_rollback_show_the_traffic_moving() {
    let ended = run(&mut panda(&["demo", "--rollout", "canary", "--rollback", "--lang", "en"])).await;
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    let order = [
        "10 % of the traffic is on green. Approving the next part",
        "After the switch, it says: hello from version 2",
        "Rolling back",
        "all traffic is on the earlier version (blue) again",
        "ROLLED_BACK_AFTER_SWITCH",
        "after the request for the rollback",
    ];
    let at: Vec<Option<usize>> = order.iter().map(|part| ended.stdout.find(part)).collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{at:?}:\n{}", ended.stdout);
    assert!(ended.stdout.rsplit_once("says:").unwrap().1.contains("hello from version 1"), "{}", ended.stdout);
}

#[tokio::test]
async fn cli_up__invalid_scenario_named() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text, field) in [
        ("a.toml", "[faults]\nhistoryLag = 1\n", "historyLag"),
        ("b.json", r#"{"region": "mars-1"}"#, "mars-1"),
        ("c.toml", "[faults.calls.\"sfn:X\"]\ndeny = true\n", "sfn:X"),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        let ended = run(panda(&["up", "--scenario"]).arg(&file)).await;
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(field) && ended.stderr.contains(name), "{}", ended.stderr);
    }
    let ended = run(panda(&["up", "--scenario"]).arg(dir.path().join("none.toml"))).await;
    assert_eq!(ended.code, 2, "{}", ended.stderr);
}

/// `panda up` as a process, and its output.
struct Up {
    child: tokio::process::Child,
    text: String,
    _dir: tempfile::TempDir,
}

impl Up {
    async fn start() -> Self {
        let dir = panda_dev_services::temporary_folder().unwrap();
        let mut command = panda(&["up", "--listen", "127.0.0.1:0", "--data-dir"]);
        let mut child = command.arg(dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut text = String::new();
        while !text.contains("git clone -q") {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended: {text}"));
            text += &line;
            text.push('\n');
        }
        Self { child, text, _dir: dir }
    }

    /// The word after `label`.
    fn word(&self, label: &str) -> &str {
        let (_, rest) = self.text.split_once(label).unwrap_or_else(|| panic!("{label} is missing: {}", self.text));
        rest.split_whitespace().next().unwrap()
    }

    async fn stop(mut self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT).unwrap();
        self.child.wait().await.unwrap();
    }
}

/// The README's commands for it, and those that it prints, as they are.
#[tokio::test]
async fn cli_up__readme_and_printed_commands_work() {
    let up = Up::start().await;
    let server = up.word("Panda is at ");
    let token_file = up.word("export PANDA_TOKEN_FILE=");
    let shell = async |command: &str| {
        let script = format!("export PANDA_TOKEN_FILE={token_file} PANDA_SERVER={server}; {command}");
        run(&mut panda_testing::process::command::command(Path::new("sh"), &["-c", &script])).await
    };
    assert!(up.text.contains("GitHub token "), "{}", up.text);
    let printed = up.text.lines().find(|line| line.contains(" connect github ")).unwrap();
    let connected = shell(printed).await;
    assert!(connected.code == 0 && connected.stdout.starts_with("gh_"), "{connected:?}");

    let (_, readme) = include_str!("../../../README.md").split_once("export PANDA_TOKEN_FILE=").unwrap();
    let folder = Path::new(token_file).parent().unwrap().to_str().unwrap();
    let program = Panda::path();
    let command = |start: &str| {
        let line = readme.lines().find(|line| line.starts_with(start)).unwrap();
        let line = line.split(" # ").next().unwrap().replace("/var/lib/panda", folder);
        line.replacen("panda", program.to_str().unwrap(), 1)
    };
    let again = shell(&command("panda connect github")).await;
    assert_eq!((again.code, &again.stdout), (0, &connected.stdout), "{again:?}");
    let ready = shell(&format!("unset PANDA_SERVER; {} --server {server}", command("panda deploy"))).await;
    assert_eq!(ready.code, 0, "{ready:?}");
    let id = ready.stdout.split_whitespace().find(|word| word.starts_with("dep_")).unwrap();
    // What it suggests names the server, too.
    let (_, suggested) = ready.stdout.split_once("Move the traffic with: ").unwrap_or_else(|| panic!("{ready:?}"));
    assert!(suggested.trim().ends_with(&format!("switch {id} --wait --server {server}")), "{ready:?}");
    let completed = shell(&command("panda switch").replace("dep_…", &id[..10])).await;
    assert!(completed.code == 0 && completed.stdout.contains("COMPLETED"), "{completed:?}");
    let refused = shell(&format!("unset PANDA_SERVER; {}", suggested.trim())).await;
    assert!(refused.code == 4 && refused.stderr.contains("ALREADY_SWITCHED"), "{refused:?}");
    up.stop().await;
}

/// Postgres' answer to a client's first message, in hexadecimal: `52` and the kind of authentication, 0 for none.
fn ask_postgres(port: &str) -> String {
    format!(
        r"printf '\0\0\0\046\0\003\0\0user\0postgres\0database\0panda\0\0' | nc -w 5 127.0.0.1 {port} | head -c 9 | od -An -tx1 | tr -d ' \n'"
    )
}

#[tokio::test]
async fn cli_up__loopback_services_need_secrets() {
    let up = Up::start().await;
    let server = up.word("Panda is at ").to_owned();
    let token_file = up.word("export PANDA_TOKEN_FILE=").to_owned();
    let port = up.word("postgres://postgres@127.0.0.1:").split('/').next().unwrap().to_owned();
    let sandbox = up.word("Sandbox (AWS)").to_owned();
    let token = std::fs::read_to_string(&token_file).unwrap();
    assert!(!up.text.contains(token.trim()), "the token is only in its file");

    // The API.
    let client = reqwest::Client::new();
    let connections = format!("{server}/api/v1/connections");
    assert_eq!(client.get(&connections).send().await.unwrap().status(), 401);
    let known = client.get(&connections).bearer_auth(token.trim()).send().await.unwrap();
    assert_eq!(known.status(), 200);
    let listed = run(panda(&["list", "--server", &server]).env("PANDA_TOKEN_FILE", &token_file)).await;
    assert_eq!(listed.code, 0, "{}", listed.stderr);

    // The sandbox: neither its own calls, nor calls of an account under a formerly well-known key id.
    let faults = client.put(format!("{sandbox}_sandbox/faults")).body("{}").send().await.unwrap();
    assert_ne!(faults.status(), 200);
    let scope = "AKIAPANDAUSER0000001/20260101/ap-northeast-2/ecr/aws4_request";
    let asked = client
        .post(&sandbox)
        .header("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
        .header("authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
        .body("{}");
    assert_eq!(asked.send().await.unwrap().status(), 400);

    // Another user of the machine.
    let as_nobody = |script: &str| {
        let mut command = std::process::Command::new("runuser");
        command.args(["-u", "nobody", "--", "sh", "-c", script]).output().unwrap()
    };
    if nix::unistd::Uid::effective().is_root() {
        let data = Path::new(&token_file).parent().unwrap();
        for secret in ["admin-token", "github-token", "sandbox-keys", "keys", "postgres/password", "registry/htpasswd"]
        {
            let path = data.join(secret);
            assert!(path.exists(), "{secret}");
            assert!(!as_nobody(&format!("cat {}", path.display())).status.success(), "{secret}");
        }
    }

    // A RUN line, which reaches this machine's loopback where the engine shares the host's network.
    let dockerfile = format!(
        "FROM busybox:1\nRUN echo \"postgres=$({postgres})\"; wget -q -O- {connections} && echo api=open || echo api=closed\n",
        postgres = ask_postgres(&port)
    );
    let folder = context(&[("Dockerfile", &dockerfile)]);
    let tag = name();
    let (built, lines) = build(folder.path(), &tag, &[]).await;
    built.unwrap();
    let lines = lines.join("\n");
    assert!(lines.contains("api=closed"), "{lines}");
    assert!(!lines.contains("postgres=520000000800000000"), "no sign-in is asked for: {lines}");
    assert!(lines.contains("postgres=52") && lines.contains("0000000a"), "it asks for a password: {lines}");
    engine().remove_image(&tag).await.unwrap();
    up.stop().await;
}
