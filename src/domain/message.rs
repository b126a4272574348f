//! Texts for people in Korean and English: errors, broken rules, output of the command line. Each is a [`Message`], a key of the catalogue with
//! parameters, and becomes a sentence only where the reader's language is known.
//!
//! The catalogue is `texts/*.json`: groups of texts, keyed `GROUP.NAME`, such as `TARGET_TAKEN.detail`. A new text is one entry there and one
//! [`message!`] that names it; the test `catalogue_and_code_agree` compares both. Events have their own entries (`catalogue`), filled by the same code.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::lang::Lang;

/// A text of the catalogue with its parameters. `Display` is the English text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    key: &'static str,
    params: Vec<(Cow<'static, str>, Param)>,
}

/// Value of a placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Param {
    /// The same in every language: a name, a number, a text from outside.
    Verbatim(String),
    /// Rendered in the language of the whole text.
    Translated(Message),
}

/// Creates a [`Message`]: `message!("rule.limit", max = 100)`. `name` alone stands for `name = name`.
macro_rules! message {
    (@value $name:ident) => { $name };
    (@value $name:ident $value:expr) => { $value };
    ($key:expr $(, $name:ident $(= $value:expr)?)* $(,)?) => {
        $crate::domain::message::Message::new($key)
            $(.with(stringify!($name), $crate::domain::message::message!(@value $name $($value)?)))*
    };
}
pub(crate) use message;

impl Message {
    /// Creates the text `key` without parameters.
    pub fn new(key: &'static str) -> Self {
        Self { key, params: Vec::new() }
    }

    /// Sets the value of a placeholder.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Param>) -> Self {
        self.params.push((Cow::Borrowed(name), value.into()));
        self
    }

    /// A text from outside (of GitHub, AWS, Postgres, a library), which is the same in every language.
    pub fn verbatim(text: impl Into<String>) -> Self {
        message!("rule.verbatim", text = text.into())
    }

    /// True for a text from outside.
    pub fn is_verbatim(&self) -> bool {
        self.key == "rule.verbatim"
    }

    /// Changes all texts from outside, at any depth.
    pub fn edit_texts(&mut self, edit: &mut dyn FnMut(&mut String)) {
        for (_, value) in &mut self.params {
            match value {
                Param::Verbatim(text) => edit(text),
                Param::Translated(message) => message.edit_texts(edit),
            }
        }
    }

    /// Returns the form in which the database keeps a text until its reader's language is known.
    pub fn to_json(&self) -> Value {
        let params = self.params.iter().map(|(name, value)| {
            let value = match value {
                Param::Verbatim(text) => json!(text),
                Param::Translated(message) => message.to_json(),
            };
            (name.to_string(), value)
        });
        json!({"key": self.key, "params": params.collect::<Map<_, _>>()})
    }

    /// Reads [`Self::to_json`]. None for a key that this version does not know: a newer one may have stored it.
    pub fn from_json(stored: &Value) -> Option<Self> {
        let (key, _) = CATALOGUE.get_key_value(stored.get("key")?.as_str()?)?;
        let params = stored.get("params")?.as_object()?.iter().map(|(name, value)| {
            let value = match value {
                Value::String(text) => Param::Verbatim(text.clone()),
                nested => Param::Translated(Self::from_json(nested)?),
            };
            Some((Cow::Owned(name.clone()), value))
        });
        Some(Self { key, params: params.collect::<Option<_>>()? })
    }

    /// Renders the text. A key that the catalogue lacks is its own text.
    pub fn text(&self, lang: Lang) -> String {
        let Some(entry) = CATALOGUE.get(self.key) else { return self.key.to_owned() };
        fill(entry.text(lang), |name| {
            let (_, value) = self.params.iter().find(|(known, _)| *known == name)?;
            Some(match value {
                Param::Verbatim(text) => Cow::Borrowed(text.as_str()),
                Param::Translated(message) => Cow::Owned(message.text(lang)),
            })
        })
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text(Lang::En))
    }
}

impl std::error::Error for Message {}

