//! Words of a line, by the rules of Dockerfiles.

/// The words of `text`, divided at white space outside quotes; quotes and escapes stay.
pub(super) fn raw(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = rest.split_at(first(rest).len());
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// The first word of `text`, which does not begin with white space.
pub(super) fn first(text: &str) -> &str {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None, c) if c.is_whitespace() => return &text[..at],
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    text
}

/// A word without its quotes and escapes.
pub(super) fn unquoted(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => out.extend(chars.next()),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => out.push(c),
        }
    }
    out
}

/// The name of the variable at the start of `text`, which follows a `$`, with its default (`${NAME:-default}`), and the text behind it.
pub(super) fn variable(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let end_of_name = |text: &str| text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    if let Some(inner) = text.strip_prefix('{') {
        let (inner, after) = inner.split_once('}')?;
        let (name, modifier) = inner.split_at(end_of_name(inner));
        let default = modifier.strip_prefix(":-").or_else(|| modifier.strip_prefix('-'));
        return (!name.is_empty()).then_some((name, default, after));
    }
    let (name, after) = text.split_at(end_of_name(text));
    (!name.is_empty()).then_some((name, None, after))
}

/// The names of all variables that `text` uses.
pub(super) fn variables(text: &str) -> Vec<&str> {
    let parts = text.split('$').skip(1);
    parts.filter_map(|rest| variable(rest).map(|(name, ..)| name)).collect()
}

/// `text` with the variables that are known; others stay as they are written.
pub(super) fn expand(text: &str, known: &dyn Fn(&str) -> Option<String>) -> String {
    /// Defaults may name variables which name others: a text that grows beyond this is nobody's image.
    const LONGEST: usize = 4_096;
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let value = variable(after).and_then(|(name, default, behind)| {
            let value = known(name).filter(|value| !value.is_empty()).or_else(|| default.map(str::to_owned));
            value.map(|value| (value, behind))
        });
        let (value, behind) = value.unwrap_or_else(|| ("$".to_owned(), after));
        out.push_str(&value);
        rest = behind;
        if out.len() > LONGEST {
            return text.to_owned();
        }
    }
    out.push_str(rest);
    out
}
