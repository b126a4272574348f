//! How many event streams may be open, of one client and in all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::error::ApiError;

/// The seats: cheap to clone.
#[derive(Clone, Debug)]
pub struct Seats {
    /// Most streams.
    most: usize,
    /// Most streams of one client.
    most_of_client: usize,
    room: Arc<Room>,
}

#[derive(Debug, Default)]
struct Room {
    taken: Mutex<Taken>,
    /// Handed to all streams so far.
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

impl Seats {
    /// At most `most` streams, and `most_of_client` of each client.
    pub fn new(most: usize, most_of_client: usize) -> Self {
        Self { most, most_of_client, room: Arc::default() }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.room.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// Bytes that were handed to all streams so far.
    pub fn bytes(&self) -> u64 {
        self.room.bytes.load(Ordering::Relaxed)
    }

    /// A seat for a stream of `client`.
    pub fn take(&self, client: IpAddr) -> Result<Seat, ApiError> {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.of.get(&client).is_some_and(|&of| of >= self.most_of_client) {
            return Err(ApiError::TooManyStreamsOfClient { limit: self.most_of_client });
        }
        if taken.all >= self.most {
            return Err(ApiError::TooManyStreams { limit: self.most });
        }
        taken.all += 1;
        *taken.of.entry(client).or_default() += 1;
        Ok(Seat { room: Arc::clone(&self.room), client })
    }
}

/// A stream's seat, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    room: Arc<Room>,
    client: IpAddr,
}

impl Seat {
    /// Counts what the stream is handed.
    pub fn sent(&self, bytes: usize) {
        self.room.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(of) = taken.of.get_mut(&self.client) {
            *of -= 1;
            if *of == 0 {
                taken.of.remove(&self.client);
            }
        }
    }
}
