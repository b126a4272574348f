//! Pages, cursors and common filters of list endpoints.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::ApiError;
use super::extract::is_id;
use crate::domain::message::message;
use crate::domain::validate::BrokenRule;

/// Rows per page without the parameter `limit`.
const DEFAULT_LIMIT: i64 = 20;

/// Largest value of `limit`.
const MAX_LIMIT: i64 = 100;

/// Time and id of the row before a page.
pub type Cursor = (DateTime<Utc>, String);

/// Limit and cursor of a list without filters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Maximum number of rows, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the previous page.
    #[param(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Parses the number of wanted rows, and the time and id of the row before them; none for the first page.
    ///
    /// # Errors
    /// [`ApiError::Input`] for the first invalid field.
    pub fn validate(&self) -> Result<(i64, Option<Cursor>), ApiError> {
        Ok((parse_limit(self.limit.as_deref())?, self.cursor.as_deref().map(decode_cursor).transpose()?))
    }
}

/// Validates a name to filter by with `rule`.
pub fn name_filter(
    field: &'static str,
    value: Option<String>,
    rule: fn(&str) -> Result<(), BrokenRule>,
) -> Result<Option<String>, ApiError> {
    match value {
        Some(value) => rule(&value).map(|()| Some(value)).map_err(|rule| ApiError::field(field, rule)),
        None => Ok(None),
    }
}

/// Parses an RFC 3339 time; none when the parameter is absent.
pub fn parse_time(field: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, ApiError> {
    text.map(|text| {
        DateTime::parse_from_rfc3339(text)
            .map(|time| time.to_utc())
            .map_err(|_| ApiError::field(field, message!("rule.time")))
    })
    .transpose()
}

/// Parses the parameter `limit`: 1 to 100, 20 when absent.
pub fn parse_limit(text: Option<&str>) -> Result<i64, ApiError> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    text.parse()
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| ApiError::field("limit", message!("rule.limit", max = MAX_LIMIT)))
}

/// Splits query results into the rows of a page and the cursor of the next. The caller must query `wanted + 1` rows: the extra one shows that
/// another page exists.
pub fn split_page<T>(mut rows: Vec<T>, wanted: i64, cursor: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let more = rows.len() > usize::try_from(wanted).unwrap_or(usize::MAX);
    if more {
        rows.pop();
    }
    let next = rows.last().filter(|_| more).map(cursor);
    (rows, next)
}

/// Encodes a cursor from the time of the last row, to the microsecond as Postgres stores it, and its id.
pub fn encode_cursor(at: DateTime<Utc>, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {id}", at.to_rfc3339_opts(SecondsFormat::Micros, true)))
}

/// Decodes a cursor of [`encode_cursor`].
pub fn decode_cursor(text: &str) -> Result<Cursor, ApiError> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (time, id) = text.split_once(' ')?;
        let time = DateTime::parse_from_rfc3339(time).ok()?.to_utc();
        is_id(id).then(|| (time, id.to_owned()))
    };
    read().ok_or_else(|| ApiError::field("cursor", message!("rule.cursor")))
}
