//! Generates `docs/errors.md`, to which the `type` of each problem leads: every error code with its status, meaning, message and remedy.

use std::collections::HashSet;
use std::fmt::Write as _;

use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::input::InputError;
use super::problem::{Problem, ProblemType};
use super::server::ServerError;
use super::{ApiError, database};
use crate::clients::aws::RoleRefusal;
use crate::clients::github::GitHubError;
use crate::commands::connect::aws::error::AwsConnectError;
use crate::commands::connect::error::ConnectError;
use crate::commands::deploy::error::DeployError;
use crate::commands::freezes::error::FreezeError;
use crate::commands::github_apps::error::GithubAppError;
use crate::commands::push_hooks::error::PushHookError;
use crate::commands::receivers::error::ReceiverError;
use crate::commands::revocations::error::RevocationError;
use crate::commands::schedules::error::ScheduleError;
use crate::commands::tokens::error::TokenError;
use crate::domain::catalogue::{Lang, render};
use crate::domain::failure::ErrorCode;
use crate::domain::message::Message;
use crate::http::auth::error::AccessError;
use crate::http::middleware::error::AdmissionError;
use crate::http::routes::hooks::github::error::PushRequestError;
use crate::http::routes::mcp::error::McpError;
use crate::http::routes::reports::error::ReportError;
use crate::http::sse::error::StreamError;

const INTRODUCTION: &str = "# Errors

Generated from the code (`make docs-renew`).

Every refused or failed request is answered with a *problem* (`application/problem+json`, RFC 9457). Programs distinguish problems by `errorCode`, which never changes its meaning;
`type` is the address of its section below. `message` (the same as `detail`) explains the occurrence and is for people: its wording may change. `field` names the invalid field of the request,
`deploymentId` and `stage` the deployment concerned, `externalId` what a role's trust policy must require, and `trustPolicy` such a policy.

`title`, `detail` and `message` are in the language of `?lang=` (`ko` or `en`), else of `Accept-Language`, else English; `Content-Language` names it.

Each section has the status, the meaning and the pattern of the message, in English and Korean; the remedy is in bold. Texts in braces depend on the request; numbers are examples or defaults.
`Retry-After` is the number of seconds after which the same request may succeed.

