//! The time axis of the charts: days, weeks or months of a period, each of them present even when nothing happened.

use chrono::{Datelike as _, Days, Months, NaiveDate};

/// Longest periods, in days, that are shown by day and by week.
const MOST_BY_DAY: i64 = 93;
const MOST_BY_WEEK: i64 = 731;

/// Length of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotUnit {
    Day,
    /// A week from Monday.
    Week,
    Month,
}

impl SlotUnit {
    /// The unit whose slots of a period of this many days are wide enough to see.
    pub fn of(days: i64) -> Self {
        if days <= MOST_BY_DAY {
            Self::Day
        } else if days <= MOST_BY_WEEK {
            Self::Week
        } else {
            Self::Month
        }
    }

    /// First day of the slot that contains `date`.
    pub fn first(self, date: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => date,
            Self::Week => date - Days::new(u64::from(date.weekday().num_days_from_monday())),
            Self::Month => date.with_day(1).unwrap_or(date),
        }
    }

    /// First days of all slots from the one with `from` to the one with `to`.
    pub fn all(self, from: NaiveDate, to: NaiveDate) -> Vec<NaiveDate> {
        let next = |date: &NaiveDate| match self {
            Self::Day => date.checked_add_days(Days::new(1)),
            Self::Week => date.checked_add_days(Days::new(7)),
            Self::Month => date.checked_add_months(Months::new(1)),
        };
        std::iter::successors(Some(self.first(from)), next).take_while(|date| *date <= to).collect()
    }

    /// Short form of a slot's first day for the axis: the year only where days do not matter.
    pub fn axis_label(self, first: NaiveDate) -> String {
        match self {
            Self::Day | Self::Week => first.format("%m-%d").to_string(),
            Self::Month => first.format("%Y-%m").to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(from: &str, to: &str) -> Vec<String> {
        let (from, to): (NaiveDate, NaiveDate) = (from.parse().unwrap(), to.parse().unwrap());
        let unit = SlotUnit::of((to - from).num_days() + 1);
        unit.all(from, to).into_iter().map(|first| unit.axis_label(first)).collect()
    }

    #[test]
    fn longer_periods_have_longer_slots() {
        assert_eq!(all("2026-02-27", "2026-03-01"), ["02-27", "02-28", "03-01"]);
        assert_eq!(all("2026-01-01", "2026-01-01"), ["01-01"]);
        let weeks = all("2026-01-01", "2026-06-30");
        assert_eq!((weeks[0].as_str(), weeks.len()), ("12-29", 27));
        let months = all("2016-01-31", "2026-01-01");
        assert_eq!((months[0].as_str(), months.len()), ("2016-01", 121));
    }
}