impl From<Message> for String {
    fn from(message: Message) -> Self {
        message.text(Lang::En)
    }
}

impl From<Message> for Param {
    fn from(message: Message) -> Self {
        Self::Translated(message)
    }
}

macro_rules! verbatim_params {
    ($($kind:ty),+) => { $(
        impl From<$kind> for Param {
            fn from(value: $kind) -> Self {
                Self::Verbatim(value.to_string())
            }
        }
    )+ };
}
verbatim_params!(&str, String, &String, usize, u8, u16, u32, u64, i32, i64, f64);

/// A text in every language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Translated {
    ko: String,
    en: String,
}

impl Translated {
    pub(super) fn text(&self, lang: Lang) -> &str {
        match lang {
            Lang::Ko => &self.ko,
            Lang::En => &self.en,
        }
    }
}

/// The files of the catalogue. They are compiled in, and a test reads each, so that a broken file cannot be shipped.
const FILES: &[&str] = &[
    include_str!("texts/errors.json"),
    include_str!("texts/rules.json"),
    include_str!("texts/cli.json"),
    include_str!("texts/contract.json"),
    include_str!("texts/preflight.json"),
    include_str!("texts/schedules.json"),
    include_str!("texts/push_hooks.json"),
    include_str!("texts/gates.json"),
    include_str!("texts/reasons.json"),
    include_str!("texts/waits.json"),
    include_str!("texts/page.json"),
    include_str!("texts/page_access.json"),
    include_str!("texts/page_history.json"),
    include_str!("texts/page_integrations.json"),
    include_str!("texts/page_log.json"),
    include_str!("texts/page_rules.json"),
    include_str!("texts/page_start.json"),
    include_str!("texts/mcp.json"),
    include_str!("texts/channels.json"),
];

type Groups = HashMap<String, HashMap<String, Translated>>;

/// All texts, by `GROUP.NAME`.
static CATALOGUE: LazyLock<HashMap<String, Translated>> = LazyLock::new(|| {
    let groups = FILES.iter().flat_map(|file| serde_json::from_str::<Groups>(file).unwrap_or_default());
    let texts = groups.flat_map(|(group, texts)| {
        texts.into_iter().map(move |(name, text)| (format!("{group}.{name}"), text)).collect::<Vec<_>>()
    });
    texts.collect()
});

/// Texts of the web page's templates (groups `page…`) and scripts (`script…`), by their names, which are unique over all groups of a kind.
static PAGE: LazyLock<[BTreeMap<&str, &Translated>; 2]> = LazyLock::new(|| {
    ["page", "script"].map(|kind| {
        let texts = CATALOGUE.iter().filter(|(key, _)| key.starts_with(kind));
        texts.filter_map(|(key, text)| Some((key.split_once('.')?.1, text))).collect()
    })
});

/// Returns the title of a problem by its stable code; none for a code that this version does not know.
pub fn error_title(code: &str, lang: Lang) -> Option<String> {
    CATALOGUE.get(&format!("{code}.title")).map(|title| title.text(lang).to_owned())
}

/// Renders a text of the web page. A name that the catalogue lacks is its own text.
pub fn page_text(name: &str, params: &[(&str, &str)], lang: Lang) -> String {
    let [texts, _] = &*PAGE;
    let Some(text) = texts.get(name) else { return name.to_owned() };
    fill(text.text(lang), |name| {
        params.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(*value))
    })
}

/// Returns the texts of the web page's scripts, with their placeholders.
pub fn script_texts(lang: Lang) -> BTreeMap<&'static str, &'static str> {
    let [_, texts] = &*PAGE;
    texts.iter().map(|(name, text)| (*name, text.text(lang))).collect()
}

/// Replaces each `{name}` in one pass, so that braces inside a parameter stay unchanged. A placeholder without value becomes empty.
pub(super) fn fill<'a>(template: &str, value: impl Fn(&str) -> Option<Cow<'a, str>>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}').map(|at| open + at) else { break };
        out.push_str(&rest[..open]);
        out.push_str(&value(&rest[open + 1..close]).unwrap_or_default());
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
