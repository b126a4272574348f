//! Looks at service deployments that several deployments of one account and region share: up to twenty with one call.
//!
//! A thousand rollouts that shift their traffic would otherwise be as many calls each time. The one that has the turn asks for itself and for those that wait,
//! in order of arrival. Turns come from a small bucket: a look at a quiet time is immediate, and the rest waits.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::MAX_SERVICE_DEPLOYMENTS;
use super::ecs_info::ServiceDeployment;
use crate::clients::{ClientError, ErrorKind};

/// Time in which one turn is refilled: sixty calls a minute.
const REFILL: Duration = Duration::from_secs(1);

/// Turns that a quiet time saves.
const BURST: u32 = 20;

/// Message from the owner of the turn to those that wait.
enum Told {
    /// The answer; none if ECS does not know the deployment.
    Seen(Box<Result<Option<ServiceDeployment>, ClientError>>),
    /// The common call was refused for one of the deployments: each asks alone.
    Alone,
}

struct Waiting {
    number: u64,
    arn: String,
    tell: oneshot::Sender<Told>,
}

/// The shared looks of one client.
#[derive(Default)]
pub(super) struct SharedLooks {
    waiting: Mutex<(u64, VecDeque<Waiting>)>,
    turn: tokio::sync::Mutex<Turns>,
}

/// Turns as a bucket: the time at which the bucket would be full.
#[derive(Default)]
struct Turns {
    full_at: Option<Instant>,
}

impl Turns {
    /// Takes the next turn, and returns the time until it comes.
    fn next(&mut self, now: Instant) -> Duration {
        let full_at = self.full_at.unwrap_or(now).max(now);
        self.full_at = Some(full_at + REFILL);
        full_at.saturating_duration_since(now).saturating_sub(REFILL * (BURST - 1))
    }
}

impl SharedLooks {
    /// Looks at one service deployment; none if ECS does not know it. `describe` fetches up to [`MAX_SERVICE_DEPLOYMENTS`], and leaves unknown ones out.
    pub(super) async fn look<F>(
        &self,
        arn: &str,
        describe: impl Fn(Vec<String>) -> F,
    ) -> Result<Option<ServiceDeployment>, ClientError>
    where
        F: Future<Output = Result<Vec<ServiceDeployment>, ClientError>>,
    {
        loop {
            let (number, mut told) = self.wait(arn);
            let mut turns = tokio::select! {
                biased;
                told = &mut told => match told {
                    Ok(told) => return self.heard(told, arn, &describe).await,
                    // The owner of the turn was dropped during its call.
                    Err(_) => continue,
                },
                turns = self.turn.lock() => turns,
            };
            // Answered just before the turn came.
            if let Ok(told) = told.try_recv() {
                drop(turns);
                return self.heard(told, arn, &describe).await;
            }
            let wait = turns.next(Instant::now());
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let others = self.others(number);
            drop(turns);
            return self.ask(arn, others, &describe).await;
        }
    }

    /// Begins to wait for the next call.
    fn wait(&self, arn: &str) -> (u64, oneshot::Receiver<Told>) {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.0 += 1;
        let number = waiting.0;
        waiting.1.push_back(Waiting { number, arn: arn.to_owned(), tell });
        (number, told)
    }

    /// Returns those for which the waiter `number` asks as well, and removes it and them.
    fn others(&self, number: u64) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock();
        waiting.1.retain(|one| one.number != number && !one.tell.is_closed());
        let count = waiting.1.len().min(MAX_SERVICE_DEPLOYMENTS - 1);
        waiting.1.drain(..count).collect()
    }

    async fn ask<F>(
        &self,
        arn: &str,
        others: Vec<Waiting>,
        describe: &impl Fn(Vec<String>) -> F,
    ) -> Result<Option<ServiceDeployment>, ClientError>
    where
        F: Future<Output = Result<Vec<ServiceDeployment>, ClientError>>,
    {
        let mut arns: Vec<String> = others.iter().map(|one| one.arn.clone()).chain([arn.to_owned()]).collect();
        arns.sort_unstable();
        arns.dedup();
        let seen = match describe(arns).await {
            Ok(seen) => seen,
            // About the account as a whole, so that the others need no separate call.
            Err(error) if others.is_empty() || matches!(error.kind, ErrorKind::Throttled | ErrorKind::Credentials) => {
                for other in others {
                    let _ = other.tell.send(Told::Seen(Box::new(Err(error.clone()))));
                }
                return Err(error);
            }
            Err(_) => {
                for other in others {
                    let _ = other.tell.send(Told::Alone);
                }
                return alone(arn, describe).await;
            }
        };
        let mut seen: HashMap<String, ServiceDeployment> =
            seen.into_iter().map(|found| (found.arn.clone(), found)).collect();
        for other in others {
            let found = seen.get(&other.arn).cloned();
            let _ = other.tell.send(Told::Seen(Box::new(Ok(found))));
        }
        Ok(seen.remove(arn))
    }

    async fn heard<F>(
        &self,
        told: Told,
        arn: &str,
        describe: &impl Fn(Vec<String>) -> F,
    ) -> Result<Option<ServiceDeployment>, ClientError>
    where
        F: Future<Output = Result<Vec<ServiceDeployment>, ClientError>>,
    {
        match told {
            Told::Seen(answer) => *answer,
            Told::Alone => alone(arn, describe).await,
        }
    }
}

