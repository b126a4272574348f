//! Provokes errors and records the statuses that were answered.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, RequestBuilder};

use super::{Answer, Api};

#[derive(Default)]
pub struct Provoker {
    /// Statuses by `METHOD path`.
    pub seen: BTreeMap<String, BTreeSet<u16>>,
}

impl Provoker {
    /// Sends requests until the rate limit refuses one. Their foreign origin ensures that nothing is changed.
    pub async fn ask_too_often(&mut self, api: &Api, method: &Method, path: &str, concrete: &str) {
        loop {
            let request = api.request(method.clone(), concrete).header("origin", "https://evil.example");
            let response = request.send().await.unwrap();
            if response.status() == 429 {
                Answer::of(response).await.problem(429, "TOO_MANY_REQUESTS");
                self.seen.entry(format!("{method} {path}")).or_default().insert(429);
                return;
            }
        }
    }

    /// Sends a request to `concrete`, an instance of the path template `path`.
    pub async fn ask(
        &mut self,
        api: &Api,
        method: Method,
        path: &str,
        concrete: &str,
        change: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) {
        let answer = Answer::of(change(api.request(method.clone(), concrete)).send().await.unwrap()).await;
        assert!(answer.status >= 400, "{method} {concrete} answers {}", answer.status);
        let code = answer.json()["errorCode"].as_str().unwrap().to_owned();
        answer.problem(answer.status, &code);
        self.seen.entry(format!("{method} {path}")).or_default().insert(answer.status);
    }
}
