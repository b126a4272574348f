//! Masking of known secrets in text from external programs, such as a build's output, before the text is stored or logged.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use serde_json::{Map, Value};

use super::event::Event;
use super::reason::Reason;

/// Replacement of a secret.
const MASKED: &str = "***";

/// Shortest secret that is masked, in bytes: a shorter one would match unrelated words. Also the shortest masked beginning of a secret
/// where a text was truncated.
const SHORTEST: usize = 8;

/// Secrets of one deployment in the forms in which programs print them: verbatim, percent-encoded, as a JSON string, in Base64 at any offset
/// of a longer text, and in hexadecimal.
pub struct Mask {
    /// Forms of all secrets, longest first, since one form may contain another.
    forms: Vec<Zeroizing<String>>,
}

impl Mask {
    /// Creates a mask of these secrets.
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let known = secrets.into_iter().map(SecretString::expose_secret).filter(|secret| secret.len() >= SHORTEST);
        let mut forms: Vec<Zeroizing<String>> = known.flat_map(forms).map(Zeroizing::new).collect();
        forms.sort_unstable_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self { forms }
    }

    /// Replaces the secrets, and users and passwords in URLs, in `text`.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for form in &self.forms {
            if text.contains(form.as_str()) {
                text = Cow::Owned(text.replace(form.as_str(), MASKED));
            }
        }
        if let Some(without) = self.without_beginnings(&text) {
            text = Cow::Owned(without);
        }
        match without_users(&text) {
            Some(without) => Cow::Owned(without),
            None => text,
        }
    }

    /// Replaces beginnings of secrets before a `…`, where a text was truncated. Returns none if there are none.
    fn without_beginnings(&self, text: &str) -> Option<String> {
        let (mut without, mut rest, mut found) = (String::new(), text, false);
        while let Some((before, after)) = rest.split_once('…') {
            let secret = self.forms.iter().filter_map(|form| beginning_at_end(form, before)).max();
            without.push_str(&before[..before.len() - secret.unwrap_or(0)]);
            without.push_str(if secret.is_some() { MASKED } else { "" });
            without.push('…');
            found |= secret.is_some();
            rest = after;
        }
        without.push_str(rest);
        found.then_some(without)
    }

    /// Masks an optional text in place.
    pub fn option(&self, text: &mut Option<String>) {
        if let Some(text) = text {
            self.string(text);
        }
    }

    /// Masks a text in place.
    pub fn string(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.text(text) {
            *text = masked;
        }
    }

    /// Masks the texts from outside of a reason in place.
    pub fn reason(&self, reason: &mut Reason) {
        reason.edit_texts(&mut |text| self.string(text));
    }

    /// Masks all texts of a JSON value, at any depth.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(members) => self.members(members),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Masks the parameters of events.
    pub fn events(&self, events: &mut [Event]) {
        for event in events {
            self.members(&mut event.params);
        }
    }

    fn members(&self, members: &mut Map<String, Value>) {
        members.values_mut().for_each(|value| self.value(value));
    }
}

/// Returns the length of the longest beginning of `form` at the end of `text`, if it has at least `SHORTEST` bytes.
fn beginning_at_end(form: &str, text: &str) -> Option<usize> {
    let longest = form.len().min(text.len());
    (SHORTEST..=longest).rev().find(|length| form.get(..*length).is_some_and(|start| text.ends_with(start)))
}

fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned(), hex::encode(secret), hex::encode_upper(secret)];
    forms.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
    let quoted = Value::from(secret).to_string();
    forms.push(quoted.trim_matches('"').to_owned());
    for before in 0..3 {
        // Within a longer text, the Base64 characters at both ends depend on the bytes around the secret.
        let padded = Zeroizing::new([vec![0; before], secret.as_bytes().to_vec()].concat());
        let partial = usize::from(!padded.len().is_multiple_of(3));
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = Zeroizing::new(engine.encode(&*padded));
            forms.extend(encoded.get((before * 4).div_ceil(3)..encoded.len() - partial).map(str::to_owned));
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// Replaces `https://user:password@host` by `https://***@host`. Returns none if there is no such URL.
fn without_users(text: &str) -> Option<String> {
    let mut without = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        without.push_str(before);
        rest = after;
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | '\\');
        let authority = &rest[..rest.find(ends).unwrap_or(rest.len())];
        // `git`, the common user of Git hosts, is no secret.
        if let Some((user, _)) = authority.rsplit_once('@').filter(|(user, _)| !matches!(*user, "git" | MASKED | "")) {
            without.push_str(MASKED);
            rest = &rest[user.len()..];
            found = true;
        }
    }
    without.push_str(rest);
    found.then_some(without)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lang::Lang;
    use crate::domain::message::{Message, message};
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    const SECRET: &str = "ghp_s3cr/t+k3y=0123456789";

    fn masked(text: &str) -> String {
        Mask::of(&[SecretString::from(SECRET)]).text(text).into_owned()
    }

    #[test]
    fn masks_a_reason_in_every_form() {
        let calls = "ecr:PutImage: token ghp_0123456789\0";
        let refused = message!("reason.refused_calls", calls);
        let mut reason = Reason::from(message!("reason.with_refused_calls", reason = "x", refused));
        Mask::of([&SecretString::from("ghp_0123456789")]).reason(&mut reason);
        assert_eq!(reason.to_string(), "x; check in AWS, because it was refused: ecr:PutImage: token ***\u{fffd}");
        let korean = Message::from_json(&reason.to_json().unwrap()).unwrap().text(Lang::Ko);
        assert_eq!(korean, "x; 호출이 거부되었으니 AWS에서 확인하세요: ecr:PutImage: token ***\u{fffd}");
    }

    #[test]
    fn masks_every_form_of_a_secret() {
        assert_eq!(masked(&format!("token={SECRET}.")), "token=***.");
        assert_eq!(masked(&format!("{SECRET}{SECRET}")), "******");
        assert_eq!(masked("x ghp_s3cr%2Ft%2Bk3y%3D0123456789"), "x ***");
        assert_eq!(masked(&hex::encode(SECRET)), "***");
        for around in ["", "a", "ab", "abc", "x-access-token:", "AWS:", "Bearer "] {
            for encoded in
                [STANDARD.encode(format!("{around}{SECRET}")), URL_SAFE_NO_PAD.encode(format!("{around}{SECRET}\n"))]
            {
                let shown = masked(&encoded);
                assert!(shown.contains("***") && shown.len() < around.len() * 2 + 10, "{around}: {shown}");
            }
        }
    }

    #[test]
    fn masks_a_truncated_secret() {
        assert_eq!(masked("output: ghp_s3cr/t+…"), "output: ***…");
        assert_eq!(masked("output: ghp_s3cr…"), "output: ***…");
        assert_eq!(masked("a ghp_s3cr/… d\nb ghp_s3cr/t+k…\nc…"), "a ***… d\nb ***…\nc…");
        assert_eq!(masked("output: ghp…"), "output: ghp…");
        assert_eq!(masked("ends with ghp_s3cr"), "ends with ghp_s3cr", "nothing was truncated");
        assert_eq!(masked("가나…"), "가나…");
    }

    #[test]
    fn masks_users_and_passwords_in_urls() {
        assert_eq!(
            masked("pip install https://me:pw@pypi.example/x and http://t0ken@h/"),
            "pip install https://***@pypi.example/x and http://***@h/"
        );
        assert_eq!(masked("redis://:p@ss@word@db:6379"), "redis://***@db:6379");
        for harmless in [
            "https://medium.com/@me",
            "ssh://git@github.com/x",
            "https://a/?q=a@b",
            "a://",
            "://",
            "mail me@x",
            "https://***@h/",
        ] {
            assert_eq!(masked(harmless), harmless);
        }
    }

    #[test]
    fn keeps_short_secrets_and_other_words() {
        let mask = Mask::of(&[SecretString::from("main")]);
        assert!(matches!(mask.text("the main branch"), Cow::Borrowed("the main branch")));
        assert_eq!(masked("Step 1/2 : FROM busybox"), "Step 1/2 : FROM busybox");
    }

    #[test]
    fn masks_values_at_any_depth() {
        let mask = Mask::of(&[SecretString::from(SECRET)]);
        let mut value = json!({"a": [SECRET, {"b": format!("x{SECRET}")}], "n": 1, "z": null});
        mask.value(&mut value);
        assert_eq!(value, json!({"a": ["***", {"b": "x***"}], "n": 1, "z": null}));
    }
}
