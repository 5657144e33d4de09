//! Wall-clock times as text.

use std::fmt;

use crate::time::Wall;

/// A time in UTC that displays as RFC 3339 with milliseconds: `2026-01-31T23:59:59.999Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp(pub Wall);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wall(millis) = self.0;
        let seconds = millis / 1000;
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", millis % 1000)
    }
}

/// The Gregorian date (year, month, day) of a day counted from 1970-01-01. Internally a year begins on 1 March, so that
/// the leap day is its last.
const fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    /// Days from 1 March of the year 0 to 1970-01-01.
    const DAYS_BEFORE_1970: u64 = 719_468;
    let days = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    // Removing the leap days (one every 1460 days, except in centuries, except in every 400th year) leaves years of 365.
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, the months repeat 31, 30, 31, 30, 31 days: 153 in five months.
    let months = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if months < 10 { (year, months + 3, day) } else { (year + 1, months - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_711_709_116_000, "2024-03-29T10:45:16.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(Wall(millis)).to_string(), text);
        }
    }

    #[test]
    fn each_day_of_500_years_follows_the_one_before() {
        let mut yesterday = (1969, 12, 31);
        for days in 0..183_000 {
            let (year, month, day) = civil(days);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let first_of_month = (day == 1).then(|| match month {
                1 => (year - 1, 12, 31),
                3 if leap => (year, 2, 29),
                3 => (year, 2, 28),
                5 | 7 | 10 | 12 => (year, month - 1, 30),
                _ => (year, month - 1, 31),
            });
            assert_eq!(yesterday, first_of_month.unwrap_or((year, month, day - 1)), "day {days}");
            yesterday = (year, month, day);
        }
    }
}
