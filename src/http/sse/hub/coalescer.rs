//! Coalesces requests to read the table: requests that arrive during a read share a single further read.

use std::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const READING: u8 = 1;
const READING_AGAIN: u8 = 2;

/// State of the reads of one channel.
#[derive(Debug, Default)]
pub(super) struct Coalescer(AtomicU8);

impl Coalescer {
    /// Requests a read. True: the caller must read, and repeat until [`Self::finish`] returns true. False: a read is in progress and will be
    /// followed by another one, since it may have read the table before the reason for this request.
    pub fn request(&self) -> bool {
        let begin = |state| Some(if state == IDLE { READING } else { READING_AGAIN });
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin) == Ok(IDLE)
    }

    /// Ends a read. Returns false when another read was requested meanwhile: then the caller must read again.
    pub fn finish(&self) -> bool {
        let end = |state| Some(if state == READING_AGAIN { READING } else { IDLE });
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, end) == Ok(READING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_during_a_read_share_one_more_read() {
        let coalescer = Coalescer::default();
        assert!(coalescer.request());
        assert!(!coalescer.request());
        assert!(!coalescer.request());
        assert!(!coalescer.finish(), "one more read serves both requests");
        assert!(coalescer.finish());
        assert!(coalescer.request());
    }
}
