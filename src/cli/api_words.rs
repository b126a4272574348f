//! Rewrites the server's texts for a user of the command line: they name calls, headers and fields of the API, for which there are commands and options.

use std::borrow::Cow;

use super::sanitize;

const API: &str = "/api/v1/";

/// Sentences about headers and streams, which the command line handles itself, in both languages.
const SENTENCES: [(&str, &str); 22] = [
    ("repeat the request with a reason in `override`", "repeat the command with --override-freeze REASON"),
    ("본문의 override에 이유를 적어 다시 요청하거나", "--override-freeze REASON을 붙여 다시 실행하거나"),
    ("name its deployment in `to`", "give its deployment with --to"),
    ("name a deployment in `to`", "give a deployment with --to"),
    ("본문의 to에", "--to에"),
    (
        "Send the header Authorization: Bearer TOKEN;",
        "Set PANDA_TOKEN or PANDA_TOKEN_FILE, or give --panda-token-file FILE;",
    ),
    (
        "Authorization: Bearer TOKEN 헤더를 보내세요.",
        "PANDA_TOKEN 또는 PANDA_TOKEN_FILE을 설정하거나 --panda-token-file FILE을 지정하세요.",
    ),
    ("there is no Authorization header", "no token was given"),
    ("Authorization 헤더가 없습니다", "토큰을 지정하지 않았습니다"),
    ("Wait as long as Retry-After says", "Wait a moment"),
    ("Retry-After에 표시된 시간만큼 기다리고", "잠시 기다리고"),
    ("follow a deployment by its event stream instead of polling its result", "follow a deployment with panda watch"),
    ("배포 상태는 결과를 반복 조회하는 대신 이벤트 스트림으로 확인하세요", "배포 상태는 panda watch로 확인하세요"),
    ("its event stream reports that", "panda watch shows that"),
    ("상태 변경은 이벤트 스트림으로 알 수 있습니다", "상태 변경은 panda watch로 확인할 수 있습니다"),
    (", or follow all deployments in one stream: GET /api/v1/events", ""),
    ("닫거나 GET /api/v1/events로 모든 배포를 한 스트림에서 확인하세요", "닫으세요"),
    ("or poll …/result", "or use panda result"),
    ("…/result를 반복 조회하세요", "panda result로 조회하세요"),
    ("under this response's X-Request-Id", "under the id of this request"),
    ("이 응답의 X-Request-Id로", "이 요청의 ID로"),
    ("/swagger-ui lists the existing ones.", "The server may be of another version: see panda --version."),
];

/// Fields of the API that the command line names differently.
const FIELDS: [(&str, &str); 13] = [
    ("githubConnectionId", "--github"),
    ("awsConnectionId", "--aws"),
    ("ruleTargetRoleArn", "--rule-target-role-arn"),
    ("roleArn", "--role-arn"),
    ("accessKeyId", "--access-key-id"),
    ("secretAccessKey", "--secret-key-file"),
    ("sessionToken", "--session-token-file"),
    ("timeZone", "--time-zone"),
    ("startsAt", "--from"),
    ("endsAt", "--until"),
    ("override.reason", "--override-freeze"),
    ("concurrency", "--concurrency"),
    ("keepPreviousHours", "--keep-previous"),
];

/// The text with commands and options in place of calls and fields.
pub fn as_commands(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (sentence, replacement) in SENTENCES {
        if text.contains(sentence) {
            text = Cow::Owned(text.replace(sentence, replacement));
        }
    }
    if text.contains(API) {
        text = Cow::Owned(without_calls(&without_alternatives(&text)));
    }
    // Items of lists are written in a file, whose members have no options: `windows[0].timeZone` of a policy.
    let in_a_file = text.split(':').next().is_some_and(|field| field.contains('['));
    for (field, option) in FIELDS {
        if !in_a_file && text.contains(field) {
            text = Cow::Owned(with_option(&text, field, option));
        }
    }
    text
}

/// The field of a problem, as the option that sets it.
pub fn option_of(field: &str) -> String {
    let known = FIELDS.iter().find(|(name, _)| *name == field);
    known.map_or_else(|| sanitize::line(field), |(_, option)| (*option).to_owned())
}

/// Removes the call in parentheses after a command that does the same.
fn without_alternatives(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("` (") {
        out.push_str(before);
        match after.split_once(')') {
            Some((inside, following)) if inside.contains(API) => {
                out.push('`');
                rest = following;
            }
            _ => {
                out.push_str("` (");
                rest = after;
            }
        }
    }
    out + rest
}

/// Replaces each call, such as `GET /api/v1/deploy`, by its command.
fn without_calls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(API) {
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && !"/_-.{}".contains(c)).unwrap_or(after.len());
        let path = after[..end].trim_end_matches('.');
        let words = before.trim_end();
        let method = words.rsplit([' ', '(']).next().unwrap_or_default();
        match command(method, path) {
            Some(command) => {
                out.push_str(words.strip_suffix(method).unwrap_or_default());
                out.push_str(&command);
            }
            None => out.extend([before, API, path]),
        }
        rest = &after[path.len()..];
    }
    out + rest
}

