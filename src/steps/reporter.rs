//! The channel through which a running step emits events.

use tokio::sync::mpsc;

use crate::domain::event::Event;

/// Emits events in the middle of a step; the driver commits them in batches, in order, before the step's outcome.
#[derive(Clone, Debug)]
pub struct Reporter {
    events: mpsc::Sender<Event>,
}

impl Reporter {
    /// Creates a reporter and the driver's receiving end; when `capacity` events are waiting, emitting another one blocks.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Event>) {
        let (events, received) = mpsc::channel(capacity);
        (Self { events }, received)
    }

    /// Sends `event` to the driver.
    pub async fn emit(&self, event: Event) {
        // A closed channel means that the driver has abandoned this step and is about to drop it.
        let _ = self.events.send(event).await;
    }
}
