//! Reads the bodies of requests whose sender is not known yet. They are bounded one by one and together: a share of the memory for usual bodies, another
//! for large ones, and a few requests of each hook, so that callers who know the id of one hook do not keep the others waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::PushRequestError;
use crate::domain::push_hook::MAX_PAYLOAD;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::error::input::InputError;

/// Largest usual body, in bytes. A push of some commits has some ten kilobytes.
const USUAL: usize = 256 * 1024;

/// Usual bodies that are read and parsed at a time.
const USUAL_AT_A_TIME: usize = 64;

/// Larger bodies that are read and parsed at a time.
const LARGE_AT_A_TIME: usize = 2;

/// Bodies of one hook that are read and parsed at a time.
const OF_A_HOOK: usize = 8;

/// Longest wait for a place: GitHub waits for ten seconds in all.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// Places for bodies of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PushBodies {
    usual: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// By hook that exists, so that there are as many as hooks at most.
    hooks: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

impl Default for PushBodies {
    fn default() -> Self {
        let places = |places| Arc::new(Semaphore::new(places));
        Self { usual: places(USUAL_AT_A_TIME), large: places(LARGE_AT_A_TIME), hooks: Arc::default() }
    }
}

/// A place for one body, until it is dropped.
#[derive(Debug)]
pub struct BodyPermit {
    _hook: OwnedSemaphorePermit,
    _size: OwnedSemaphorePermit,
}

impl PushBodies {
    /// Waits for a place for a body of `hook`, whose declared length is `length`; none after three seconds.
    async fn acquire(&self, hook: &str, length: Option<usize>) -> Option<BodyPermit> {
        let of_hook =
            Arc::clone(self.hooks.lock().entry(hook.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(OF_A_HOOK))));
        let of_size = if length.is_some_and(|length| length <= USUAL) { &self.usual } else { &self.large };
        let both = async {
            let hook = of_hook.acquire_owned().await.ok()?;
            let size = Arc::clone(of_size).acquire_owned().await.ok()?;
            Some(BodyPermit { _hook: hook, _size: size })
        };
        tokio::time::timeout(MAX_WAIT, both).await.ok().flatten()
    }
}

/// Reads a body within the limits. The permit is to be kept until the body is dropped.
pub(super) async fn read(state: &ApiState, hook: &str, request: Request) -> Result<(BodyPermit, Bytes), ApiError> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > MAX_PAYLOAD) {
        return Err(PushRequestError::TooLarge.into());
    }
    let permit = state.pushes.bodies.acquire(hook, length).await.ok_or(PushRequestError::Busy)?;
    let limit = state.config.body_timeout;
    let read = tokio::time::timeout(limit, whole(request, length)).await;
    Ok((permit, read.map_err(|_| InputError::BodyTooSlow { limit })??))
}

async fn whole(request: Request, length: Option<usize>) -> Result<Bytes, ApiError> {
    let mut body = Limited::new(request.into_body(), MAX_PAYLOAD);
    // Grows with what arrives: a declared length costs the sender nothing.
    let mut all = BytesMut::with_capacity(length.unwrap_or(USUAL).min(USUAL));
    while let Some(frame) = body.frame().await {
        // The connection ended, or the body is too large without declaring it.
        let frame = frame.map_err(|_| PushRequestError::TooLarge)?;
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// A place without waiting for one.
    fn place(bodies: &PushBodies, hook: &str, length: Option<usize>) -> Option<BodyPermit> {
        bodies.acquire(hook, length).now_or_never().flatten()
    }

    #[tokio::test]
    async fn hook_with_all_its_places_delays_no_other() {
        let bodies = PushBodies::default();
        let mut held: Vec<_> = (0..OF_A_HOOK).map(|_| place(&bodies, "hok_a", Some(1)).unwrap()).collect();
        assert!(place(&bodies, "hok_a", Some(1)).is_none());
        assert!(place(&bodies, "hok_b", Some(1)).is_some());
        held.pop();
        assert!(place(&bodies, "hok_a", Some(1)).is_some());
    }

    #[tokio::test]
    async fn large_bodies_do_not_take_the_places_of_usual_ones() {
        let bodies = PushBodies::default();
        let _held = (place(&bodies, "hok_a", None).unwrap(), place(&bodies, "hok_b", Some(USUAL + 1)).unwrap());
        assert!(place(&bodies, "hok_c", Some(MAX_PAYLOAD)).is_none());
        assert!(place(&bodies, "hok_c", Some(USUAL)).is_some());
    }
}
