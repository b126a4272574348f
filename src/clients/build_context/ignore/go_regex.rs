//! Converts the regular expressions that Docker derives from patterns, in Go's syntax, to the syntax of the crate `regex`.
//!
//! Both engines run in linear time. Their syntax differs in ways that a pattern can reach: `[[^/]` is one class in Go and the start of a nested class
//! here, `[a&&b]` has no `&&` operator in Go, and `\d` and `\w` are ASCII in Go. So the text is parsed by Go's rules and rewritten. Only constructs
//! that Docker's translation can produce are supported.

use std::{fmt::Write as _, iter::Peekable, str::Chars};

use regex::bytes::{Regex, RegexBuilder};

/// Memory limits in bytes for one compiled pattern, and for the automaton that it builds while matching: a thousand patterns must fit.
const MAX_COMPILED_BYTES: usize = 1 << 20;
const MAX_AUTOMATON_BYTES: usize = 128 << 10;

const ESCAPE: &str = "an escape that is not supported";
const REPETITION: &str = "a repetition has nothing to repeat, or no valid count";
const CLASS: &str = "a range of `[…]` is not one";

/// Compiles `go`, a regular expression in Go's syntax.
pub(super) fn compile(go: &str) -> Result<Regex, &'static str> {
    let text = translate(go)?;
    let mut builder = RegexBuilder::new(&text);
    builder.size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_AUTOMATON_BYTES);
    builder.build().map_err(|_| "it is too large")
}

/// The preceding element, to which a repetition would apply.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Nothing,
    Atom,
    Repetition,
}

fn translate(go: &str) -> Result<String, &'static str> {
    // Matching by bytes is smaller and equivalent, except with `\B`, which would also match inside a character.
    let name = if go.contains("\\B") { "[^/]*" } else { "(?-u:[^/])*" };
    let pieces = [("[^/]*", name), ("(.*/)?", "(?:(?-u:[^\\n])*/)?"), (".*", "(?-u:[^\\n])*")];
    let mut out = String::with_capacity(go.len() * 2);
    let mut last = Last::Nothing;
    let mut rest = go;
    while let Some(c) = rest.chars().next() {
        if let Some((piece, text)) = pieces.iter().find(|(piece, _)| rest.starts_with(piece)) {
            out.push_str(text);
            last = Last::Repetition;
            rest = &rest[piece.len()..];
            continue;
        }
        if let Some(after) = rest.strip_prefix("\\Q") {
            let (literal, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(literal));
            last = if literal.is_empty() { last } else { Last::Atom };
            rest = after;
            continue;
        }
        let mut chars = rest.chars();
        chars.next();
        let counted = if c == '{' { repetition(rest)? } else { None };
        last = match (c, counted) {
            ('*', _) | (_, Some(_)) => {
                if last != Last::Atom {
                    return Err(REPETITION);
                }
                let text = counted.unwrap_or("*");
                out.push_str(text);
                chars = rest[text.len()..].chars();
                Last::Repetition
            }
            ('|', _) => {
                out.push(c);
                Last::Nothing
            }
            _ => {
                match c {
                    '^' | '$' => out.push(c),
                    '[' => rest_of_class(&mut chars, &mut out)?,
                    '\\' => escape(&mut chars, &mut out)?,
                    c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
                }
                Last::Atom
            }
        };
        rest = chars.as_str();
    }
    Ok(out)
}

/// Parses a repetition `{n}`, `{n,}` or `{n,m}` at the start of `text`; anything else is a literal brace.
fn repetition(text: &str) -> Result<Option<&str>, &'static str> {
    const MAX_REPETITIONS: u32 = 1_000;
    let Some(end) = text.find('}') else { return Ok(None) };
    let number = |text: &str| {
        let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (is_one && (text == "0" || !text.starts_with('0'))).then(|| text.parse().unwrap_or(u32::MAX))
    };
    let (low, high) = match text[1..end].split_once(',') {
        None => (number(&text[1..end]), number(&text[1..end])),
        Some((low, "")) => (number(low), number(low)),
        Some((low, high)) => (number(low), number(high)),
    };
    let (Some(low), Some(high)) = (low, high) else { return Ok(None) };
    if low > high || high > MAX_REPETITIONS { Err(REPETITION) } else { Ok(Some(&text[..=end])) }
}

