//! Splitting, unquoting and variable expansion by the rules of Dockerfiles.

/// Splits `text` at white space outside quotes; keeps quotes and escapes.
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

/// Returns the first word of `text`, which must not begin with white space.
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

/// Removes quotes and escapes from a word.
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

/// Parses the variable at the start of `text`, which follows a `$`. Returns its name, its default (`${NAME:-default}`) and the text after it.
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

/// Returns the names of all variables in `text`.
pub(super) fn variables(text: &str) -> Vec<&str> {
    let parts = text.split('$').skip(1);
    parts.filter_map(|rest| variable(rest).map(|(name, ..)| name)).collect()
}

/// Replaces known variables in `text`; keeps others as written.
pub(super) fn expand(text: &str, known: &dyn Fn(&str) -> Option<String>) -> String {
    /// Limit of the expanded text, in bytes. Defaults may refer to variables that refer to others, so that a text can grow exponentially; no
    /// image name is that long.
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
