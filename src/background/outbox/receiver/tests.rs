use super::sending::OUTAGE;
use super::*;
use crate::db::feed::FeedEvent;
use crate::domain::catalogue::Lang;
use crate::domain::deployment::Status;
use crate::domain::event::StoredEvent;
use crate::domain::labels::Labels;
use crate::domain::principal::Scope;
use crate::domain::receiver::attempt::{AttemptAnswer, MAX_ATTEMPTS};
use crate::domain::receiver::filter::EventFilter;
use crate::domain::receiver::{ReceiverSecrets, ReceiverSettings};

/// Event `seq` of a deployment of `acme/repo`, at place `place`.
fn event(place: i64, deployment: &str, seq: i64, repo: &str) -> Arc<OutboxEvent> {
    let event = StoredEvent {
        seq,
        id: Uuid::from_u128(u128::try_from(place).unwrap()),
        attempt: 1,
        code: "build_progress".to_owned(),
        params: serde_json::Map::new(),
        created_at: DateTime::default(),
    };
    let key = FeedKey { transaction: place, deployment_id: deployment.to_owned(), seq };
    let (owner, repo, branch) = ("acme".to_owned(), repo.to_owned(), "main".to_owned());
    let labels = Labels::default();
    Arc::new(OutboxEvent::new(FeedEvent { key, status: Status::Running, owner, repo, branch, labels, event }))
}

fn receiver_after(cursor: FeedKey, ahead: Vec<Uuid>) -> Receiver {
    let repositories = Scope::Repositories(vec!["acme/shop".to_owned()]);
    let filter = EventFilter { events: None, repositories, labels: Labels::default() };
    let settings = DeliveryReceiver {
        id: "whk_1".to_owned(),
        settings: ReceiverSettings::Webhook { url: "https://hooks.example/".to_owned() },
        filter,
        lang: Lang::En,
        credentials: ReceiverSecrets::Signing(Vec::new()),
        revision: 1,
    };
    let claimed_at = DateTime::default();
    let claimed = ClaimedCursor { receiver: "whk_1".to_owned(), cursor, ahead, version: 7, claimed_at };
    Receiver::new(Uuid::nil(), Arc::new(settings), claimed)
}

fn receiver() -> Receiver {
    receiver_after(FeedKey::before(1), Vec::new())
}

fn status(status: u16) -> AttemptAnswer {
    AttemptAnswer::of_status(status, None)
}

fn seqs(sends: &[Send]) -> Vec<(String, i64)> {
    sends.iter().map(|send| (send.event.deployment().to_owned(), send.event.key().seq)).collect()
}

fn sent(deployment: &str, seq: i64) -> (String, i64) {
    (deployment.to_owned(), seq)
}

fn commit(receiver: &mut Receiver) -> OutboxCommit {
    let commit = receiver.commit().unwrap();
    receiver.committed(commit.version + 1);
    commit
}

#[test]
fn sends_next_event_of_a_deployment_after_the_commit() {
    let mut receiver = receiver();
    receiver.fill(vec![event(1, "a", 1, "shop"), event(2, "a", 2, "shop"), event(3, "b", 1, "shop")]);
    let sends = receiver.sends(Instant::now());
    assert_eq!(seqs(&sends), [sent("a", 1), sent("b", 1)]);
    receiver.answered(&sends[0], &status(200), 0.5);
    assert!(receiver.sends(Instant::now()).is_empty(), "not before the commit");
    let first = commit(&mut receiver);
    assert_eq!((first.version, first.cursor.transaction, first.delivered), (7, 1, 1));
    assert_eq!(seqs(&receiver.sends(Instant::now())), [sent("a", 2)]);
}

#[test]
fn slow_answer_delays_the_cursor_and_not_the_rest() {
    let mut receiver = receiver();
    receiver.fill(vec![event(1, "a", 1, "shop"), event(2, "b", 1, "shop"), event(3, "c", 1, "other")]);
    let sends = receiver.sends(Instant::now());
    receiver.answered(&sends[1], &status(204), 0.5);
    let ahead = commit(&mut receiver);
    assert_eq!((ahead.cursor, ahead.ahead.clone()), (FeedKey::before(1), vec![Uuid::from_u128(2)]));
    receiver.answered(&sends[0], &status(204), 0.5);
    let all = commit(&mut receiver);
    assert_eq!((all.cursor.transaction, all.ahead), (3, Vec::new()), "past what is not wanted, too");
    // The next holder sends only what is not settled.
    let mut next = receiver_after(FeedKey::before(1), ahead.ahead);
    next.fill(vec![event(1, "a", 1, "shop"), event(2, "b", 1, "shop")]);
    assert_eq!(seqs(&next.sends(Instant::now())), [sent("a", 1)]);
}

