//! The client of alarms against moto's CloudWatch: states, and names that are not there.
//!
//! AWS's own client speaks CBOR, which moto does not for this service: a translator in between exchanges CBOR and moto's JSON, member by member.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use ciborium::Value as Cbor;
use panda::clients::aws::AlarmState;
use panda::domain::connection::{AwsCredentials, AwsKeys};
use panda_testing::moto::server::Moto;
use pretty_assertions::assert_eq;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use crate::support::environment;

const REGION: &str = "ap-northeast-2";
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/ap-northeast-2/monitoring/aws4_request, SignedHeaders=host, Signature=0";

/// Makes a call in moto's JSON protocol.
async fn call(moto: &Url, operation: &str, input: &Value) -> (StatusCode, Value) {
    let request = reqwest::Client::new().post(moto.clone()).header("authorization", SIGNED);
    let request = request.header("x-amz-target", format!("GraniteServiceVersion20100801.{operation}"));
    let answer =
        request.header("content-type", "application/x-amz-json-1.0").body(input.to_string()).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{operation}: {error}: {text}")))
}

fn to_cbor(name: &str, value: Value) -> Cbor {
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(value) => Cbor::Bool(value),
        Value::Number(number) if name.ends_with("Timestamp") => {
            Cbor::Tag(1, Box::new(Cbor::Float(number.as_f64().unwrap())))
        }
        Value::Number(number) => number.as_i64().map_or_else(|| Cbor::Float(number.as_f64().unwrap()), Cbor::from),
        Value::String(text) => Cbor::Text(text),
        Value::Array(items) => Cbor::Array(items.into_iter().map(|item| to_cbor("", item)).collect()),
        Value::Object(members) => Cbor::Map(
            members.into_iter().map(|(name, value)| (Cbor::Text(name.clone()), to_cbor(&name, value))).collect(),
        ),
    }
}

async fn translate(
    State(moto): State<Url>,
    Path(operation): Path<String>,
    body: Bytes,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let input: Value = ciborium::from_reader(&body[..]).unwrap();
    let (status, answer) = call(&moto, &operation, &input).await;
    let mut bytes = Vec::new();
    ciborium::into_writer(&to_cbor("", answer), &mut bytes).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, "application/cbor".parse().unwrap());
    headers.insert("smithy-protocol", "rpc-v2-cbor".parse().unwrap());
    (status, headers, bytes)
}

#[tokio::test]
async fn alarms__states_are_read_by_exact_name() {
    let moto = Moto::start().await;
    for (name, state) in [("shop", None), ("shop-5xx", Some("ALARM")), ("shop-latency", Some("OK"))] {
        let alarm = json!({"AlarmName": name, "Namespace": "shop", "MetricName": "errors", "Statistic": "Sum", "Period": 60,
                           "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold"});
        assert_eq!(call(moto.url(), "PutMetricAlarm", &alarm).await.0, StatusCode::OK);
        if let Some(state) = state {
            let set = json!({"AlarmName": name, "StateValue": state, "StateReason": "five of six"});
            assert_eq!(call(moto.url(), "SetAlarmState", &set).await.0, StatusCode::OK);
        }
    }
    // A composite alarm is asked for by its type.
    // Moto makes them with the call for metric alarms.
    let composite = json!({"AlarmName": "shop-any", "AlarmRule": "ALARM(\"shop-5xx\") OR ALARM(\"shop-latency\")"});
    assert_eq!(call(moto.url(), "PutMetricAlarm", &composite).await.0, StatusCode::OK);
    let set = json!({"AlarmName": "shop-any", "StateValue": "ALARM", "StateReason": "shop-5xx"});
    assert_eq!(call(moto.url(), "SetAlarmState", &set).await.0, StatusCode::OK);
    let app = Router::new().route("/service/GraniteServiceVersion20100801/operation/{operation}", post(translate));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let translator = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let app = app.with_state(moto.url().clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let keys = AwsKeys {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: SecretString::from("secret"),
        session_token: None,
    };
    let aws = environment::aws(Some(translator), Some(REGION), keys.clone(), Duration::from_secs(30), &[]).await;
    let alarms = aws.user("moto", REGION, &AwsCredentials::Keys(keys)).alarms;
    let state = async |name: &str| alarms.alarm(name).await.unwrap().map(|alarm| alarm.state);
    assert_eq!(state("shop-5xx").await, Some(AlarmState::Alarm));
    assert_eq!(alarms.alarm("shop-5xx").await.unwrap().unwrap().reason, "five of six");
    assert_eq!(state("shop-any").await, Some(AlarmState::Alarm));
    assert_eq!(state("shop-latency").await, Some(AlarmState::Ok));
    assert!(!matches!(state("shop").await, Some(AlarmState::Alarm)), "a new alarm has no data");
    assert_eq!(state("sho").await, None, "a beginning of a name is no name");
    assert_eq!(state("missing").await, None);
}
