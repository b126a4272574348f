//! Cron expressions: every accepted expression fires, at increasing times, on whole minutes, in any time zone and from any time.
#![no_main]

use chrono::{DateTime, TimeDelta, Utc};
use libfuzzer_sys::fuzz_target;
use panda_fuzz::domain::cron::{self, Cron};

fuzz_target!(|input: (&str, u16, u32, &str)| {
    let (text, zone, minute, name) = input;
    let _ = cron::zone(name);
    let Ok(cron) = Cron::parse(text) else { return };
    // The stored form means the same.
    assert_eq!(Cron::parse(cron.as_str()).unwrap().as_str(), cron.as_str());
    let zone = chrono_tz::TZ_VARIANTS[usize::from(zone) % chrono_tz::TZ_VARIANTS.len()];
    // 1970 to 2102, with all clock changes in between.
    let start = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::minutes(i64::from(minute % (132 * 366 * 24 * 60)));
    let times = cron.upcoming(start, zone, 4);
    assert_eq!(times.len(), 4, "{cron} in {zone} after {start}");
    let mut last = start;
    for time in times {
        assert!(time > last && time.timestamp_subsec_nanos() == 0, "{cron} in {zone}: {time} after {last}");
        assert_eq!(cron.next_after(time - TimeDelta::seconds(1), zone), Some(time));
        last = time;
    }
});