/// The command that does what a call does.
fn command(method: &str, path: &str) -> Option<String> {
    let segments: Vec<&str> = path.split('/').collect();
    let command = match (method, segments.as_slice()) {
        ("GET", ["deploy"]) => "list".to_owned(),
        ("POST", ["deploy"]) => "deploy".to_owned(),
        ("GET", ["deploy", "current"]) => "current".to_owned(),
        ("GET", ["deploy", id, "events"]) => format!("watch {id}"),
        ("GET", ["deploy", id, "result"]) => format!("result {id}"),
        ("POST", ["deploy", id, command @ ("switch" | "cancel" | "retry" | "rollback")]) => format!("{command} {id}"),
        ("PUT", ["deploy", id, "outcome"]) => format!("outcome {id}"),
        ("GET", ["github-apps"]) => "connect github-app --list".to_owned(),
        ("GET", ["connections"]) => "connections".to_owned(),
        ("DELETE", ["connections", id]) => format!("connections remove {id}"),
        ("POST", ["connect", kind]) => format!("connect {kind}"),
        ("PUT", ["connect", kind, id]) => format!("connect {kind} --renew {id}"),
        ("POST", ["connect", "aws", id, "check"]) => format!("check --aws {id}"),
        ("POST", ["connect", "aws", id, "rule-role"]) => format!("connections create-role {id}"),
        ("GET", ["connect", "github", id, "secrets"]) => format!("connections secrets list {id}"),
        ("PUT", ["connect", "github", id, "secrets", name]) => format!("connections secrets set {id} {name}"),
        ("GET", ["schedules"]) => "schedule list".to_owned(),
        ("GET", ["reports"]) => "report".to_owned(),
        ("GET", ["freezes"]) => "freeze list".to_owned(),
        ("DELETE", ["freezes", id]) => format!("freeze lift {id}"),
        ("GET", ["channels"]) => "channel list".to_owned(),
        ("POST", ["channels"]) => "channel create".to_owned(),
        ("GET", ["channels", id, "deliveries"]) => format!("channel deliveries {id}"),
        ("GET", ["hooks"]) => "hook list".to_owned(),
        ("GET", ["hooks", id, "deliveries"]) => format!("hook deliveries {id}"),
        ("GET", ["webhooks"]) => "webhook list".to_owned(),
        ("GET", ["webhooks", id, "deliveries"]) => format!("webhook deliveries {id}"),
        ("GET", ["policies", owner, repo]) => format!("policy show {owner}/{repo}"),
        ("GET", ["tokens"]) => "token list".to_owned(),
        ("GET", ["revocations"]) => "token revoked".to_owned(),
        _ => return None,
    };
    Some(format!("panda {command}"))
}

/// Replaces a field by its option where it is a word, and not part of an option.
fn with_option(text: &str, field: &str, option: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(field) {
        let joins = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let alone = !before.ends_with(joins) && !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        out.push_str(before);
        out.push_str(if alone { option } else { field });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::Value;

    #[test]
    fn names_commands_instead_of_calls() {
        for (text, expected) in [
            (
                "There is no deployment dep_x. GET /api/v1/deploy lists the existing ones.",
                "There is no deployment dep_x. panda list lists the existing ones.",
            ),
            ("POST /api/v1/deploy로 새 배포를 시작할 수 있습니다.", "panda deploy로 새 배포를 시작할 수 있습니다."),
            ("remove it first (DELETE /api/v1/connections/gh_1).", "remove it first (panda connections remove gh_1)."),
            (
                "is not a build secret of this githubConnectionId; PUT /api/v1/connect/github/gh_1/secrets/npm stores one",
                "is not a build secret of this --github; panda connections secrets set gh_1 npm stores one",
            ),
            ("deploy with concurrency queue", "deploy with --concurrency queue"),
            (
                "create one with `panda connections create-role a` (POST /api/v1/connect/aws/a/rule-role), or give one with `panda connect aws --renew a \
                 --rule-target-role-arn ARN` (ruleTargetRoleArn of PUT /api/v1/connect/aws/a), then retry",
                "create one with `panda connections create-role a`, or give one with `panda connect aws --renew a --rule-target-role-arn ARN`, then retry",
            ),
            ("GET /api/v1/deploy", "panda list"),
            ("PATCH /api/v1/unknown (x)", "PATCH /api/v1/unknown (x)"),
            ("nothing of it", "nothing of it"),
        ] {
            assert_eq!(as_commands(text), expected);
        }
        assert_eq!((option_of("roleArn"), option_of("owner")), ("--role-arn".to_owned(), "owner".to_owned()));
    }

    /// Errors that the command line cannot cause.
    const OF_OTHER_CLIENTS: [&str; 3] = ["UNSUPPORTED_MEDIA_TYPE", "NOT_ACCEPTABLE", "BAD_HOST"];

    #[test]
    fn no_text_of_the_server_names_a_call() {
        let mut seen = 0;
        for file in [include_str!("../domain/texts/errors.json"), include_str!("../domain/texts/rules.json")] {
            let groups: BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>> =
                serde_json::from_str(file).unwrap();
            for (code, texts) in groups.iter().filter(|(code, _)| !OF_OTHER_CLIENTS.contains(&code.as_str())) {
                for (name, translations) in texts {
                    for text in translations.values().filter_map(Value::as_str) {
                        let shown = as_commands(text);
                        seen += usize::from(shown != text);
                        for call in [API, "Bearer TOKEN", "Retry-After", "ConnectionId", "roleArn"] {
                            assert!(!shown.contains(call), "{code}.{name}: {shown}");
                        }
                    }
                }
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
