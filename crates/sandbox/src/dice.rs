//! Chance that repeats: the same seed gives the same sequence for each key.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// Counts the draws of each key.
#[derive(Debug, Default)]
pub struct Dice(Mutex<BTreeMap<String, u64>>);

impl Dice {
    /// The next draw of `key`.
    pub fn roll(&self, seed: u64, key: &str) -> u64 {
        let mut drawn = self.0.lock();
        let number = drawn.entry(key.to_owned()).or_default();
        *number += 1;
        draw(seed, key, *number)
    }
}

/// Draw `number` of `key`.
pub fn draw(seed: u64, key: &str, number: u64) -> u64 {
    let hash = Sha256::new().chain_update(seed.to_be_bytes()).chain_update(number.to_be_bytes()).chain_update(key);
    hash.finalize().iter().take(8).fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_repeats_each_sequence() {
        let sequence = |seed: u64, key: &str| {
            let dice = Dice::default();
            (0..8).map(|_| dice.roll(seed, key)).collect::<Vec<_>>()
        };
        assert_eq!(sequence(1, "a"), sequence(1, "a"));
        assert_ne!(sequence(1, "a"), sequence(2, "a"));
        assert_ne!(sequence(1, "a"), sequence(1, "b"));
    }
}
