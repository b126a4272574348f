//! A collector of traces: OTLP over HTTP, as OpenTelemetry's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

/// Collects the received spans.
#[derive(Clone, Default)]
pub struct Collector {
    spans: Arc<Mutex<Vec<ReceivedSpan>>>,
}

#[derive(Clone, Debug)]
pub struct ReceivedSpan {
    pub service: String,
    pub trace: String,
    pub id: String,
    /// Empty for a root span.
    pub parent: String,
    pub name: String,
    pub attributes: HashMap<String, String>,
    /// Start and end, in nanoseconds since 1970.
    pub time: (u64, u64),
    /// Message of an error; none for a successful span.
    pub error: Option<String>,
    /// All fields of the span as text.
    pub whole: String,
}

impl Collector {
    /// Starts one and returns its address.
    pub async fn start() -> (Self, String) {
        let collector = Self::default();
        let app = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (collector, url)
    }

    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.spans.lock().unwrap().clone()
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in request.resource_spans {
        let service = text(&resource.resource.unwrap().attributes, "service.name");
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        collector.spans.lock().unwrap().extend(spans.map(|span| ReceivedSpan::of(service.clone(), &span)));
    }
}

impl ReceivedSpan {
    fn of(service: String, span: &Span) -> Self {
        let error = span.status.as_ref().filter(|status| status.code == 2).map(|status| status.message.clone());
        Self {
            service,
            trace: hex::encode(&span.trace_id),
            id: hex::encode(&span.span_id),
            parent: hex::encode(&span.parent_span_id),
            name: span.name.clone(),
            attributes: span.attributes.iter().map(|one| (one.key.clone(), said(one.value.as_ref()))).collect(),
            time: (span.start_time_unix_nano, span.end_time_unix_nano),
            error,
            whole: format!("{span:?}"),
        }
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    attributes.iter().find(|one| one.key == key).map(|one| said(one.value.as_ref())).unwrap_or_default()
}

fn said(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}
