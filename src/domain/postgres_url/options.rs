//! The parameter `options`: settings of the session, as arguments of the server's command line. Panda sets them after connecting, because
//! connection poolers reject them in the startup message.

use super::UrlError;

/// Longest value of a setting, in bytes.
const MAX_VALUE: usize = 1_000;

/// Parses `-c name=value`, `-cname=value` and `--name=value`; a backslash escapes the next character.
pub(super) fn read(text: &str) -> Result<Vec<(String, String)>, UrlError> {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let assignment = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (None, Some("")) => words.next().ok_or_else(wrong)?,
            (Some(rest), _) | (None, Some(rest)) => rest.to_owned(),
            (None, None) => return Err(wrong()),
        };
        let (name, value) = assignment.split_once('=').ok_or_else(wrong)?;
        settings.push(setting(name, value)?);
    }
    Ok(settings)
}

/// Validates one setting and normalises its name.
pub(super) fn setting(name: &str, value: &str) -> Result<(String, String), UrlError> {
    let name = name.replace('-', "_").to_ascii_lowercase();
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if !first || name.len() > 63 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte)) {
        return Err(wrong());
    }
    if value.len() > MAX_VALUE || value.chars().any(|c| c.is_control() || c == '\\') {
        return Err(UrlError::new("a setting in `options` is too long, or holds a backslash or a control character"));
    }
    Ok((name, value.to_owned()))
}

fn wrong() -> UrlError {
    UrlError::new("`options` must be settings such as -c%20search_path=panda")
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut chars) = (Vec::new(), String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            ' ' => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}
