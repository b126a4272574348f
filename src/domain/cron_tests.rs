//! Inputs that other crons met, and their siblings.
//!
//! - Steps of the day of week (`MON/2` fired on Sundays too): every start and step, names, `7`, `SUN-SAT/3`, ranges over the week's end, lists.
//! - Days that two fields restrict (`0 9 */2 * MON`): stars with steps in either field, in both, in lists, beside `L` and `FRIL`.
//! - Forms of other crons: `?` and `W` of Quartz, `H` of Jenkins, `@every` of Go, `~` of OpenBSD, seconds, years, `L-3`, `LW`.
//! - Clock changes: gaps and repetitions at night, at midnight, of half an hour, of a whole day, of two hours, and of a changed offset.

use chrono::TimeDelta;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn next(cron: &str, after: &str, zone_name: &str) -> String {
    let next = Cron::parse(cron).unwrap().next_after(at(after), zone(zone_name).unwrap()).unwrap();
    next.format("%Y-%m-%dT%H:%MZ").to_string()
}

/// The next instants in local time of the zone.
fn local_times(cron: &str, after: &str, zone_name: &str, count: usize) -> Vec<String> {
    let zone = zone(zone_name).unwrap();
    let upcoming = Cron::parse(cron).unwrap().upcoming(at(after), zone, count);
    upcoming.iter().map(|time| time.with_timezone(&zone).format("%d %H:%M%z").to_string()).collect()
}

fn refused(cron: &str) -> String {
    Cron::parse(cron).unwrap_err().to_string()
}

#[test]
fn fires_at_the_next_matching_time() {
    for (cron, after, expected) in [
        ("* * * * *", "2026-11-24T10:00:00Z", "2026-11-24T10:01Z"),
        ("* * * * *", "2026-11-24T10:00:59.999Z", "2026-11-24T10:01Z"),
        ("*/15 * * * *", "2026-11-24T10:50:00Z", "2026-11-24T11:00Z"),
        ("30 6 * * MON-FRI", "2026-11-27T06:30:00Z", "2026-11-30T06:30Z"),
        ("0 9 * * mon#1", "2026-11-24T00:00:00Z", "2026-12-07T09:00Z"),
        ("0 9 * * FRIL", "2026-11-24T00:00:00Z", "2026-11-27T09:00Z"),
        ("0 9 * * FRI-SUN", "2026-11-23T00:00:00Z", "2026-11-27T09:00Z"),
        ("0 0 L * *", "2027-02-01T00:00:00Z", "2027-02-28T00:00Z"),
        ("0 0 15W * *", "2026-11-01T00:00:00Z", "2026-11-16T00:00Z"),
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00Z"),
        ("0 0 1 JAN,jul *", "2026-02-01T00:00:00Z", "2026-07-01T00:00Z"),
        ("0 0 13 * 5", "2026-11-24T00:00:00Z", "2026-11-27T00:00Z"),
        (" @Daily ", "2026-11-24T10:00:00Z", "2026-11-25T00:00Z"),
        ("@hourly", "2026-11-24T10:00:00Z", "2026-11-24T11:00Z"),
        ("@weekly", "2026-11-24T10:00:00Z", "2026-11-29T00:00Z"),
        ("@monthly", "2026-11-24T10:00:00Z", "2026-12-01T00:00Z"),
        ("@yearly", "2026-11-24T10:00:00Z", "2027-01-01T00:00Z"),
    ] {
        assert_eq!(next(cron, after, "UTC"), expected, "{cron}");
    }
    assert_eq!(next("0 9 * * *", "2026-11-24T00:00:00Z", "Asia/Seoul"), "2026-11-25T00:00Z");
    assert_eq!(next("0 9 * * *", "2026-11-23T23:59:59Z", "Asia/Seoul"), "2026-11-24T00:00Z");
    assert_eq!(Cron::parse("  0  9 * *   mon ").unwrap().as_str(), "0 9 * * MON");
    assert_eq!(Cron::parse("@daily").unwrap().to_string(), "0 0 * * *");
}

// Berlin, 29 March 2026: 03:00 follows 01:59. 25 October: a second 02:00 follows the first 02:59.

