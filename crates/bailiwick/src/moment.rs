//! Moments as people read and write them: UTC, in the form of RFC 3339.

use model::Timestamp;

const DAY_MILLIS: i64 = 86_400_000;

/// `2026-11-21T23:50:29.123Z`.
pub(crate) fn text(moment: Timestamp) -> String {
    let (days, millis) =
        (moment.millis().div_euclid(DAY_MILLIS), moment.millis().rem_euclid(DAY_MILLIS));
    let (year, month, day) = civil(days);
    let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
    let (second, millis) = (millis / 1000 % 60, millis % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Reads `2027-01-31` (its first moment) or `2027-01-31T12:00:00Z`.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time.strip_suffix('Z')?, ':', [2, 2, 2])?;
    if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, month, day);
    if civil(days) != (year, month, day) {
        return None;
    }
    Some(Timestamp::from_seconds(days * 86_400 + hour * 3600 + minute * 60 + second))
}

/// The same for a command line.
pub(crate) fn read(text: &str) -> Result<Timestamp, String> {
    parse(text).ok_or_else(|| "a moment is `2027-01-31` or `2027-01-31T12:00:00Z`".to_owned())
}

fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut read = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    let numbers = [read(digits[0])?, read(digits[1])?, read(digits[2])?];
    parts.next().is_none().then_some(numbers)
}

/// Days since 1970-01-01 as year, month and day of the proleptic Gregorian calendar (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The other way around (`days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for (written, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696_000),
            ("2027-01-31", 1_801_353_600_000),
        ] {
            assert_eq!(parse(written), Some(Timestamp::from_millis(millis)), "{written}");
        }
        assert_eq!(text(Timestamp::from_millis(951_827_696_007)), "2000-02-29T12:34:56.007Z");
        for day in -200_000..200_000 {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in
            ["", "2027-02-29", "2027-13-01", "2027-1-1", "2027-01-01T24:00:00Z", "+027-01-01"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
