//! The pages' `sh run` blocks, executed in their order, and their SQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pretty_assertions::assert_eq;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::site::Site;
use panda_testing::document_blocks::{blocks, documents, run_blocks, script};

const RECOVERY: &str = "docs/operations-recovery.md";
const SECRETS: &str = "docs/operations-secrets.md";

/// The secrets of a first installation, and both servers.
const INSTALLED: &str = r#"
kubectl -n panda create secret generic panda-database --from-literal=url="$APP_URL" --dry-run=client -o yaml | kubectl -n panda apply -f -
kubectl -n panda create secret generic panda-keys --from-file=keys --dry-run=client -o yaml | kubectl -n panda apply -f -
openssl rand -hex 32 | tr -d '\n' > token
kubectl -n panda create secret generic panda-admin --from-file=token --dry-run=client -o yaml | kubectl -n panda apply -f -
kubectl -n panda rollout restart deployment/panda
panda token create --database-url "$OWNER_URL" --name reader --role viewer --json | jq -r .token > reader.new
mv reader.new reader
"#;

/// Reads all the time, from the server that answers, until `stop`. Returns the number of answers, and of the times when no server answered with 200.
async fn read_all_the_time(site: &Site, stop: &AtomicBool, failed: &AtomicU32) -> u32 {
    let mut answers = 0;
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(5)).build().unwrap();
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Ok(token) = std::fs::read_to_string(site.path("reader")) else { continue };
        let mut answered = false;
        for server in 1..=2 {
            let request = client.get(format!("{}/api/v1/deploy", site.url(server))).bearer_auth(token.trim());
            if request.send().await.is_ok_and(|answer| answer.status() == 200) {
                answered = true;
                break;
            }
        }
        answers += 1;
        if !answered {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents__recovery_and_rotation_run_as_written() {
    // The machine's pg_dump is of version 15, and dumps no newer server.
    let Some(site) = Site::new(15).await else { return };
    let (recovery, secrets) = (run_blocks(RECOVERY), run_blocks(SECRETS));
    assert!(recovery.len() >= 6 && secrets.len() >= 6, "{} and {}", recovery.len(), secrets.len());
    let whole = format!("{}{INSTALLED}{}", script(&recovery), script(&secrets));
    let site = Arc::new(site);
    let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let reading = {
        let (site, stop, failed) = (Arc::clone(&site), Arc::clone(&stop), Arc::clone(&failed));
        tokio::spawn(async move { read_all_the_time(&site, &stop, &failed).await })
    };
    let ended = site.run(&whole).await;
    stop.store(true, Ordering::Relaxed);
    let answers = reading.await.unwrap();
    assert_eq!(ended.code, 0, "{}\n{}", ended.stderr, ended.stdout);
    assert!(answers > 20, "{answers} requests while secrets were rotated");
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {answers} requests");
    assert!(ended.stdout.contains("rows restored"), "{}", ended.stdout);
    assert_eq!(site.text("keys").lines().count(), 1, "the old key is gone");
    // No secret is in the servers' logs.
    let logs = format!("{}{}", site.text("cluster/log.1"), site.text("cluster/log.2"));
    for file in ["owner.password", "app.password", "app2.password", "owner.new", "token", "reader"] {
        assert!(!logs.contains(site.text(file).trim()), "{file}");
    }
    let superusers = "SELECT count(*)::text FROM pg_roles WHERE rolname LIKE 'panda%' AND (rolsuper OR rolcreaterole OR rolcreatedb)";
    assert_eq!(site.server.ask("postgres", superusers).await, "0");
}

/// The blocks that make the roles.
fn roles() -> String {
    let roles: Vec<_> =
        run_blocks(RECOVERY).into_iter().filter(|block| block.heading == "Roles and databases").collect();
    assert_eq!(roles.len(), 3);
    script(&roles)
}

/// On a newer server, where an administrator may grant only the roles that it made or was given.
#[tokio::test]
async fn documents__roles_on_newest_postgres() {
    let Some(site) = Site::new(18).await else { return };
    let ended = site.succeeds(&roles()).await;
    assert!(
        ended.stdout.contains("panda_report is missing") && ended.stdout.contains("then run `panda migrate` again"),
        "{ended:?}"
    );
    // All may be run again.
    let again = [
        ("CREATE ROLE panda LOGIN PASSWORD", "ALTER ROLE panda PASSWORD"),
        ("CREATE DATABASE panda OWNER panda;", ""),
        ("CREATE ROLE \"analyst 김\" LOGIN PASSWORD", "ALTER ROLE \"analyst 김\" PASSWORD"),
        (" IN ROLE panda_report", ""),
    ];
    site.succeeds(&again.iter().fold(roles(), |script, (from, to)| script.replace(from, to))).await;
}

/// An administrator who may not grant access to the owner's views gets a warning with the next step, and nothing fails.
#[tokio::test]
async fn documents__report_role_by_administrator_without_membership() {
    let Some(site) = Site::new(15).await else { return };
    site.succeeds(&roles()).await;
    site.server.sql("REVOKE panda FROM master").await;
    let url = site.owner_url("panda");
    let script = format!(
        "{{ echo '\\connect panda'; panda migrate --database-url '{url}' --print-report-role; }} | psql --set=ON_ERROR_STOP=1 \"$ADMIN_URL\""
    );
    let ended = site.succeeds(&script).await;
    assert!(ended.stderr.contains("run panda migrate once more, as the owner"), "{ended:?}");
}

/// The queries of the operations documents, as the owner runs them.
#[tokio::test]
async fn documents__sql_runs_as_owner() {
    let Some(site) = Site::new(15).await else { return };
    site.succeeds(&roles()).await;
    let mut owner = PgConnection::connect(&site.owner_url("panda")).await.unwrap();
    let mut ran = 0;
    for document in documents()
        .into_iter()
        .filter(|document| document.starts_with("docs/operations") || document == "docs/retention.md")
    {
        for block in blocks(&document).into_iter().filter(|block| block.info == "sql") {
            let outcome = owner.execute(AssertSqlSafe(block.text.clone())).await;
            assert!(outcome.is_ok(), "{}: {outcome:?}", block.place);
            ran += 1;
        }
    }
    assert!(ran >= 5, "{ran}");
}

/// The commands of a first installation on a machine, with this machine's addresses and folders.
#[tokio::test]
async fn documents__first_commands_run() {
    let Some(site) = Site::new(15).await else { return };
    site.succeeds(&roles()).await;
    let url = site.owner_url("panda");
    for (document, heading, then) in [
        ("docs/getting-started.md", "Starting the server", ""),
        ("docs/security.md", "Tokens", "export PANDA_TOKEN=$(cat panda.token)"),
    ] {
        let all = blocks(document).into_iter().filter(|block| block.info == "sh" && block.heading == heading);
        let text: String = all.map(|block| block.text).collect();
        let address = panda_testing::process::free_address().to_string();
        let here = text
            .replace("postgres://panda:…@db.example.com:5432/panda", &url)
            .replace("PANDA_DATABASE_URL=postgres://…", &format!("PANDA_DATABASE_URL={url}"))
            .replace("/etc/panda/keys", "keys")
            .replace("--role admin --expires 90d", "--role admin --expires 90d > panda.token")
            .replace("PANDA_TOKEN=panda_…", "PANDA_TOKEN=$(cat panda.token)")
            .replace("10.0.0.7:8080", &address);
        let served = if here.contains("--listen") { "panda serve" } else { "panda serve --listen $ADDRESS" };
        let serving = here.replace("panda serve", served);
        // The server runs beside what follows it, and ends with the script.
        let serving: String = serving
            .lines()
            .map(|line| {
                if line.contains("panda serve") {
                    format!("{} 2> log & server=$!\n{WAIT}\n", line.split("   ").next().unwrap_or(line))
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        assert!(serving.contains("server=$!"), "{document}: {text}");
        let script = format!(
            "ADDRESS={address}; rm -f keys; trap 'kill $server; wait $server || true' EXIT\nexport AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_REGION=eu-west-1\n{serving}\n{then}\npanda list --server http://{address}"
        );
        let ended = site.run(&script).await;
        assert!(ended.code == 0 && ended.stdout.contains("no deployments"), "{document}: {script}\n{ended:?}");
    }
}

/// Waits for the server, or for its end.
const WAIT: &str = "until curl --silent --fail --output /dev/null --max-time 2 \"http://$ADDRESS/readyz\"; do kill -0 $server || { cat log >&2; exit 1; }; sleep 0.1; done";
