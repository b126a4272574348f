use serde_json::json;

use super::*;

fn gate(change: impl Fn(&mut serde_json::Value)) -> Gate {
    let mut json = json!({
        "name": "errors", "at": "before_switch", "every": 10, "times": 3, "failures": 2, "noData": "wait", "onFail": "rollback",
        "prometheus": {"url": "https://prometheus.example.com/", "query": "sum(rate(errors[1m]))", "max": 0.01},
    });
    change(&mut json);
    serde_json::from_value(json).unwrap()
}

fn found() -> Message {
    message!("gate.no_series")
}

#[test]
fn checks_name_their_field() {
    assert_eq!(gate(|_| {}).check(), Ok(()));
    let refused = |path: &str, value: serde_json::Value| {
        let change = |json: &mut serde_json::Value| *json.pointer_mut(path).unwrap() = value.clone();
        gate(change).check().map_err(|refused| refused.field)
    };
    for (path, value, field) in [
        ("/name", json!(""), "name"),
        ("/name", json!("Errors"), "name"),
        ("/name", json!("a".repeat(41)), "name"),
        ("/every", json!(4), "every"),
        ("/every", json!(3_601), "every"),
        ("/times", json!(0), "times"),
        ("/failures", json!(1_001), "failures"),
        ("/prometheus/url", json!("prometheus.example.com"), "prometheus.url"),
        ("/prometheus/url", json!("https://user:pass@prometheus.example.com/"), "prometheus.url"),
        ("/prometheus/url", json!("file:///etc/passwd"), "prometheus.url"),
        ("/prometheus/url", json!("https://prometheus.example.com/?token=1"), "prometheus.url"),
        ("/prometheus/query", json!(""), "prometheus.query"),
        ("/prometheus/query", json!("x".repeat(2_001)), "prometheus.query"),
        ("/prometheus/max", json!(null), "prometheus.max"),
    ] {
        assert_eq!(refused(path, value.clone()), Err(field.to_owned()), "{path} {value}");
    }
    let long = gate(|json| {
        json["every"] = json!(3_600);
        json["times"] = json!(168);
    });
    assert_eq!(long.check().unwrap_err().field, "times");
    let paused_bake = gate(|json| {
        json["at"] = json!("bake");
        json["onFail"] = json!("pause");
    });
    assert_eq!(paused_bake.check().unwrap_err().field, "onFail");
}

#[test]
fn headers_are_tokens_with_secrets() {
    let with = |name: &str, secret: &str| {
        gate(|json| json["prometheus"]["headers"] = json!({name: secret})).check().map_err(|refused| refused.field)
    };
    assert_eq!(with("Authorization", "prometheus-token"), Ok(()));
    for (name, secret, field) in [
        ("Host", "token", "prometheus.headers"),
        ("X-A\r\nX-B", "token", "prometheus.headers"),
        ("", "token", "prometheus.headers"),
        ("Authorization", "Bearer abc def", "prometheus.headers.Authorization"),
    ] {
        assert_eq!(with(name, secret), Err(field.to_owned()), "{name:?}");
    }
}

#[test]
fn names_are_unique_and_gates_few() {
    assert_eq!(check_all(&[gate(|_| {}), gate(|json| json["name"] = json!("latency"))]), Ok(()));
    assert_eq!(check_all(&[gate(|_| {}), gate(|_| {})]).unwrap_err().field, "gates[1].name");
    assert_eq!(check_all(&vec![gate(|_| {}); MAX_GATES + 1]).unwrap_err().field, "gates");
}

#[test]
fn verdict_follows_the_counts() {
    let gate = gate(|_| {});
    let mut progress = GateProgress::new(&gate);
    let mut verdict = |reading: fn(Message) -> GateReading| {
        progress.count(&gate, reading(found()));
        progress.verdict(&gate)
    };
    let passed = |found| GateReading::Passed(None, found);
    let failed = |found| GateReading::Failed(None, found);
    assert_eq!(verdict(passed), GateVerdict::Open);
    assert_eq!(verdict(failed), GateVerdict::Open);
    assert_eq!(verdict(GateReading::NoData), GateVerdict::Open);
    assert_eq!(verdict(GateReading::Unreadable), GateVerdict::Open);
    assert_eq!(verdict(passed), GateVerdict::Open);
    assert_eq!(verdict(passed), GateVerdict::Passed);
    // Failures decide first.
    assert_eq!(verdict(failed), GateVerdict::Failed);
}

#[test]
fn missing_data_counts_as_the_gate_says_and_no_answer_never() {
    for (no_data, expected) in
        [("wait", GateVerdict::Open), ("pass", GateVerdict::Passed), ("fail", GateVerdict::Failed)]
    {
        let gate = gate(|json| {
            json["noData"] = json!(no_data);
            json["times"] = json!(1);
            json["failures"] = json!(1);
        });
        let mut progress = GateProgress::new(&gate);
        progress.count(&gate, GateReading::Unreadable(found()));
        assert_eq!(progress.verdict(&gate), GateVerdict::Open, "{no_data}");
        progress.count(&gate, GateReading::NoData(found()));
        assert_eq!(progress.verdict(&gate), expected, "{no_data}");
    }
}

#[test]
fn next_measurement_is_due_after_the_interval() {
    let gate = gate(|_| {});
    let mut progress = GateProgress::new(&gate);
    assert!(progress.is_due());
    progress.count(&gate, GateReading::NoData(found()));
    assert_eq!((progress.is_due(), progress.wait_ms), (false, 10_000));
}

#[test]
fn answers_are_a_single_number_or_say_why_not() {
    let GateCheck::Prometheus(check) = gate(|_| {}).check else { panic!("another check") };
    let result = |body: &str| {
        let mut progress = GateProgress::new(&gate(|_| {}));
        let measured = progress.count(&gate(|_| {}), prometheus::read(&check, body.as_bytes()));
        (measured.result, measured.value)
    };
    let vector =
        |series: &str| format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#);
    let one = |value: &str| vector(&format!(r#"{{"metric":{{}},"value":[1767600000.1,"{value}"]}}"#));
    assert_eq!(result(&one("0.005")), ("passed", Some(0.005)));
    assert_eq!(result(&one("0.02")), ("failed", Some(0.02)));
    assert_eq!(result(&one("+Inf")), ("failed", None));
    assert_eq!(result(&one("NaN")), ("no_data", None));
    assert_eq!(result(&vector("")), ("no_data", None));
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1767600000.1,"0"]}}"#;
    assert_eq!(result(scalar), ("passed", Some(0.0)));
    let two = format!("{0},{0}", r#"{"metric":{},"value":[1,"1"]}"#);
    for body in [
        &vector(&two),
        r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
        r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
        r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
        &one("many"),
        "<html>",
        "",
    ] {
        assert_eq!(result(body), ("unreadable", None), "{body}");
    }
}

#[test]
fn stored_form_is_the_one_of_the_api() {
    let gate = gate(|_| {});
    let json = serde_json::to_value(&gate).unwrap();
    assert_eq!(json["prometheus"]["max"], 0.01);
    assert_eq!(json["onFail"], "rollback");
    assert_eq!(serde_json::from_value::<Gate>(json).unwrap(), gate);
}
