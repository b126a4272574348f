//! Callers of the API, and its responses with their body read: an envelope, or a problem.

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

use crate::sse::Reader;

/// A caller of one server, anonymous or with a token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The server's address, without a path.
    pub base: String,
    pub client: Client,
    token: Option<String>,
}

impl Caller {
    /// An anonymous caller of the server at `base`.
    pub fn of(base: impl Into<String>) -> Self {
        Self { base: base.into(), client: Client::new(), token: None }
    }

    /// The same caller, signed in with a token.
    pub fn signed_in(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        self.token.iter().fold(request, RequestBuilder::bearer_auth)
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body).send().await.unwrap()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PUT, path).json(body).send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path).send().await.unwrap()).await
    }

    /// Opens the event stream of a deployment; `more` is a query.
    pub async fn follow(&self, id: &str, more: &str) -> Reader {
        Reader::open(self.request(Method::GET, &format!("/api/v1/deploy/{id}/events{more}"))).await
    }
}

/// A response with its body read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The envelope's data; fails unless the answer is a success with `message`.
    pub fn data(&self, message: &str) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        let body = self.json();
        assert_eq!((body["code"].as_i64(), body["message"].as_str()), (Some(200), Some(message)));
        assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
        body["data"].clone()
    }

    /// The problem; fails unless it is complete and has `status` and `code`.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["errorCode"], code, "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["message"], body["detail"]);
        let documentation = "https://github.com/panda-deploy/panda/blob/main/docs/errors.md#";
        assert_eq!(body["type"], format!("{documentation}{}", code.to_lowercase()));
        assert!(body["instance"].as_str().unwrap().starts_with('/'));
        assert!(!body["title"].as_str().unwrap().is_empty() && !body["error"].as_str().unwrap().is_empty());
        chrono::DateTime::parse_from_rfc3339(body["timestamp"].as_str().unwrap()).unwrap();
        body
    }

    /// The field named by a 400.
    pub fn refused_field(&self, code: &str) -> String {
        self.problem(400, code)["field"].as_str().unwrap_or_else(|| panic!("no field in {}", self.text)).to_owned()
    }
}
