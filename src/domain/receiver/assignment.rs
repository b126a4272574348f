//! Distribution of receivers among the processes that deliver them.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Returns the sender that should deliver to a receiver: the one with the highest hash of both ids. When a sender ends, only its receivers move.
pub fn sender_of(receiver: &str, senders: &[Uuid]) -> Option<Uuid> {
    senders.iter().copied().max_by_key(|sender| {
        let digest = Sha256::new().chain_update(receiver).chain_update(sender.as_bytes()).finalize();
        <[u8; 32]>::from(digest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_receivers_of_an_ended_sender_move() {
        let senders: Vec<Uuid> = (0..3).map(Uuid::from_u128).collect();
        let webhooks: Vec<String> = (0..300).map(|n| format!("whk_{n}")).collect();
        for ended in &senders {
            let left: Vec<Uuid> = senders.iter().copied().filter(|sender| sender != ended).collect();
            let mut moved = 0;
            for webhook in &webhooks {
                let before = sender_of(webhook, &senders).unwrap();
                let after = sender_of(webhook, &left).unwrap();
                assert!(before == after || before == *ended);
                moved += usize::from(before != after);
            }
            assert!((50..150).contains(&moved), "about a third: {moved}");
        }
        assert_eq!(sender_of("whk_1", &[]), None);
    }
}
