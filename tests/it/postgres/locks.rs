use std::time::Duration;

use crate::support::db::TestDb;
use crate::support::wait_for;

const LENGTH: Duration = Duration::from_millis(1_200);

#[tokio::test]
async fn lock__exclusive_and_renewed_while_held() {
    let test = TestDb::new().await;
    let first = test.db.try_lock("bus", LENGTH).await.unwrap().expect("the lock is free");
    assert!(test.db.try_lock("another", LENGTH).await.unwrap().is_some());
    let until = tokio::time::Instant::now() + 3 * LENGTH;
    while tokio::time::Instant::now() < until {
        assert!(test.db.try_lock("bus", LENGTH).await.unwrap().is_none());
        tokio::time::sleep(LENGTH / 10).await;
    }
    let token = first.token();
    drop(first);
    let second = wait_for("the lock is free", async || test.db.try_lock("bus", LENGTH).await.unwrap()).await;
    assert_eq!(second.token(), token + 1);
}

#[tokio::test]
async fn lock__expires_when_process_dies() {
    let test = TestDb::new().await;
    sqlx::query("INSERT INTO leases (name, holder, token, expires_at) VALUES ('bus', gen_random_uuid(), 7, clock_timestamp() + interval '700 ms')")
        .execute(&mut test.psql().await)
        .await
        .unwrap();
    assert!(test.db.try_lock("bus", LENGTH).await.unwrap().is_none());
    let taken = wait_for("the lock expires", async || test.db.try_lock("bus", LENGTH).await.unwrap()).await;
    assert_eq!(taken.token(), 8);
}

#[tokio::test]
async fn lock__loss_reported_before_takeover() {
    let test = TestDb::new().await;
    let lock = test.db.try_lock("bus", LENGTH).await.unwrap().unwrap();
    let mut psql = test.psql().await;
    // The database refuses writes for a while.
    sqlx::raw_sql("BEGIN; LOCK TABLE leases").execute(&mut psql).await.unwrap();
    let begun = tokio::time::Instant::now();
    lock.lost().await;
    assert!(begun.elapsed() < LENGTH, "{:?}", begun.elapsed());
    sqlx::raw_sql("COMMIT").execute(&mut psql).await.unwrap();
    drop(lock);
    wait_for("the lock is free", async || test.db.try_lock("bus", LENGTH).await.unwrap()).await;
    // Another process holds it.
    let lock = wait_for("the lock is free", async || test.db.try_lock("other", LENGTH).await.unwrap()).await;
    sqlx::query("UPDATE leases SET holder = gen_random_uuid() WHERE name = 'other'").execute(&mut psql).await.unwrap();
    lock.lost().await;
}
