//! The check of what a deployment needs: it reports each state, names what lacks, and changes nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use panda_sandbox::github::GitHub;
use panda_sandbox::{CallFault, Faults, RegistryAddress, Sandbox};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::aws::PATH;
use crate::http::{Api, ExternalServices, external_services};
use crate::sandbox::harness;
use crate::support::db::TestDb;

/// Limit of a check, as its callers see it.
const LIMIT: Duration = Duration::from_secs(5);

/// An API with a connected repository and a connected account.
pub struct Checks {
    pub db: TestDb,
    pub sandbox: Sandbox,
    pub there: ExternalServices,
    pub api: Api,
    pub github: String,
    pub aws: String,
    _github: (GitHub, TempDir),
}

/// The answer to a check.
pub struct Checked(pub Value);

impl Checked {
    pub fn item(&self, id: &str) -> &Value {
        let items = self.0["items"].as_array().unwrap();
        items.iter().find(|item| item["id"] == id).unwrap_or_else(|| panic!("no item {id}: {:#}", self.0))
    }

    pub fn state(&self, id: &str) -> &str {
        self.item(id)["state"].as_str().unwrap()
    }

    /// Reason and remedy in English.
    pub fn words(&self, id: &str) -> String {
        let item = self.item(id);
        format!("{} {}", item["reason"]["en"], item["remedy"]["en"])
    }

    pub fn ids(&self) -> BTreeSet<&str> {
        self.0["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
    }

    /// Ids of the required items in a state.
    pub fn required(&self, state: &str) -> Vec<&str> {
        let items = self.0["items"].as_array().unwrap().iter();
        let fits = items.filter(|item| item["required"] == true && item["state"] == state);
        fits.map(|item| item["id"].as_str().unwrap()).collect()
    }
}

impl Checks {
    /// With the role of the rules as the server's default.
    pub async fn start() -> Self {
        Self::with_credentials(|sandbox| {
            let keys = sandbox.user_credentials();
            json!({"accessKeyId": keys.access_key_id,
                   "secretAccessKey": secrecy::ExposeSecret::expose_secret(&keys.secret_access_key)})
        })
        .await
    }

    pub async fn with_credentials(credentials: impl FnOnce(&Sandbox) -> Value) -> Self {
        let (github, root) = external_services::github().await;
        let sandbox = external_services::sandbox().await;
        // ECR answers only with a registry, which a check never calls.
        let (host_port, username) = ("127.0.0.1:1".to_owned(), "AWS".to_owned());
        sandbox.set_registry(RegistryAddress { host_port, username, password: "not-a-secret".into() });
        let db = TestDb::new().await;
        let mut there = ExternalServices::default().with_github(&github).with_aws(&sandbox);
        there.preflight.rule_target_role_arn = Some(sandbox.events_role());
        let api = Api::serve_with(&db.db, &there, &[]).await;
        let mut body = credentials(&sandbox);
        body["region"] = json!(sandbox.region());
        let aws = id(&api, "aws", &body).await;
        let repository = json!({"owner": "acme", "repo": "shop", "branch": "main", "token": external_services::TOKEN});
        let connected = id(&api, "github", &repository).await;
        Self { db, sandbox, there, api, github: connected, aws, _github: (github, root) }
    }

    /// Another API on the same database, with changed services or settings.
    pub async fn other(&self, change: impl FnOnce(&mut ExternalServices)) -> Api {
        let mut there = self.there.clone();
        change(&mut there);
        Api::serve_with(&self.db.db, &there, &[]).await
    }

    pub fn path(&self) -> String {
        format!("{PATH}/{}/check?githubConnectionId={}", self.aws, self.github)
    }

    /// Checks through an API; the answer is complete and in time, whatever AWS does.
    pub async fn check_through(&self, api: &Api) -> Checked {
        let begun = Instant::now();
        let answer = api.post(&self.path(), &Value::Null).await;
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        let checked = Checked(answer.data("배포에 필요한 항목을 확인했습니다."));
        for item in checked.0["items"].as_array().unwrap() {
            for text in ["text", "reason", "remedy"] {
                let both = ["ko", "en"].map(|lang| item[text][lang].as_str().is_some_and(|text| !text.is_empty()));
                assert!(item[text].is_null() && text != "text" || both == [true, true], "{text} of {item:#}");
            }
            let (state, remedy) = (item["state"].as_str().unwrap(), &item["remedy"]);
            assert_eq!(matches!(state, "missing" | "unknown"), !remedy.is_null(), "{item:#}");
        }
        checked
    }

