//! Reasons of failures and waits. Panda's own sentences are texts of the catalogue; texts of AWS, a builder or a library stay as they are.
//!
//! Logs and columns have the English text. An event has both: the English text, and the form from which it is rendered in another language.

use std::fmt;

use serde_json::Value;

use super::lang::Lang;
use super::message::{Message, Param};
use super::text;

/// Reason of a failure or a wait, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(Message);

impl Reason {
    /// Returns the form for other languages; none for a text that is the same in each.
    pub fn to_json(&self) -> Option<Value> {
        (!self.0.is_verbatim()).then(|| self.0.to_json())
    }

    /// Reads a text and its form for other languages, as they are stored.
    pub fn stored(text: &str, form: Option<&Value>) -> Self {
        form.and_then(Message::from_json).map_or_else(|| Self::from(text), Self)
    }

    /// Returns the text in a language, in one line.
    pub fn text(&self, lang: Lang) -> String {
        text::reason(&self.0.text(lang))
    }

    /// Changes the texts from outside.
    pub fn edit_texts(&mut self, edit: &mut dyn FnMut(&mut String)) {
        self.0.edit_texts(edit);
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Lang::En))
    }
}

/// Truncates and sanitises each text from outside.
impl From<Message> for Reason {
    fn from(mut message: Message) -> Self {
        message.edit_texts(&mut |outside| *outside = text::cut(outside, text::MAX_REASON_CHARS));
        Self(message)
    }
}

impl From<&str> for Reason {
    fn from(outside: &str) -> Self {
        Self(Message::verbatim(text::reason(outside)))
    }
}

impl From<String> for Reason {
    fn from(outside: String) -> Self {
        Self::from(outside.as_str())
    }
}

impl From<Reason> for Param {
    fn from(reason: Reason) -> Self {
        Self::Translated(reason.0)
    }
}

impl From<&Reason> for Param {
    fn from(reason: &Reason) -> Self {
        reason.clone().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_has_one_form() {
        assert_eq!(Reason::from(" exit code 1\n").to_string(), "exit code 1");
        assert_eq!(Reason::from("exit code 1").to_json(), None);
    }
}