#[test]
fn skipped_time_of_day_fires_once_after_the_gap() {
    let berlin = |cron, count| local_times(cron, "2026-03-28T12:00:00Z", "Europe/Berlin", count);
    assert_eq!(berlin("30 2 * * *", 2), ["29 03:00+0200", "30 02:30+0200"]);
    assert_eq!(berlin("*/20 2 * * *", 2), ["29 03:00+0200", "30 02:00+0200"]);
    assert_eq!(berlin("30 1-3 * * *", 3), ["29 01:30+0100", "29 03:00+0200", "29 03:30+0200"]);
    assert_eq!(berlin("0 2,3 * * *", 2), ["29 03:00+0200", "30 02:00+0200"], "the same instant is one");
    // Samoa skipped 30 December 2011.
    assert_eq!(
        local_times("0 9 * * *", "2011-12-29T12:00:00Z", "Pacific/Apia", 3),
        ["29 09:00-1000", "31 00:00+1400", "31 09:00+1400"]
    );
}

#[test]
fn repeated_time_of_day_fires_the_first_time() {
    let berlin = |cron, count| local_times(cron, "2026-10-24T12:00:00Z", "Europe/Berlin", count);
    assert_eq!(berlin("30 2 * * *", 2), ["25 02:30+0200", "26 02:30+0100"]);
    assert_eq!(berlin("*/30 2 * * *", 3), ["25 02:00+0200", "25 02:30+0200", "26 02:00+0100"]);
    assert_eq!(
        next("45 2 * * *", "2026-10-25T01:15:00Z", "Europe/Berlin"),
        "2026-10-26T01:45Z",
        "not a second pass of a time that has passed"
    );
}

/// Gaps and repetitions that begin or end at midnight, of half an hour and of two, and offsets that a government changed for good.
#[test]
fn clock_changes_of_other_zones() {
    for (zone_name, cron, after, expected) in [
        // São Paulo, 4 November 2018: 01:00 follows 23:59. 17 February 2018: a second 23:00.
        ("America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00:00Z", ["04 01:00-0200", "05 00:00-0200"]),
        ("America/Sao_Paulo", "30 23 * * *", "2018-02-17T12:00:00Z", ["17 23:30-0200", "18 23:30-0300"]),
        // Cairo, 26 April 2024: 01:00 follows 23:59.
        ("Africa/Cairo", "*/30 0 * * *", "2024-04-25T12:00:00Z", ["26 01:00+0300", "27 00:00+0300"]),
        // Havana, 1 November 2026: a second 00:00 follows 00:59.
        ("America/Havana", "30 0 * * *", "2026-10-31T12:00:00Z", ["01 00:30-0400", "02 00:30-0500"]),
        // Lord Howe, 4 October 2026: 02:30 follows 01:59.
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00:00Z", ["04 02:30+1100", "05 02:15+1100"]),
        // Troll, 29 March 2026: 03:00 follows 00:59.
        ("Antarctica/Troll", "30 1,2 * * *", "2026-03-28T12:00:00Z", ["29 03:00+0200", "30 01:30+0200"]),
        // Pyongyang, 5 May 2018: 00:00 follows 23:29, for good.
        ("Asia/Pyongyang", "45 23 * * *", "2018-05-04T06:00:00Z", ["05 00:00+0900", "05 23:45+0900"]),
        // Casablanca, 15 February 2026: summer time ends for Ramadan.
        ("Africa/Casablanca", "30 2 * * *", "2026-02-14T12:00:00Z", ["15 02:30+0100", "16 02:30+0000"]),
    ] {
        assert_eq!(local_times(cron, after, zone_name, 2), expected, "{zone_name} {cron}");
    }
}

#[test]
fn every_hour_follows_elapsed_hours() {
    let berlin = |cron, after, count| local_times(cron, after, "Europe/Berlin", count);
    assert_eq!(berlin("30 * * * *", "2026-03-29T00:00:00Z", 2), ["29 01:30+0100", "29 03:30+0200"]);
    assert_eq!(
        berlin("30 * * * *", "2026-10-24T23:00:00Z", 4),
        ["25 01:30+0200", "25 02:30+0200", "25 02:30+0100", "25 03:30+0100"]
    );
    let cron = Cron::parse("*/10 * * * *").unwrap();
    for (zone_name, start) in [
        ("Europe/Berlin", "2026-10-24T22:00:00Z"),
        ("Europe/Berlin", "2026-03-28T22:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T12:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T12:00:00Z"),
        ("Pacific/Apia", "2011-12-30T04:00:00Z"),
    ] {
        let times = cron.upcoming(at(start), zone(zone_name).unwrap(), 60);
        let expected: Vec<_> = (1..=60).map(|n| at(start) + TimeDelta::minutes(10 * n)).collect();
        assert_eq!(times, expected, "{zone_name} {start}");
    }
}