/// Translates an escape outside a class; `chars` starts after its `\`.
fn escape(chars: &mut Chars<'_>, out: &mut String) -> Result<(), &'static str> {
    match chars.clone().next().ok_or(ESCAPE)? {
        'A' => out.push_str("\\A"),
        'z' => out.push_str("\\z"),
        'b' => out.push_str("(?-u:\\b)"),
        'B' => out.push_str("(?-u:\\B)"),
        c => {
            if let Some(set) = perl(c) {
                let _ = write!(out, "[{set}]");
            } else {
                let c = literal(chars)?;
                out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                return Ok(());
            }
        }
    }
    chars.next();
    Ok(())
}

/// Returns Perl's character class, restricted to ASCII.
fn perl(c: char) -> Option<&'static str> {
    Some(match c {
        'd' => "0-9",
        'D' => "[^0-9]",
        's' => "\\t\\n\\x0C\\r ",
        'S' => "[^\\t\\n\\x0C\\r ]",
        'w' => "0-9A-Za-z_",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// Returns the character that an escape stands for; `chars` starts after its `\`.
fn literal(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    let c = chars.next().ok_or(ESCAPE)?;
    let code = match c {
        'a' => 7,
        'f' => 12,
        'n' => 10,
        'r' => 13,
        't' => 9,
        'v' => 11,
        'x' => return hexadecimal(chars),
        '0'..='7' => {
            let is_octal = |chars: &Chars<'_>| chars.clone().next().and_then(|c| c.to_digit(8));
            if c != '0' && is_octal(chars).is_none() {
                return Err(ESCAPE);
            }
            let mut code = c.to_digit(8).ok_or(ESCAPE)?;
            for _ in 0..2 {
                let Some(digit) = is_octal(chars) else { break };
                code = code * 8 + digit;
                chars.next();
            }
            code
        }
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok(c),
        _ => return Err(ESCAPE),
    };
    char::from_u32(code).ok_or(ESCAPE)
}

fn hexadecimal(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    let digits: String = if let Some(after) = chars.as_str().strip_prefix('{') {
        let (digits, after) = after.split_once('}').ok_or(ESCAPE)?;
        *chars = after.chars();
        digits.to_owned()
    } else {
        chars.by_ref().take(2).collect()
    };
    let is_number = !digits.is_empty() && digits.len() <= 8 && digits.chars().all(|c| c.is_ascii_hexdigit());
    let code = is_number.then(|| u32::from_str_radix(&digits, 16).ok()).flatten();
    code.and_then(char::from_u32).ok_or(ESCAPE)
}

/// Translates a class; `chars` starts after its `[`.
fn rest_of_class(chars: &mut Chars<'_>, out: &mut String) -> Result<(), &'static str> {
    out.push('[');
    if chars.as_str().starts_with('^') {
        chars.next();
        out.push('^');
    }
    let mut is_first = true;
    loop {
        let rest = chars.as_str();
        if rest.starts_with(']') && !is_first {
            chars.next();
            out.push(']');
            return Ok(());
        }
        is_first = false;
        if let Some((name, after)) = rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) {
            if !is_posix(name.strip_prefix('^').unwrap_or(name)) {
                return Err(CLASS);
            }
            let _ = write!(out, "[:{name}:]");
            *chars = after.chars();
            continue;
        }
        if let Some(set) = rest.strip_prefix('\\').and_then(|rest| perl(rest.chars().next()?)) {
            out.push_str(set);
            chars.nth(1);
            continue;
        }
        let low = member(chars)?;
        let mut high = low;
        let mut ahead: Peekable<Chars<'_>> = chars.clone().peekable();
        if ahead.next_if_eq(&'-').is_some() && ahead.peek().is_some_and(|c| *c != ']') {
            chars.next();
            high = member(chars)?;
        }
        if high < low {
            return Err(CLASS);
        }
        let _ = write!(out, "\\x{{{:X}}}-\\x{{{:X}}}", u32::from(low), u32::from(high));
    }
}

fn member(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    match chars.next().ok_or(CLASS)? {
        '\\' => literal(chars),
        c => Ok(c),
    }
}

fn is_posix(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    NAMES.contains(&name)
}
