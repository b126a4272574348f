//! The crate `eventsource-client`, which reconnects by itself.

use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, SSE};
use futures_util::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;

use super::progress::{ForeignReader, ReceivedEvent, Report};

/// Reads in this process.
pub fn eventsource_client(events: &str) -> ForeignReader {
    let transport = HyperTransport::builder().connect_timeout(Duration::from_secs(5)).build_http().unwrap();
    let client = ClientBuilder::for_url(events).unwrap().build_with_transport(transport);
    let reader = ForeignReader::new("Rust's eventsource-client");
    let reports = reader.clone();
    tokio::spawn(async move {
        let mut stream = client.stream();
        while let Some(next) = stream.next().await {
            match next {
                Ok(SSE::Event(event)) => reports.record(Report::ReceivedEvent(ReceivedEvent {
                    id: event.id.unwrap(),
                    event: event.event_type,
                    data: Some(event.data),
                    message: None,
                    details: None,
                })),
                // The crate does not handle 204: its user sees the status and stops.
                Ok(SSE::Connected(connection)) if connection.response().status() == 204 => break,
                // After ends and refusals the crate reconnects.
                Ok(SSE::Connected(_) | SSE::Comment(_)) | Err(_) => {}
            }
        }
        reports.record(Report::End { end: "home".to_owned() });
    });
    reader
}
