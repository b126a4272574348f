//! Language of the command's output and errors: `--lang`, `PANDA_LANG`, or the locale. `--help` and usage errors do not depend on it, and `--json` not on
//! the locale.

use std::sync::OnceLock;

use crate::domain::lang::Lang;
use crate::domain::message::Message;

/// The language of this process, which has one terminal.
static LANG: OnceLock<Lang> = OnceLock::new();
/// The language of the option or the variable.
static GIVEN: OnceLock<Lang> = OnceLock::new();

/// Sets the language, before anything is printed: the given one, or that of the locale. A second call has no effect.
pub fn set(given: Option<Lang>) {
    if let Some(given) = given {
        let _ = GIVEN.set(given);
    }
    let _ = LANG.set(given.unwrap_or_else(locale));
}

/// The language; English before [`set`].
pub fn lang() -> Lang {
    LANG.get().copied().unwrap_or(Lang::En)
}

/// The language that the user chose, not that of the locale.
pub fn given() -> Option<Lang> {
    GIVEN.get().copied()
}

/// Renders a text in the language.
pub fn text(message: &Message) -> String {
    message.text(lang())
}

/// The first variable that is set and not empty counts, as in libc.
fn locale() -> Lang {
    let set = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().filter_map(|name| std::env::var(name).ok());
    Lang::of_locale(set.into_iter().find(|value| !value.is_empty()).as_deref())
}
