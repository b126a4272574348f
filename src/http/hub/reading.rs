//! Whether a reading is under way, and whether another must follow it.

use std::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const READING: u8 = 1;
const READING_AGAIN: u8 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reading(AtomicU8);

impl Reading {
    /// Asks for a reading. True: the caller must do it, and go on while [`Self::end`] says so. False: it is being done, and will be
    /// done once more for us, since that one may have looked before our reason to ask.
    pub fn begin(&self) -> bool {
        let begin = |state| Some(if state == IDLE { READING } else { READING_AGAIN });
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin) == Ok(IDLE)
    }

    /// Whether nobody asked meanwhile; if somebody did, the caller must read again.
    pub fn end(&self) -> bool {
        let end = |state| Some(if state == READING_AGAIN { READING } else { IDLE });
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, end) == Ok(READING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_during_a_reading_gets_another_one() {
        let reading = Reading::default();
        assert!(reading.begin());
        assert!(!reading.begin());
        assert!(!reading.begin());
        assert!(!reading.end(), "two asked meanwhile: one more reading for both");
        assert!(reading.end());
        assert!(reading.begin());
    }
}