async fn alone<F>(arn: &str, describe: &impl Fn(Vec<String>) -> F) -> Result<Option<ServiceDeployment>, ClientError>
where
    F: Future<Output = Result<Vec<ServiceDeployment>, ClientError>>,
{
    Ok(describe(vec![arn.to_owned()]).await?.into_iter().find(|found| found.arn == arn))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;

    use super::*;
    use crate::domain::traffic_shift::TrafficShift;

    fn deployment(arn: String) -> ServiceDeployment {
        ServiceDeployment {
            arn,
            status: "IN_PROGRESS".to_owned(),
            stage: "BAKE_TIME".to_owned(),
            pause: None,
            waits_for_approval: false,
            wait_ended: false,
            green_weight: None,
            target_revision: None,
            shift: TrafficShift::AllAtOnce,
            ended_at: None,
            why: None,
        }
    }

    /// Sizes of the calls.
    type Calls = Arc<Mutex<Vec<usize>>>;

    async fn ask(calls: Calls, arns: Vec<String>) -> Result<Vec<ServiceDeployment>, ClientError> {
        calls.lock().push(arns.len());
        // Others begin to wait meanwhile.
        tokio::task::yield_now().await;
        if arns.iter().any(|arn| arn == "bad") {
            return Err(ClientError::new(ErrorKind::Unavailable, "ecs:X", "one of them"));
        }
        Ok(arns.into_iter().filter(|arn| arn != "gone").map(deployment).collect())
    }

    #[test]
    fn turns_are_sixty_a_minute_after_a_burst() {
        let (mut turns, began) = (Turns::default(), Instant::now());
        let mut now = began;
        let mut at = Vec::new();
        while now < began + Duration::from_mins(3) {
            now += turns.next(now);
            at.push(now.duration_since(began).as_secs());
        }
        assert_eq!(at.iter().filter(|second| **second == 0).count(), usize::try_from(BURST).unwrap());
        assert_eq!(at.iter().filter(|second| (60..120).contains(*second)).count(), 60);
        assert!(turns.next(now + Duration::from_mins(1)).is_zero(), "after a quiet time");
    }

    #[tokio::test]
    async fn looks_share_calls() {
        let (looks, calls) = (SharedLooks::default(), Calls::default());
        let one = |n: usize| {
            let (looks, calls) = (&looks, Arc::clone(&calls));
            async move {
                let arn = format!("arn-{n}");
                let found = looks.look(&arn, |arns| ask(Arc::clone(&calls), arns)).await.unwrap().unwrap();
                assert_eq!(found.arn, arn);
            }
        };
        join_all((0..60).map(one)).await;
        let calls = calls.lock();
        assert_eq!(calls.iter().sum::<usize>(), 60, "each is asked for once: {calls:?}");
        // The first ones found turns; the others waited for one.
        let burst = usize::try_from(BURST).unwrap();
        assert_eq!(calls[burst..], [MAX_SERVICE_DEPLOYMENTS; 2], "{calls:?}");
    }

    #[tokio::test]
    async fn one_unreadable_deployment_spoils_no_other() {
        let (looks, calls) = (SharedLooks::default(), Calls::default());
        let look = |arn: &'static str| looks.look(arn, |arns| ask(Arc::clone(&calls), arns));
        let (bad, good, gone, same) = tokio::join!(look("bad"), look("good"), look("gone"), look("good"));
        assert_eq!(bad.unwrap_err().kind, ErrorKind::Unavailable);
        assert!(good.unwrap().is_some() && gone.unwrap().is_none() && same.unwrap().is_some());
    }

    #[tokio::test]
    async fn dropped_call_is_made_by_another() {
        let (looks, calls) = (SharedLooks::default(), Calls::default());
        let second = looks.look("b", |arns| ask(Arc::clone(&calls), arns));
        let mut second = std::pin::pin!(second);
        {
            // It has the turn, and is dropped during its call, which is for both.
            let never = |_| std::future::pending();
            let mut first = std::pin::pin!(looks.look("a", never));
            assert!(futures_util::poll!(&mut first).is_pending());
            assert!(futures_util::poll!(&mut second).is_pending());
        }
        assert!(second.await.unwrap().is_some());
    }
}
