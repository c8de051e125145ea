use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An ISO 4217 currency: three upper-case letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// An amount in minor units (cents) of one currency; never negative, never a fraction, at most 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    #[serde(deserialize_with = "minor_units")]
    amount: u64,
    currency: Currency,
}

/// Why an amount of money is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three upper-case letters.
    #[error("a currency is three upper-case letters, for example `EUR`")]
    Currency,
    /// Negative or beyond 2^53.
    #[error("an amount is a whole number of minor units between 0 and 2^53")]
    Amount,
    /// Two currencies where one is needed.
    #[error("`{0}` and `{1}` cannot be compared")]
    Mixed(Currency, Currency),
}

/// The largest amount, 2^53: the last whole number that every JSON reader keeps exact.
const MAX_AMOUNT: u64 = 1 << 53;

fn minor_units<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let amount = u64::deserialize(deserializer)?;
    if amount > MAX_AMOUNT { Err(de::Error::custom(MoneyError::Amount)) } else { Ok(amount) }
}

impl Money {
    /// An amount of minor units.
    ///
    /// # Errors
    /// [`MoneyError::Amount`] when it is negative or beyond 2^53.
    pub fn new(minor_units: i64, currency: Currency) -> Result<Self, MoneyError> {
        let amount = u64::try_from(minor_units).map_err(|_| MoneyError::Amount)?;
        if amount > MAX_AMOUNT { Err(MoneyError::Amount) } else { Ok(Self { amount, currency }) }
    }

    /// Nothing of a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self { amount: 0, currency }
    }

    /// Minor units.
    pub const fn minor_units(self) -> u64 {
        self.amount
    }

    /// Whose minor units.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Whether `self` is no more than `limit`; `false` for another currency, since those cannot be compared.
    pub fn within(self, limit: Self) -> bool {
        self.currency == limit.currency && self.amount <= limit.amount
    }

    /// The sum.
    ///
    /// # Errors
    /// Two currencies, or a sum beyond 2^53.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed(self.currency, other.currency));
        }
        let amount = self.amount.checked_add(other.amount).filter(|sum| *sum <= MAX_AMOUNT);
        Ok(Self { amount: amount.ok_or(MoneyError::Amount)?, currency: self.currency })
    }

    /// What is left after `other` is taken; zero when it is more.
    ///
    /// # Errors
    /// Two currencies.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed(self.currency, other.currency));
        }
        Ok(Self { amount: self.amount.saturating_sub(other.amount), currency: self.currency })
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match text.as_bytes() {
            [a @ b'A'..=b'Z', b @ b'A'..=b'Z', c @ b'A'..=b'Z'] => Ok(Self([*a, *b, *c])),
            _ => Err(MoneyError::Currency),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `4000.00 EUR`: for people, with two decimals.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} {}", self.amount / 100, self.amount % 100, self.currency)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
