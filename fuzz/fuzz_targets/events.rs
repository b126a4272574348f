//! Messages of events: any code and parameters render as one line of JSON that parses to the same values.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panda_fuzz::domain::catalogue::{Lang, render};
use serde_json::{Map, Value};

fuzz_target!(|input: (&str, &str, &str)| {
    let (code, name, value) = input;
    let params: Map<String, Value> =
        serde_json::from_str(value).unwrap_or_else(|_| Map::from_iter([(name.to_owned(), Value::from(value))]));
    for lang in [Lang::Ko, Lang::En] {
        for code in [code, "BUILD_PROGRESS", "DEPLOYMENT_FAILED", "INFRA_COMPLETED"] {
            let rendered = render(code, &params, lang);
            let data =
                serde_json::to_string(&serde_json::json!({"message": rendered.message, "details": rendered.details}))
                    .unwrap();
            assert!(!data.contains(['\r', '\n', '\0']), "an event is one line");
            let read: Value = serde_json::from_str(&data).unwrap();
            assert_eq!(read["message"], rendered.message);
        }
    }
});