#[test]
fn failure_parks_later_events_until_its_row_is_resolved() {
    let mut receiver = receiver();
    receiver.fill(vec![event(1, "a", 1, "shop"), event(2, "a", 2, "shop"), event(3, "b", 1, "shop")]);
    let sends = receiver.sends(Instant::now());
    assert_eq!(receiver.answered(&sends[0], &status(500), 0.5), Settled::Failed);
    receiver.answered(&sends[1], &status(200), 0.5);
    receiver.fill(vec![event(4, "a", 3, "shop")]);
    let failed = commit(&mut receiver);
    let rows: Vec<_> = failed.rows.iter().map(|row| (row.key.seq, row.state, row.wait.is_some())).collect();
    let expected =
        [(1, DeliveryState::Pending, true), (2, DeliveryState::Waiting, false), (3, DeliveryState::Waiting, false)];
    assert!(expected.iter().all(|row| rows.contains(row)) && rows.len() == 3, "{rows:?}");
    assert_eq!((failed.cursor.transaction, receiver.open()), (4, 3), "the cursor does not wait for rows");
    assert!(receiver.sends(Instant::now()).is_empty());

    receiver.retry(FeedKey::before(1), Uuid::from_u128(1), 1, Some(event(1, "a", 1, "shop")));
    receiver.retry(FeedKey::before(1), Uuid::from_u128(1), 1, Some(event(1, "a", 1, "shop")));
    let again = receiver.sends(Instant::now());
    assert_eq!(seqs(&again), [sent("a", 1)], "once, however often it is found");
    receiver.answered(&again[0], &status(200), 0.5);
    let resolved = commit(&mut receiver);
    assert_eq!((resolved.rows[0].state, resolved.released), (DeliveryState::Delivered, vec!["a".to_owned()]));
    assert_eq!(receiver.open(), 2);
}

#[test]
fn last_attempt_leaves_a_dead_letter() {
    let mut receiver = receiver();
    receiver.set_open(HashMap::from([("a".to_owned(), 1)]));
    receiver.retry(FeedKey::before(1), Uuid::from_u128(1), MAX_ATTEMPTS - 1, Some(event(1, "a", 1, "shop")));
    let sends = receiver.sends(Instant::now());
    assert_eq!(receiver.answered(&sends[0], &status(503), 0.5), Settled::Dead);
    let dead = commit(&mut receiver);
    assert_eq!((dead.rows[0].state, dead.rows[0].attempts), (DeliveryState::Dead, MAX_ATTEMPTS));
    assert_eq!((dead.released, receiver.open()), (vec!["a".to_owned()], 0));
    // One whose event was removed is dead without an attempt.
    receiver.set_open(HashMap::from([("b".to_owned(), 1)]));
    let key = FeedKey { transaction: 2, deployment_id: "b".to_owned(), seq: 1 };
    receiver.retry(key, Uuid::from_u128(2), 1, None);
    let removed = commit(&mut receiver);
    assert_eq!((removed.rows[0].state, removed.rows[0].error.as_deref()), (DeliveryState::Dead, Some(REMOVED)));
}

#[test]
fn gone_stops_everything_and_recovery_makes_rows_due() {
    let mut gone = receiver();
    gone.fill(vec![event(1, "a", 1, "shop"), event(2, "b", 1, "shop")]);
    let sends = gone.sends(Instant::now());
    gone.answered(&sends[0], &status(410), 0.5);
    assert!(commit(&mut gone).gone && gone.capacity() == 0 && gone.sends(Instant::now()).is_empty());

    let mut receiver = receiver();
    for place in 1..=i64::from(OUTAGE) {
        receiver.fill(vec![event(place, &format!("d{place}"), 1, "shop")]);
        let sends = receiver.sends(Instant::now());
        receiver.answered(&sends[0], &status(503), 0.5);
        assert!(!commit(&mut receiver).recovered);
    }
    receiver.fill(vec![event(9, "x", 1, "shop")]);
    let sends = receiver.sends(Instant::now());
    receiver.answered(&sends[0], &status(200), 0.5);
    assert!(commit(&mut receiver).recovered);
}

#[test]
fn memory_and_requests_are_bounded() {
    let mut receiver = receiver();
    let events = (1..=200).map(|place| event(place, &format!("d{place}"), 1, "shop"));
    let places = receiver.capacity();
    receiver.fill(events.take(places).collect());
    assert_eq!((receiver.capacity(), receiver.sends(Instant::now()).len()), (0, 32));
    assert!(receiver.sends(Instant::now()).is_empty() && receiver.read_position().transaction == 128);
    receiver.set_open(HashMap::from([("x".to_owned(), MAX_OPEN)]));
    assert_eq!(receiver.capacity(), 0, "as many rows as it may have");
    assert!(!receiver.is_idle());
}
