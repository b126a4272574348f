//! Planted secrets, and the search for them in all outputs.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use uuid::Uuid;
use walkdir::WalkDir;

/// Secrets by the place where they are planted.
#[derive(Default)]
pub struct Canaries(BTreeMap<&'static str, String>);

impl Canaries {
    /// Creates a secret; `prefix` makes it look like a credential of its kind.
    pub fn plant(&mut self, name: &'static str, prefix: &str) -> String {
        let secret = format!("{prefix}{}", Uuid::new_v4().simple());
        self.watch(name, &secret);
        secret
    }

    /// Registers an existing secret.
    pub fn watch(&mut self, name: &'static str, secret: &str) {
        assert!(secret.len() >= 16, "{name} is too short to be distinguished from other words");
        self.0.insert(name, secret.to_owned());
    }

    /// Fails when one of them, or half of one, is in `haystack` in any encoding.
    pub fn assert_absent(&self, place: &str, haystack: &[u8]) {
        assert!(!haystack.is_empty(), "{place} is empty: nothing was searched");
        let text = String::from_utf8_lossy(haystack);
        for (name, secret) in &self.0 {
            if let Some((form, at)) = found(secret, &text) {
                let before = text[..at].char_indices().rev().nth(300).map_or(0, |(start, _)| start);
                panic!("{name} is in {place}, {form}: …{}<HERE>", &text[before..at]);
            }
        }
    }

    /// Fails unless every secret is found in a text that contains it: the search itself works.
    pub fn assert_search_works(&self) {
        for secret in self.0.values() {
            for text in [secret.clone(), STANDARD_NO_PAD.encode(format!("x:{secret}.")), hex::encode(secret)] {
                assert!(found(secret, &format!("a {text} b")).is_some());
            }
        }
    }
}

/// The encoding and position of a secret in a text.
fn found(secret: &str, text: &str) -> Option<(&'static str, usize)> {
    forms(secret).into_iter().find_map(|(form, needle)| text.find(&needle).map(|at| (form, at)))
}

fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let half = secret.len() / 2;
    let mut forms = vec![
        ("its first half", secret[..half].to_owned()),
        ("its second half", secret[half..].to_owned()),
        ("percent-encoded", url::form_urlencoded::byte_serialize(secret.as_bytes()).collect()),
        ("in hexadecimal", hex::encode(&secret[half..])),
    ];
    for before in 0..3 {
        // The characters at both ends depend on the surrounding text.
        let encoded = STANDARD_NO_PAD.encode(format!("{}{secret}", "-".repeat(before)));
        forms.push(("in base64", encoded[4..encoded.len() - 2].to_owned()));
    }
    forms
}

/// Names and contents of all files below `folder`.
pub fn files_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in WalkDir::new(folder).into_iter().map(Result::unwrap) {
        all.extend_from_slice(entry.path().to_string_lossy().as_bytes());
        if entry.file_type().is_file() {
            all.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    assert!(all.len() > 100, "the folder contains the source");
    all
}