/// The days of a week on which the expression fires.
fn days(day_of_week: &str) -> String {
    let cron = Cron::parse(&format!("0 9 * * {day_of_week}")).unwrap();
    let week = cron.upcoming(at("2026-11-28T12:00:00Z"), Tz::UTC, 7);
    let week = week.into_iter().take_while(|time| *time < at("2026-12-05T12:00:00Z"));
    week.map(|time| time.format("%a").to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn day_of_week_has_seven_days() {
    for (field, expected) in [
        ("MON/2", "Mon Wed Fri"),
        ("1/3", "Mon Thu"),
        ("2/5", "Tue"),
        ("5/1", "Fri Sat"),
        ("6/2", "Sat"),
        ("SAT/1", "Sat"),
        ("7/2", "Sun Tue Thu Sat"),
        ("SUN/2", "Sun Tue Thu Sat"),
        ("0/3", "Sun Wed Sat"),
        ("*/2", "Sun Tue Thu Sat"),
        ("*/7", "Sun"),
        ("1-7/2", "Sun Mon Wed Fri"),
        ("0-7/2", "Sun Tue Thu Sat"),
        ("0-7/7", "Sun"),
        ("1-5/2", "Mon Wed Fri"),
        ("6-7", "Sun Sat"),
        ("7-7", "Sun"),
        ("7", "Sun"),
        ("0,7", "Sun"),
        ("FRI-SUN", "Sun Fri Sat"),
        ("FRI-SUN/2", "Sun Fri"),
        ("MON/2,SAT", "Mon Wed Fri Sat"),
        ("TUE,THU/2", "Tue Thu Sat"),
        ("SUN-SAT/3", "Sun Wed Sat"),
        ("MON-SUN/3", "Sun Mon Thu"),
        ("SUN-SUN", "Sun"),
        ("THU-SAT/2,SUN", "Sun Thu Sat"),
        ("7,MON-FRI/2", "Sun Mon Wed Fri"),
    ] {
        assert_eq!(days(field), expected, "{field}");
    }
    assert_eq!(Cron::parse("0 9 * * mon/2").unwrap().as_str(), "0 9 * * MON/2", "as it was written");
    assert_eq!(next("0 9 * * 7#2", "2026-11-28T12:00:00Z", "UTC"), "2026-12-13T09:00Z");
}

/// Days of week by the rules of crontab(5): numbers 0 to 7, steps from a start to the end of the week.
#[test]
fn every_step_of_a_day_of_week_starts_there_and_stays_in_the_week() {
    for start in 0..=7_u8 {
        for step in 1..=7_u8 {
            let expected: Vec<&str> =
                (start % 7..=6).step_by(step.into()).map(|day| DAY_NAMES[usize::from(day)]).collect();
            assert_eq!(days(&format!("{start}/{step}")), expected.join(" "), "{start}/{step}");
        }
    }
}

const DAY_NAMES: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

#[test]
fn rejects_a_star_that_other_crons_read_differently() {
    for (cron, says) in [
        ("0 9 */2 * MON", "day of month: \"*/2\" is ambiguous"),
        ("0 9 */2 * MON", "write 1-31/2;"),
        ("0 9 */1 * MON-FRI", "write 1-31/1;"),
        ("0 9 */2,15 * 1", "write 1-31/2,15;"),
        ("0 9 1 * */2", "day of week: \"*/2\" is ambiguous"),
        ("0 9 1,15 * */2", "write 0-6/2;"),
        ("0 9 L * */3", "write 0-6/3;"),
        ("0 9 */2 * */3", "write 1-31/2;"),
        ("0 9 */2 * FRIL", "write 1-31/2;"),
    ] {
        let reason = refused(cron);
        assert!(reason.contains(says) && reason.contains("either"), "{cron}: {reason}");
    }
    // The remedy is accepted, and means either field.
    assert_eq!(next("0 9 1-31/2 * MON", "2026-11-30T00:00:00Z", "UTC"), "2026-11-30T09:00Z");
    assert_eq!(next("0 9 1-31/2 * MON", "2026-11-30T10:00:00Z", "UTC"), "2026-12-01T09:00Z");
    for clear in ["0 9 */2 * *", "0 9 * * */2", "0 9 1 * MON", "*/5 */2 * */3 MON", "0 9 5,10-20/2 * MON"] {
        assert!(Cron::parse(clear).is_ok(), "{clear}");
    }
}

#[test]
fn rejects_an_invalid_expression_with_an_example() {
    for (cron, says) in [
        ("", "has 0"),
        ("* * * *", "has 4"),
        ("0 * * * * *", "seconds and years are not supported"),
        ("60 * * * *", "minute: \"60\" must be *, 0 to 59"),
        ("* 24 * * *", "hour: \"24\""),
        ("* * 0 * *", "day of month: \"0\""),
        ("* * * 13 *", "month: \"13\""),
        ("* * * * 8", "day of week: \"8\""),
        ("* * * * 7L", "day of week: \"7L\""),
        ("* MON * * *", "hour: \"MON\""),
        ("L * * * *", "minute: \"L\""),
        ("* * * * L", "day of week: \"L\""),
        ("5,, * * * *", "minute: \"\""),
        (", * * * *", "minute: \"\""),
        ("1- * * * *", "minute: \"1-\""),
        ("-1 * * * *", "minute: \"-1\""),
        ("+1 * * * *", "minute: \"+1\""),
        ("9-5 * * * *", "minute: \"9-5\""),
        ("*/0 * * * *", "minute: \"*/0\""),
        ("*/x * * * *", "minute: \"*/x\""),
        ("*,5 * * * *", "is not understood"),
        ("* * * JANFEB *", "month: \"JANFEB\""),
        ("* * * * 1#6", "day of week: \"1#6\""),
        ("@reboot", "@hourly"),
        ("@every 5m", "@hourly"),
        ("0 9 ? * MON", "day of month: \"?\""),
        ("0 9 * * ?", "day of week: \"?\""),
        ("0 9 L-3 * *", "day of month: \"L-3\""),
        ("0 9 LW * *", "day of month: \"LW\""),
        ("0 9 W * *", "day of month: \"W\""),
        ("0 9 L/2 * *", "day of month: \"L/2\""),
        ("0 9 * * #1", "day of week: \"#1\""),
        ("0 9 * * MON#0", "day of week: \"MON#0\""),
        ("0 9 * * MON#1/2", "day of week: \"MON#1/2\""),
        ("0 9 * * SUN-SAT/8", "day of week: \"SUN-SAT/8\""),
        ("0 9 * * 5-1", "day of week: \"5-1\""),
        ("0 9 * * MON-", "day of week: \"MON-\""),
        ("H 9 * * *", "minute: \"H\""),
        ("0~30 9 * * *", "minute: \"0~30\""),
        ("0 9 * * MONDAY", "day of week: \"MONDAY\""),
        ("0 9 * * * 2027", "has 6"),
        ("* * * * ＊", "ASCII"),
        (&"1,".repeat(60), "at most 100"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 31W FEB *", "never fires"),
    ] {
        let reason = refused(cron);
        assert!(reason.to_lowercase().contains(&says.to_lowercase()), "{cron}: {reason}");
        assert!(reason.contains("such as 30 6 * * MON-FRI"), "{cron}: {reason}");
    }
}

#[test]
fn zone_requires_an_iana_name() {
    for name in ["UTC", "Europe/Berlin", "Asia/Seoul", "Etc/GMT+5", "America/Argentina/Buenos_Aires"] {
        assert_eq!(zone(name).unwrap().name(), name);
    }
    for name in ["", "Berlin", "GMT+25", "+09:00", "Europe/Berlin ", "../etc/passwd"] {
        assert!(zone(name).unwrap_err().to_string().contains("such as Europe/Berlin"), "{name}");
    }
    assert!(zone("europe/berlin").unwrap_err().to_string().ends_with("did you mean Europe/Berlin?"));
}

#[test]
fn no_next_time_at_the_end_of_the_calendar() {
    let cron = Cron::parse("* * * * *").unwrap();
    for instant in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC, at("5000-12-31T23:59:00Z")] {
        let _ = cron.next_after(instant, chrono_tz::Pacific::Kiritimati);
    }
    assert_eq!(cron.next_after(DateTime::<Utc>::MAX_UTC, Tz::UTC), None);
}
