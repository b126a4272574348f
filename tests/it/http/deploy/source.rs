//! Source, build options and reason of a deployment.

use pretty_assertions::assert_eq;
use secrecy::SecretString;
use serde_json::{Value, json};

use panda::domain::Caller;

use super::{DeployApi, PATH};
use crate::http::count;

const MESSAGE: &str = "배포가 시작되었습니다.";
const COMMIT: &str = "9fceb02d0ae598e95dc970b74767f19372d61af8";
const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

async fn env() -> DeployApi {
    DeployApi::serve(json!({"concurrency": "queue"})).await
}

impl DeployApi {
    pub(super) async fn started(&self, what: &Value) -> String {
        self.deploy(what, None).await.data(MESSAGE)["deploymentId"].as_str().unwrap().to_owned()
    }

    async fn result(&self, id: &str) -> Value {
        self.api.get(&format!("{PATH}/{id}/result")).await.data("배포 결과 조회 성공")
    }

    async fn set_secret(&self, name: &str) {
        let value = SecretString::from("a long secret");
        panda::commands::build_secrets::set_build_secret(&self.db.db, &self.github, name, &value, &Caller::local())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn source__shown_as_requested() {
    let env = env().await;
    let requested = |field: &str, value: &str| {
        let mut all =
            json!({"branch": null, "commit": null, "tag": null, "image": null, "reason": null, "kind": "planned"});
        all[field] = json!(value);
        all
    };
    for (field, given, shown) in [
        ("branch", "feature/x", "feature/x"),
        ("tag", "v1.2.0", "v1.2.0"),
        ("commit", &*COMMIT.to_uppercase(), COMMIT),
        ("image", DIGEST, DIGEST),
        ("image", &*format!("123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/acme-shop@{DIGEST}"), DIGEST),
    ] {
        let id = env.started(&json!({field: given})).await;
        let result = env.result(&id).await;
        assert_eq!(result["requested"], requested(field, shown));
        let branch = if field == "branch" { json!(shown) } else { Value::Null };
        assert_eq!((&result["branch"], &result["commitSha"]), (&branch, &Value::Null), "{field}");
        let list = env.api.get(PATH).await.data("배포 목록 조회 성공");
        assert_eq!(list["deployments"][0]["requested"], requested(field, shown));
        assert_eq!(list["deployments"][0]["branch"], branch);
    }
}

#[tokio::test]
async fn source__build_reason_and_kind_in_result_audit_and_report() {
    let env = env().await;
    env.set_secret("npm").await;
    let build = json!({
        "dockerfile": "services/api/Dockerfile", "context": "services/api", "target": "runtime", "args": {"VERSION": "1.2.0"},
        "platform": "linux/arm64", "secrets": ["npm"],
    });
    let what = json!({"tag": "v1", "build": build, "reason": "Prices were wrong", "kind": "hotfix"});
    let id = env.started(&what).await;
    let requested = env.result(&id).await["requested"].clone();
    assert_eq!(
        (&requested["build"], &requested["reason"], &requested["kind"]),
        (&build, &what["reason"], &what["kind"])
    );
    let list = env.api.get(PATH).await.data("배포 목록 조회 성공");
    let item = &list["deployments"][0]["requested"];
    assert_eq!((item["kind"].as_str(), item.get("build")), (Some("hotfix"), None), "what may be large is left out");

    let mut psql = env.db.psql().await;
    let details: Value = sqlx::query_scalar("SELECT details FROM audit WHERE action = 'deploy' AND target = $1")
        .bind(&id)
        .fetch_one(&mut psql)
        .await
        .unwrap();
    for name in ["tag", "build", "reason", "kind"] {
        assert_eq!(details[name], what[name], "{name}");
    }
    let report: Value = sqlx::query_scalar(
        "SELECT jsonb_build_object('branch', branch, 'requested', requested, 'requested_name', requested_name, 'kind', kind, 'reason', reason,
                                   'build', build)
         FROM panda_report.deployments_v1 WHERE deployment_id = $1",
    )
    .bind(&id)
    .fetch_one(&mut psql)
    .await
    .unwrap();
    let expected = json!({
        "branch": "tag v1", "requested": "tag", "requested_name": "v1", "kind": "hotfix", "reason": "Prices were wrong", "build": build,
    });
    assert_eq!(report, expected);
}

#[tokio::test]
async fn source__invalid_refused_with_remedy() {
    let env = env().await;
    env.set_secret("npm").await;
    let foreign = format!("999999999999.dkr.ecr.ap-northeast-2.amazonaws.com/acme-shop@{DIGEST}");
    for (what, field, says) in [
        (json!({}), "branch", "exactly one of"),
        (json!({"branch": null}), "branch", "exactly one of"),
        (json!({"branch": "main", "tag": "v1"}), "tag", "together with branch"),
        (json!({"commit": COMMIT, "image": DIGEST}), "image", "together with commit"),
        (json!({"branch": "a..b"}), "branch", "Git branch"),
        (json!({"tag": "v1^{}"}), "tag", "Git tag"),
        (json!({"tag": 1}), "tag", "string"),
        (json!({"commit": "9fceb02"}), "commit", "git rev-parse"),
        (json!({"image": "latest"}), "image", "describe-images"),
        (json!({"image": foreign}), "image", "copy the image"),
        (json!({"image": DIGEST, "build": {"target": "x"}}), "build", "leave it out"),
        (json!({"branch": "main", "kind": "urgent"}), "kind", "hotfix"),
        (json!({"branch": "main", "reason": ""}), "reason", "1 to 500"),
        (json!({"branch": "main", "reason": "a\nb"}), "reason", "line break"),
        (json!({"branch": "main", "reason": "x".repeat(501)}), "reason", "1 to 500"),
        (json!({"branch": "main", "build": []}), "build", "JSON object"),
        (json!({"branch": "main", "build": {"dockerfil": "x"}}), "build.dockerfil", "is not a known field"),
        (json!({"branch": "main", "build": {"dockerfile": "../x"}}), "build.dockerfile", "within the repository"),
        (json!({"branch": "main", "build": {"context": "/etc"}}), "build.context", "within the repository"),
        (json!({"branch": "main", "build": {"target": "a b"}}), "build.target", "stage"),
        (json!({"branch": "main", "build": {"args": {"BUILDKIT_SYNTAX": "x"}}}), "build.args", "BUILDKIT_SYNTAX"),
        (json!({"branch": "main", "build": {"args": {"A": 1}}}), "build.args.A", "string"),
        (json!({"branch": "main", "build": {"args": {"A": "\u{0}"}}}), "build.args", "NUL"),
        (json!({"branch": "main", "build": {"platform": "linux"}}), "build.platform", "linux/amd64"),
        (json!({"branch": "main", "build": {"secrets": ["npm", "npm"]}}), "build.secrets[1]", "twice"),
        (
            json!({"branch": "main", "build": {"secrets": ["npm", "other"]}}),
            "build.secrets[1]",
            "secrets/other stores one",
        ),
    ] {
        let answer = env.deploy(&what, None).await;
        assert_eq!(answer.refused_field("INVALID_FIELD"), field, "{what}");
        assert!(answer.text.contains(says), "{what}: {}", answer.text);
    }
    assert_eq!(count(&env.db, "deployments").await, 0);
}

#[tokio::test]
async fn source__differs_under_same_key_refused() {
    let env = env().await;
    let first = env.deploy(&json!({"tag": "v1", "reason": "x"}), Some("key-1")).await;
    let again = env.deploy(&json!({"reason": "x", "tag": "v1"}), Some("key-1")).await;
    assert_eq!((again.status, &again.text), (200, &first.text));
    for other in [json!({"tag": "v2", "reason": "x"}), json!({"branch": "v1", "reason": "x"}), json!({"tag": "v1"})] {
        env.deploy(&other, Some("key-1")).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    }
    assert_eq!(count(&env.db, "deployments").await, 1);
}