A deployment that failed has an error code as well: [Failures of deployments](#failures-of-deployments).
";

/// The problems of one area, by samples.
struct Area {
    heading: &'static str,
    types: &'static [ProblemType],
    samples: Vec<Problem>,
}

fn area<E: Into<ApiError>>(heading: &'static str, types: &'static [ProblemType], samples: Vec<E>) -> Area {
    let problem = |error: E| {
        let error = error.into();
        let problem = error.problem();
        assert_eq!(problem.error_code, error.code());
        problem
    };
    Area { heading, types, samples: samples.into_iter().map(problem).collect() }
}

fn areas() -> [Area; 21] {
    [
        area("Reading the request", InputError::TYPES, InputError::samples()),
        area("Admission and limits", AdmissionError::TYPES, AdmissionError::samples()),
        area("Access", AccessError::TYPES, AccessError::samples()),
        area("Deployments", DeployError::TYPES, DeployError::samples()),
        area("Event streams", StreamError::TYPES, StreamError::samples()),
        area("Connections", ConnectError::TYPES, ConnectError::samples()),
        area("Connecting GitHub", GitHubError::TYPES, GitHubError::samples()),
        area("GitHub Apps", GithubAppError::TYPES, GithubAppError::samples()),
        area("Connecting AWS", AwsConnectError::TYPES, AwsConnectError::samples()),
        area("Connecting a role", RoleRefusal::TYPES, RoleRefusal::samples()),
        area("Schedules", ScheduleError::TYPES, ScheduleError::samples()),
        area("Freezes", FreezeError::TYPES, FreezeError::samples()),
        area("Webhooks and channels", ReceiverError::TYPES, ReceiverError::samples()),
        area("Push hooks", PushHookError::TYPES, PushHookError::samples()),
        area("Receiving pushes", PushRequestError::TYPES, PushRequestError::samples()),
        area("Reports", ReportError::TYPES, ReportError::samples()),
        area("Tools of /mcp", McpError::TYPES, McpError::samples()),
        area("Revocations", RevocationError::TYPES, RevocationError::samples()),
        area("Tokens", TokenError::TYPES, TokenError::samples()),
        area("Database", database::TYPES, database::samples()),
        area("Server", ServerError::TYPES, ServerError::samples()),
    ]
}

/// Writes the page, and fails where an error has no sample.
pub(crate) fn page() -> String {
    let areas = areas();
    let mut page = INTRODUCTION.to_owned();
    let mut described = HashSet::new();
    for area in &areas {
        let _ = write!(page, "\n## {}\n", area.heading);
        for kind in area.types {
            let title = Message::new(kind.title).text(Lang::En);
            let is_sample = |sample: &&Problem| sample.error_code == kind.code && sample.title == title;
            assert!(area.samples.iter().any(|sample| is_sample(&sample)), "{kind:?} has no sample");
            if described.insert(kind.code) {
                let samples = areas.iter().flat_map(|area| &area.samples);
                section(&mut page, &samples.filter(|sample| sample.error_code == kind.code).collect::<Vec<_>>());
            }
        }
    }
    page + &failures()
}

/// The section of one code: a paragraph for each of its titles, and each message below.
fn section(page: &mut String, samples: &[&Problem]) {
    let _ = write!(page, "\n### {}\n", samples[0].error_code);
    let mut title = "";
    for sample in samples {
        let korean = (*sample).clone().in_language(Lang::Ko);
        if sample.title != title {
            title = &sample.title;
            let status = StatusCode::from_u16(sample.status).unwrap();
            let _ = write!(page, "\n`{status}`: {title}. {}.{}\n", korean.title, extras(sample));
        }
        // The first sentence says what is wrong.
        let message = |detail: &str| match detail.split_once(". ") {
            Some((cause, remedy)) => format!("{cause}. **{remedy}**"),
            None => detail.to_owned(),
        };
        let _ = write!(page, "\n> {}\n>\n> {}\n", message(&sample.detail), message(&korean.detail));
    }
}

/// The members and headers that only some problems have.
fn extras(problem: &Problem) -> String {
    let members = [
        ("field", problem.field.is_some()),
        ("deploymentId", problem.deployment_id.is_some()),
        ("stage", problem.stage.is_some()),
        ("externalId", problem.external_id.is_some()),
        ("trustPolicy", problem.trust_policy.is_some()),
        ("Retry-After", problem.retry_after.is_some()),
        ("WWW-Authenticate", problem.status == StatusCode::UNAUTHORIZED.as_u16()),
    ];
    let present: Vec<String> = members.iter().filter(|(_, has)| *has).map(|(name, _)| format!("`{name}`")).collect();
    if present.is_empty() { String::new() } else { format!(" With {}.", present.join(", ")) }
}

fn failures() -> String {
    let mut text = "
## Failures of deployments

A deployment that FAILED has one of these codes as `errorCode` in its result, in lists and in reports, and its message as `errorMessage` and in the event `fail`.

| code | meaning | message | Korean |
| --- | --- | --- | --- |
"
    .to_owned();
    let params: Map<String, Value> = [("reason".to_owned(), Value::from("{reason}"))].into_iter().collect();
    for code in ErrorCode::ALL {
        let [message, korean] = [Lang::En, Lang::Ko].map(|lang| render(code.event_code(), &params, lang).message);
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(text, "| `{code}` | {} | {} | {} |", cell(code.meaning()), cell(&message), cell(&korean));
    }
    text
}

/// Every sample of every error, in both languages.
#[test]
fn errors_have_texts_in_both_languages() {
    let is_korean = |text: &str| text.chars().any(|c| ('가'..='힣').contains(&c));
    for area in areas() {
        for sample in area.samples {
            let english = sample.clone().in_language(Lang::En);
            let korean = sample.clone().in_language(Lang::Ko);
            assert_eq!((&english.title, &english.detail), (&sample.title, &sample.detail));
            assert!(is_korean(&korean.title) && !is_korean(&english.title), "{korean:?}");
            // `{field}: {rule}`: the texts of rules are tested with the catalogue.
            if korean.error_code != "INVALID_FIELD" {
                assert!(is_korean(&korean.detail) && !is_korean(&english.detail), "{korean:?}");
            }
            assert_eq!(korean.detail, korean.message);
            assert!(!korean.title.contains(".title") && !korean.detail.contains(&format!("{}.", korean.error_code)));
        }
    }
}
