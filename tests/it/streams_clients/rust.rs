//! The crate `eventsource-client`, which reconnects by itself.

use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, SSE};
use futures_util::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;

use super::reader::{Reader, Report, Told};

/// Reads in this process.
pub fn eventsource_client(events: &str) -> Reader {
    let transport = HyperTransport::builder().connect_timeout(Duration::from_secs(5)).build_http().unwrap();
    let client = ClientBuilder::for_url(events).unwrap().build_with_transport(transport);
    let reader = Reader::new("Rust's eventsource-client");
    let took = reader.clone();
    tokio::spawn(async move {
        let mut stream = client.stream();
        while let Some(next) = stream.next().await {
            match next {
                Ok(SSE::Event(event)) => took.took(Report::Told(Told {
                    id: event.id.unwrap(),
                    event: event.event_type,
                    data: Some(event.data),
                    message: None,
                    details: None,
                })),
                // It has no rule for 204 of its own: its user sees the status and stops.
                Ok(SSE::Connected(connection)) if connection.response().status() == 204 => break,
                // Ends and refusals: it comes back by itself.
                Ok(SSE::Connected(_) | SSE::Comment(_)) | Err(_) => {}
            }
        }
        took.took(Report::End { end: "home".to_owned() });
    });
    reader
}