    pub async fn check(&self) -> Checked {
        self.check_through(&self.api).await
    }

    /// Denies calls, and nothing else.
    pub fn deny(&self, calls: &[&str]) {
        let denied = CallFault { deny: true, ..CallFault::default() };
        let calls = calls.iter().map(|call| ((*call).to_owned(), denied.clone())).collect();
        self.sandbox.faults().set(Faults { calls, ..Faults::default() });
    }
}

async fn id(api: &Api, kind: &str, body: &Value) -> String {
    let answer = api.post(&format!("/api/v1/connect/{kind}"), body).await.json();
    let id = &answer["data"][format!("{kind}ConnectionId")];
    id.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn check__ready_account_read_only() {
    let env = Checks::start().await;
    let before = env.sandbox.all_effects();
    let checked = env.check().await;
    assert_eq!(checked.0["state"], "ready", "{:#}", checked.0);
    assert_eq!(
        (&checked.0["repository"], &checked.0["accountId"]),
        (&json!("acme/shop"), &json!(env.sandbox.user_account_id()))
    );
    assert_eq!((checked.required("missing"), checked.required("unknown")), (vec![], vec![]));
    for id in ["database", "sourceRepository", "credentials", "controllerCredentials", "eventBus", "stateMachine"] {
        assert_eq!(checked.state(id), "present", "{id}");
    }
    for id in ["ruleRole", "eventRules", "busPolicyBytes", "user.ecr:PutImage", "controller.states:StopExecution"] {
        assert_eq!(checked.state(id), "present", "{id}");
    }
    for id in ["busPolicy", "eventRule", "eventTarget", "ecrRepository", "latestExecution"] {
        assert_eq!(checked.state(id), "wouldBeCreated", "{id}");
    }
    let total = checked.0["items"].as_array().unwrap().len();
    assert_eq!(checked.ids().len(), total, "ids are unique");
    let counted: u64 = checked.0["counts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(usize::try_from(counted).unwrap(), total);

    let mut after = env.sandbox.all_effects();
    let reads = ["Get", "Describe", "List", "BatchGet", "Simulate", "AssumeRole"];
    for (call, count) in &after.calls {
        let name = call.split(':').nth(1).unwrap();
        let is_read = reads.iter().any(|verb| name.starts_with(verb));
        assert!(is_read || before.calls.get(call) == Some(count), "{call} is a write");
    }
    after.calls.clone_from(&before.calls);
    assert_eq!(after, before, "nothing was written");
    assert!(env.sandbox.bus_statements().is_empty() && env.sandbox.user_rules().is_empty());
}

#[tokio::test]
async fn check__denied_look_names_its_permission() {
    let env = Checks::start().await;
    let looks = [
        ("events:DescribeEventBus", "eventBus", "controller"),
        ("states:DescribeStateMachine", "stateMachine", "controller"),
        ("events:ListTargetsByRule", "stateMachine", "controller"),
        ("secretsmanager:GetSecretValue", "latestExecution", "controller"),
        ("ecr:DescribeRepositories", "ecrRepository", "user"),
        ("iam:GetRole", "ruleRole", "user"),
        ("events:DescribeRule", "eventRule", "user"),
        ("events:ListRules", "stateMachine", "controller"),
    ];
    for (call, id, place) in looks {
        env.deny(&[call]);
        let checked = env.check().await;
        assert_eq!(checked.state(id), "unknown", "{call}");
        assert_eq!(checked.item(id)["permission"], call, "{id}");
        let permission = checked.item(&format!("{place}.{call}"));
        assert_eq!((&permission["state"], &permission["permission"]), (&json!("missing"), &json!(call)));
        let remedy = format!("panda iam-policy {place} --preflight");
        assert!(checked.words(id).contains(&remedy), "{call}: {}", checked.words(id));
        assert_eq!(checked.0["state"] == "ready", id == "eventRule", "{call}: unknown is not ready");
    }
}

/// No look shows a permission to change something.
#[tokio::test]
async fn check__permissions_to_change_are_simulated() {
    let env = Checks::start().await;
    let required = [
        "user.ecr:CreateRepository",
        "user.ecr:PutImage",
        "user.ecr:UploadLayerPart",
        "user.events:PutRule",
        "user.events:PutTargets",
        "user.iam:PassRole",
        "user.codedeploy:ContinueDeployment",
        "user.codedeploy:StopDeployment",
        "controller.events:PutPermission",
        "controller.states:StopExecution",
    ];
    for id in required {
        let call = id.split_once('.').unwrap().1;
        env.deny(&[call]);
        let checked = env.check().await;
        assert_eq!((checked.required("missing"), &checked.0["state"]), (vec![id], &json!("missing")), "{call}");
        assert!(checked.words(id).contains("simulation"), "{}", checked.words(id));
    }
    env.deny(&["events:RemoveTargets", "ecr:TagResource"]);
    let checked = env.check().await;
    assert_eq!((checked.state("user.ecr:TagResource"), &checked.0["state"]), ("missing", &json!("ready")), "optional");

    env.deny(&["iam:SimulatePrincipalPolicy", "ecr:PutImage"]);
    let checked = env.check().await;
    assert_eq!(checked.0["state"], "unknown", "a permission that cannot be looked up does not count as present");
    assert_eq!(checked.item("user.ecr:PutImage")["permission"], "iam:SimulatePrincipalPolicy");
    assert_eq!(checked.state("user.ecr:GetAuthorizationToken"), "present", "a look shows it");
}

#[tokio::test]
async fn check__everything_denied_hides_nothing() {
    let env = Checks::start().await;
    let all = env.check().await;
    let calls: BTreeSet<String> = env.sandbox.all_effects().calls.into_keys().collect();
    let denied: Vec<&str> = calls.iter().map(String::as_str).filter(|call| !call.starts_with("sts:")).collect();
    assert!(denied.len() > 12, "{denied:?}");
    env.deny(&denied);
    let checked = env.check().await;
    assert_eq!(checked.0["state"], "missing");
    let absent: Vec<&str> = all.ids().difference(&checked.ids()).copied().collect();
    // Without the bus, its policy is not known, nor whether a role is needed.
    assert_eq!(
        absent,
        ["busPolicy", "busPolicyBytes", "controller.events:PutPermission", "controller.events:RemovePermission"]
    );
    for (id, state) in [("database", "present"), ("sourceRepository", "present"), ("credentials", "present")] {
        assert_eq!(checked.state(id), state);
    }
    for id in ["eventBus", "stateMachine", "ruleRole", "ecrRepository", "user.ecr:PutImage"] {
        assert_eq!(checked.state(id), "unknown", "{id}");
    }
}

#[tokio::test]
async fn check__lifecycle_policy_that_deletes_releases_is_a_warning() {
    let env = Checks::start().await;
    assert!(!env.check().await.ids().contains("ecrLifecycle"), "nothing is deleted without a policy");
    let keys = env.sandbox.user_credentials();
    let ecr = aws_sdk_ecr::Client::new(&harness::config(env.sandbox.endpoint().as_str(), env.sandbox.region(), keys));
    ecr.create_repository().repository_name("acme-shop").send().await.unwrap();
    for (selection, state) in [
        (json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 9}), "missing"),
        (json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10}), "present"),
    ] {
        let policy = json!({"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]});
        let put = ecr.put_lifecycle_policy().repository_name("acme-shop").lifecycle_policy_text(policy.to_string());
        put.send().await.unwrap();
        let checked = env.check_through(&env.other(|there| there.preflight.keep_releases = 10).await).await;
        assert_eq!((checked.state("ecrLifecycle"), &checked.0["state"]), (state, &json!("ready")), "it only warns");
        assert!(state == "present" || checked.words("ecrLifecycle").contains("PANDA_KEEP_RELEASES"));
    }
    env.deny(&["ecr:GetLifecyclePolicy"]);
    let checked = env.check().await;
    assert_eq!((checked.state("ecrLifecycle"), &checked.0["state"]), ("unknown", &json!("ready")));
}
