//! Languages of texts for people, and the choice between them: by name, by `Accept-Language`, by the locale of a terminal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest `Accept-Language` that is read, in bytes. A longer one counts as absent.
const MAX_PREFERENCES: usize = 1_000;

/// Language of a text for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// Korean, the default of event streams.
    #[default]
    Ko,
    /// English, the default of errors.
    En,
}

impl Lang {
    /// Every language of the catalogue.
    pub const ALL: [Self; 2] = [Self::Ko, Self::En];

    /// Returns the name used in `lang`, `Content-Language` and the catalogue.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ko => "ko",
            Self::En => "en",
        }
    }

    /// Returns the preferred language of an `Accept-Language` header (RFC 9110, section 12.5.4); none when the header prefers any language (`*`),
    /// names no language of the catalogue, or is too long. Malformed items are skipped. The first of several equal preferences counts.
    pub fn preferred(header: &str) -> Option<Self> {
        if header.len() > MAX_PREFERENCES {
            return None;
        }
        let mut best: Option<(u16, Option<Self>)> = None;
        for (lang, weight) in header.split(',').filter_map(preference) {
            if weight > best.map_or(0, |(weight, _)| weight) {
                best = Some((weight, lang));
            }
        }
        best.and_then(|(_, lang)| lang)
    }

    /// Returns the language of a POSIX locale such as `ko_KR.UTF-8`: Korean for a Korean one, English for any other.
    pub fn of_locale(locale: Option<&str>) -> Self {
        let language = locale.unwrap_or_default().split(['_', '.', '@', '-']).next();
        if language == Some("ko") { Self::Ko } else { Self::En }
    }
}

/// Parses `ko-KR;q=0.8` to a language (none for `*`) and its weight in thousandths. None for other languages and malformed items.
fn preference(item: &str) -> Option<(Option<Lang>, u16)> {
    let (range, parameters) = item.split_once(';').map_or((item, None), |(range, rest)| (range, Some(rest)));
    let range = range.trim();
    let lang = match range.split('-').next().unwrap_or_default() {
        "*" if range == "*" => None,
        language => Some(Lang::ALL.into_iter().find(|lang| language.eq_ignore_ascii_case(lang.as_str()))?),
    };
    Some((lang, parameters.map_or(Some(1_000), weight)?))
}

/// Parses `q=0.8`: 0 to 1 with up to three decimals.
fn weight(parameter: &str) -> Option<u16> {
    let value = parameter.trim().strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1_000),
        _ => None,
    }
}

/// A name that is no language of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown language {0:?}: use ko or en")]
pub struct UnknownLang(String);

impl FromStr for Lang {
    type Err = UnknownLang;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|lang| lang.as_str() == text);
        known.ok_or_else(|| UnknownLang(text.to_owned()))
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_the_language_with_the_highest_weight() {
        for (header, lang) in [
            ("ko", Some(Lang::Ko)),
            ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", Some(Lang::Ko)),
            ("en-GB, ko;q=0.9", Some(Lang::En)),
            ("fr, KO-kr;q=0.2", Some(Lang::Ko)),
            ("ko;q=0.5, en;q=0.501", Some(Lang::En)),
            ("en;q=0.5,ko;q=0.5", Some(Lang::En)),
            ("ko;q=1.000", Some(Lang::Ko)),
            ("ko ; q=0.3", Some(Lang::Ko)),
        ] {
            assert_eq!(Lang::preferred(header), lang, "{header}");
        }
    }

    #[test]
    fn has_no_preference_without_a_known_language() {
        let long = format!("ko{}", ",fr".repeat(400));
        for header in [
            "",
            "*",
            "fr",
            "*, ko;q=0.5",
            "ko;q=0",
            "ko;q=2",
            "ko;q=-1",
            "ko;q=0.1234",
            "ko;q=x",
            "ko;v=1",
            ";;,,=",
            "korean",
            "*-KR",
            "한국어",
            &long,
        ] {
            assert_eq!(Lang::preferred(header), None, "{header}");
        }
    }

    #[test]
    fn selects_korean_for_korean_locales() {
        for (locale, lang) in [
            ("ko_KR.UTF-8", Lang::Ko),
            ("ko", Lang::Ko),
            ("ko.UTF-8", Lang::Ko),
            ("kok_IN", Lang::En),
            ("C.UTF-8", Lang::En),
            ("", Lang::En),
        ] {
            assert_eq!(Lang::of_locale(Some(locale)), lang, "{locale}");
        }
        assert_eq!(Lang::of_locale(None), Lang::En);
    }
}
