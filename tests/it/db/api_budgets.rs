//! Replicas share the token buckets of calls to AWS.

use std::time::Duration;

use panda::db::api_budgets::ApiBudgets;
use panda::domain::api_budget::{BudgetKey, BudgetStore as _, SliceRequest};
use panda::domain::api_quota::ApiQuota;
use pretty_assertions::assert_eq;
use sqlx::Executor;

use crate::support::db::{TestDb, through};
use crate::support::postgres_proxy::PostgresProxy;

/// A bucket of 100 tokens, refilled so slowly that tests see no refill unless they move the clock.
const QUOTA: ApiQuota = ApiQuota { burst: 100.0, per_second: 0.001 };

fn key(call: &str) -> BudgetKey {
    BudgetKey { account: "111122223333".into(), region: "us-east-1".into(), call: call.into() }
}

fn request(call: &str) -> SliceRequest {
    SliceRequest { key: key(call), quota: QUOTA, first: 0, polls: 0, spare: 0, throttled: false }
}

async fn take(budgets: &ApiBudgets, request: SliceRequest) -> u32 {
    budgets.take(&[request]).await.unwrap()[0]
}

async fn back(test: &TestDb, interval: &str) {
    let sql = format!(
        "UPDATE api_budgets SET refilled_at = refilled_at - interval '{interval}', shrunk_at = shrunk_at - interval '{interval}'"
    );
    test.psql().await.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
}

#[tokio::test]
async fn api_budget__shared_by_processes() {
    let test = TestDb::new().await;
    let (one, other) = (test.db.api_budgets(), test.db.api_budgets());
    let polls = |polls| SliceRequest { polls, ..request("states:X") };
    // Alone, a process takes all but the tenth that is kept for calls that cannot wait.
    assert_eq!(take(&one, polls(60)).await, 60);
    // The first has just had 60 polls: of the 30 tokens for polls, a third.
    assert_eq!(take(&other, polls(30)).await, 10);
    let rest = [take(&one, polls(60)).await, take(&other, polls(30)).await];
    assert!(rest.iter().sum::<u32>() <= 20, "{rest:?}");
    assert_eq!(take(&one, SliceRequest { first: 50, ..request("states:X") }).await, 30 - rest.iter().sum::<u32>());
    assert_eq!(take(&one, polls(60)).await, 0, "empty");
}

#[tokio::test]
async fn api_budget__refilled_up_to_its_size() {
    let test = TestDb::new().await;
    let budgets = test.db.api_budgets();
    let quota = ApiQuota { burst: 100.0, per_second: 10.0 };
    let all = |first| SliceRequest { first, quota, ..request("states:X") };
    assert_eq!(take(&budgets, all(1_000)).await, 100);
    back(&test, "5 seconds").await;
    let refilled = take(&budgets, all(1_000)).await;
    assert!((50..60).contains(&refilled), "{refilled}");
    back(&test, "1 hour").await;
    assert_eq!(take(&budgets, all(1_000)).await, 100);
}

#[tokio::test]
async fn api_budget__spare_only_from_upper_half() {
    let test = TestDb::new().await;
    let budgets = test.db.api_budgets();
    let spare = |first, spare| SliceRequest { first, spare, ..request("states:X") };
    assert_eq!(take(&budgets, spare(10, 20)).await, 30);
    assert_eq!(take(&budgets, spare(10, 20)).await, 20, "10 of 60 are above the half");
    assert_eq!(take(&budgets, spare(10, 20)).await, 10);
}

#[tokio::test]
async fn api_budget__halved_by_throttling_and_grows_back() {
    let test = TestDb::new().await;
    let budgets = test.db.api_budgets();
    let quota = ApiQuota { burst: 100.0, per_second: 10.0 };
    let throttled = || SliceRequest { quota, throttled: true, ..request("states:X") };
    let all = || SliceRequest { quota, first: 1_000, ..request("states:X") };
    assert_eq!(take(&budgets, SliceRequest { first: 5, ..throttled() }).await, 0, "AWS has none left");
    assert_eq!(take(&budgets, throttled()).await, 0);
    // Calls that were throttled together count once.
    back(&test, "20 seconds").await;
    let half = take(&budgets, all()).await;
    assert!((50..55).contains(&half), "{half}");
    assert_eq!(take(&budgets, throttled()).await, 0);
    back(&test, "20 seconds").await;
    let quarter = take(&budgets, all()).await;
    assert!((25..32).contains(&quarter), "{quarter}");
    back(&test, "10 minutes").await;
    assert_eq!(take(&budgets, all()).await, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_budget__concurrent_processes_take_no_token_twice() {
    let test = TestDb::new().await;
    let calls = ["states:A", "states:B", "states:C"];
    let takers = (0..4).map(|_| {
        let budgets = test.db.api_budgets();
        tokio::spawn(async move {
            let mut taken = 0;
            for _ in 0..20 {
                let requests = calls.map(|call| SliceRequest { first: 3, ..request(call) });
                taken += budgets.take(&requests).await.unwrap().iter().sum::<u32>();
            }
            taken
        })
    });
    let taken = futures_util::future::join_all(takers).await;
    assert_eq!(taken.into_iter().map(Result::unwrap).sum::<u32>(), 300);
}

#[tokio::test]
async fn api_budget__unused_rows_removed() {
    let test = TestDb::new().await;
    take(&test.db.api_budgets(), request("states:X")).await;
    assert_eq!(test.db.delete_unused_api_budgets().await.unwrap(), 0);
    back(&test, "25 hours").await;
    assert_eq!(test.db.delete_unused_api_budgets().await.unwrap(), 1);
}

#[tokio::test]
async fn api_budget__unreachable_database_is_an_error_in_time() {
    let test = TestDb::new().await;
    let proxy = PostgresProxy::before(&test, true).await;
    let budgets = through(&proxy, &test).api_budgets();
    take(&budgets, request("states:X")).await;
    proxy.set(false);
    let requests = [request("states:X")];
    let asked = tokio::time::timeout(Duration::from_secs(10), budgets.take(&requests)).await;
    assert!(asked.unwrap().is_err());
}
