//! Moments as people write them: UTC, in the form of RFC 3339.

use model::Timestamp;

/// Reads `2027-01-31` (its first moment) or `2027-01-31T12:00:00Z`.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time.strip_suffix('Z')?, ':', [2, 2, 2])?;
    if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    // A day that there is not would be another one.
    Some(Timestamp::from_seconds(seconds)).filter(|moment| moment.to_string().starts_with(date))
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

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar (Howard Hinnant's `days_from_civil`).
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
        for day in -200_000..200_000 {
            let moment = Timestamp::from_seconds(day * 86_400);
            let written = moment.to_string();
            assert_eq!(parse(&written[..10]), Some(moment), "{written}");
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
