//! Days of a time zone.

use chrono::{DateTime, LocalResult, NaiveDate, NaiveTime, TimeZone as _, Utc};
use chrono_tz::{GapInfo, Tz};

/// Returns the beginning of a day: its midnight, or the end of the gap where clocks skip it. None outside the range of times.
pub fn day_start(date: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    let midnight = date.and_time(NaiveTime::MIN);
    match zone.from_local_datetime(&midnight) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc()),
        LocalResult::None => GapInfo::new(&midnight, &zone).and_then(|gap| gap.end).map(|end| end.to_utc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(date: &str, zone: &str) -> String {
        day_start(date.parse().unwrap(), zone.parse().unwrap()).unwrap().to_rfc3339()
    }

    #[test]
    fn begins_at_midnight_of_the_zone() {
        assert_eq!(start("2026-03-01", "UTC"), "2026-03-01T00:00:00+00:00");
        assert_eq!(start("2026-03-01", "Asia/Seoul"), "2026-02-28T15:00:00+00:00");
    }

    #[test]
    fn begins_after_a_gap_and_at_the_first_of_two_midnights() {
        // Clocks went from 00:00 to 01:00 (03:00 UTC), and in Havana from 01:00 back to 00:00.
        assert_eq!(start("2018-11-04", "America/Sao_Paulo"), "2018-11-04T03:00:00+00:00");
        assert_eq!(start("2025-11-02", "America/Havana"), "2025-11-02T04:00:00+00:00");
    }
}
