//! Exact decimal numbers, as `numeric` has them: any precision, infinities, and what is no number.

use std::cmp::Ordering;

/// Each group holds four decimal digits, as in Postgres.
const BASE: u16 = 10_000;

/// The longest text of a number that is computed with here.
pub const TEXT_BYTES_MAX: usize = 1000;

/// The largest exponent that is computed with here.
const EXPONENT_MAX: i32 = 1000;

/// The most groups of a number that is multiplied or added here.
const GROUPS_MAX: usize = 512;

/// A number. The variants stand in Postgres's order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Numeric {
    /// Below all.
    NegativeInfinity,
    /// A number.
    Finite(Digits),
    /// Above all numbers.
    Infinity,
    /// No number; equals itself, and is above all.
    NotANumber,
}

impl Numeric {
    /// How many bytes it holds, with those outside of itself.
    pub fn heap_bytes(&self) -> usize {
        let digits = match self {
            Self::Finite(digits) => size_of_val(&*digits.groups),
            _ => 0,
        };
        size_of::<Self>() + digits
    }
}

/// A finite number, so written that equal numbers have equal digits.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Digits {
    /// Never set for zero.
    negative: bool,
    /// The first group counts this power of [`BASE`]; 0 for zero.
    weight: i32,
    /// Neither the first nor the last is 0.
    groups: Box<[u16]>,
}

/// Values never reach a log.
impl std::fmt::Debug for Numeric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Numeric")
    }
}

impl std::fmt::Debug for Digits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digits")
    }
}

impl Ord for Digits {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.sign(), other.sign()) {
            (1, 1) => self.magnitude_cmp(other),
            (-1, -1) => other.magnitude_cmp(self),
            (left, right) => left.cmp(&right),
        }
    }
}

impl PartialOrd for Digits {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Digits {
    /// Groups of which the first counts `weight`; zeros at both ends are dropped.
    fn new(negative: bool, weight: i32, groups: &[u16]) -> Self {
        let leading = groups.iter().take_while(|group| **group == 0).count();
        let trailing = groups[leading..].iter().rev().take_while(|group| **group == 0).count();
        let groups = &groups[leading..groups.len() - trailing];
        if groups.is_empty() {
            return Self::default();
        }
        let leading = i32::try_from(leading).unwrap_or(i32::MAX);
        Self { negative, weight: weight.saturating_sub(leading), groups: groups.into() }
    }

    fn sign(&self) -> i8 {
        match (self.groups.is_empty(), self.negative) {
            (true, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        }
    }

    /// The order of the magnitudes; neither is zero.
    fn magnitude_cmp(&self, other: &Self) -> Ordering {
        self.weight.cmp(&other.weight).then_with(|| self.groups.cmp(&other.groups))
    }

    /// The group that counts this power.
    fn group(&self, weight: i32) -> u16 {
        let place = self.weight.checked_sub(weight).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.groups.get(place)).copied().unwrap_or(0)
    }

    /// The power that the last group counts.
    fn lowest(&self) -> i32 {
        self.weight - i32::try_from(self.groups.len()).unwrap_or(i32::MAX) + 1
    }

    fn negated(&self) -> Self {
        Self { negative: !self.negative && !self.groups.is_empty(), ..self.clone() }
    }

    fn is_small(&self) -> bool {
        self.groups.len() <= GROUPS_MAX && self.weight.unsigned_abs() <= EXPONENT_MAX.unsigned_abs()
    }

    fn add(&self, other: &Self) -> Option<Self> {
        if !self.is_small() || !other.is_small() {
            return None;
        }
        let (low, high) = (self.lowest().min(other.lowest()), self.weight.max(other.weight) + 1);
        // The larger magnitude gives the sign, so that a difference borrows nothing in the end.
        let (large, small) =
            match self.sign() == 0 || (other.sign() != 0 && self.magnitude_cmp(other).is_lt()) {
                true => (other, self),
                false => (self, other),
            };
        let same = large.negative == small.negative || small.sign() == 0;
        let mut groups = Vec::new();
        let mut carry = 0_i32;
        for weight in low..=high {
            let addend = i32::from(small.group(weight));
            let sum = i32::from(large.group(weight)) + if same { addend } else { -addend } + carry;
            carry = sum.div_euclid(BASE.into());
            groups.push(u16::try_from(sum.rem_euclid(BASE.into())).ok()?);
        }
        groups.reverse();
        Some(Self::new(large.negative, high, &groups))
    }

    fn multiply(&self, other: &Self) -> Option<Self> {
        if !self.is_small() || !other.is_small() {
            return None;
        }
        let mut sums = vec![0_u64; self.groups.len() + other.groups.len()];
        for (i, left) in self.groups.iter().enumerate() {
            for (j, right) in other.groups.iter().enumerate() {
                sums[i + j + 1] += u64::from(*left) * u64::from(*right);
            }
        }
        let mut carry = 0;
        let mut groups = vec![0; sums.len()];
        for (sum, group) in sums.iter().zip(&mut groups).rev() {
            let sum = sum + carry;
            *group = u16::try_from(sum % u64::from(BASE)).ok()?;
            carry = sum / u64::from(BASE);
        }
        Some(Self::new(self.negative != other.negative, self.weight + other.weight + 1, &groups))
    }

    /// Rounded to a whole number, halves away from zero; `None` beyond `bigint`.
    fn to_integer(&self) -> Option<i64> {
        if self.weight > 4 {
            return None;
        }
        let mut number = 0_i128;
        for weight in (0..=self.weight.max(0)).rev() {
            number = number * i128::from(BASE) + i128::from(self.group(weight));
        }
        if self.group(-1) >= BASE / 2 {
            number += 1;
        }
        i64::try_from(if self.negative { -number } else { number }).ok()
    }
}

impl From<i64> for Numeric {
    fn from(number: i64) -> Self {
        let mut rest = number.unsigned_abs();
        let mut groups = [0; 5];
        for group in groups.iter_mut().rev() {
            // A remainder by 10000 is below it.
            *group = u16::try_from(rest % u64::from(BASE)).unwrap_or(0);
            rest /= u64::from(BASE);
        }
        Self::Finite(Digits::new(number < 0, 4, &groups))
    }
}

impl Numeric {
    /// A number from groups of four decimal digits, the first of which counts `10000^weight`. `None` if a group is none.
    pub fn from_groups(negative: bool, weight: i32, groups: &[u16]) -> Option<Self> {
        let valid = groups.iter().all(|group| *group < BASE);
        valid.then(|| Self::Finite(Digits::new(negative, weight, groups)))
    }

    /// Reads what `numeric` prints. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "NaN" => Some(Self::NotANumber),
            "Infinity" => Some(Self::Infinity),
            "-Infinity" => Some(Self::NegativeInfinity),
            _ => {
                let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
                let bytes = text.as_bytes();
                let magnitude = bytes.strip_prefix(b"-").unwrap_or(bytes);
                let plain = digit(magnitude.first()) && digit(magnitude.last());
                plain.then(|| decimal(text))?
            }
        }
    }

    /// Reads a number as people write it, with an exponent too. `None` for what Postgres may read otherwise, refuse or
    /// overflow by, and for what is longer than [`TEXT_BYTES_MAX`].
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
            None => (text, 0),
        };
        let number = decimal(mantissa)?;
        if exponent == 0 {
            return Some(number);
        }
        let power = exponent.rem_euclid(4);
        let scaled = number.multiply(&Self::from(10_i64.pow(power.unsigned_abs())))?;
        match scaled {
            Self::Finite(Digits { groups, .. }) if groups.is_empty() => Some(Self::from(0)),
            Self::Finite(Digits { negative, weight, groups }) => {
                Some(Self::Finite(Digits { negative, weight: weight + exponent.div_euclid(4), groups }))
            }
            _ => None,
        }
    }

    /// The sum; `None` if it takes too long, or Postgres overflows.
    pub fn add(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Finite(left), Self::Finite(right)) => left.add(right).map(Self::Finite),
            (Self::NotANumber, _) | (_, Self::NotANumber) => Some(Self::NotANumber),
            (Self::Infinity, Self::NegativeInfinity) | (Self::NegativeInfinity, Self::Infinity) => {
                Some(Self::NotANumber)
            }
            (Self::Finite(_), infinite) | (infinite, _) => Some(infinite.clone()),
        }
    }

    /// The number below zero by as much as this is above.
    #[must_use]
    pub fn negated(&self) -> Self {
        match self {
            Self::Finite(digits) => Self::Finite(digits.negated()),
            Self::Infinity => Self::NegativeInfinity,
            Self::NegativeInfinity => Self::Infinity,
            Self::NotANumber => Self::NotANumber,
        }
    }

    /// The product; `None` if it takes too long, or Postgres overflows.
    pub fn multiply(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Finite(left), Self::Finite(right)) => left.multiply(right).map(Self::Finite),
            (Self::NotANumber, _) | (_, Self::NotANumber) => Some(Self::NotANumber),
            _ => Some(match self.sign() * other.sign() {
                0 => Self::NotANumber,
                1 => Self::Infinity,
                _ => Self::NegativeInfinity,
            }),
        }
    }

    /// Rounded to a whole number, halves away from zero; `None` beyond `bigint`.
    pub fn to_integer(&self) -> Option<i64> {
        match self {
            Self::Finite(digits) => digits.to_integer(),
            _ => None,
        }
    }

    /// As Postgres prints it with this many digits behind the point. `None` for what is not finite, too long, or has more
    /// digits.
    pub(super) fn to_text(&self, scale: usize) -> Option<String> {
        let Self::Finite(digits) = self else { return None };
        let weight = digits.weight.max(0);
        if !digits.is_small() || scale > TEXT_BYTES_MAX {
            return None;
        }
        let whole: String = (0..=weight).rev().map(|weight| format!("{:04}", digits.group(weight))).collect();
        let lowest = digits.lowest().min(0);
        let mut fraction: String =
            (lowest..0).rev().map(|weight| format!("{:04}", digits.group(weight))).collect();
        while fraction.len() < scale {
            fraction.push('0');
        }
        if fraction.bytes().skip(scale).any(|digit| digit != b'0') {
            return None;
        }
        fraction.truncate(scale);
        let whole = whole.trim_start_matches('0');
        let sign = if digits.negative { "-" } else { "" };
        let point = if scale > 0 { "." } else { "" };
        Some(format!("{sign}{}{point}{fraction}", if whole.is_empty() { "0" } else { whole }))
    }

    /// -1, 0 or 1; of what is no number, 1.
    fn sign(&self) -> i8 {
        match self {
            Self::Finite(digits) => digits.sign(),
            Self::NegativeInfinity => -1,
            Self::Infinity | Self::NotANumber => 1,
        }
    }
}

/// An exponent within bounds.
fn exponent_of(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|exponent: &i32| exponent.abs() <= EXPONENT_MAX)
}

/// `[+-]digits[.digits]`, with digits on one side of the point at least.
fn decimal(text: &str) -> Option<Numeric> {
    let magnitude = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (integer, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (integer.is_empty() && fraction.is_empty()) || !is_digits(integer) || !is_digits(fraction) {
        return None;
    }
    let group = |part: &[u8]| part.iter().fold(0_u16, |number, digit| number * 10 + u16::from(digit - b'0'));
    let mut groups = Vec::with_capacity(integer.len() / 4 + fraction.len() / 4 + 2);
    let (first, rest) = integer.as_bytes().split_at(integer.len() % 4);
    if !first.is_empty() {
        groups.push(group(first));
    }
    groups.extend(rest.chunks_exact(4).map(group));
    let weight = i32::try_from(groups.len()).ok()? - 1;
    for part in fraction.as_bytes().chunks(4) {
        let scale = [1000, 100, 10, 1][part.len() - 1];
        groups.push(group(part) * scale);
    }
    Some(Numeric::Finite(Digits::new(text.starts_with('-'), weight, &groups)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Numeric {
        Numeric::read(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn equal_numbers_are_equal_however_written() {
        for (left, right) in
            [("1.0", "1.00"), ("0", "-0.000"), ("1e3", "1000"), ("12.5e-1", "1.25"), ("0010", "10")]
        {
            assert!(read(left) == read(right), "{left} {right}");
        }
        let ascending =
            ["-1e10", "-10000", "-1.5", "-0.00001", "0", "0.00001", "0.1", "9999", "10000", "10000.1"];
        for pair in ascending.windows(2) {
            assert!(read(pair[0]) < read(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_read() {
        for text in ["", ".", "-", "1e", "1e+", "e5", "1 ", "1_0", "0x1", "1.2.3", "1e1001", "--1"] {
            assert!(Numeric::read(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arithmetic_is_exact(left in any::<i64>(), right in any::<i64>(), scale in 0_u32..9) {
            let (a, b) = (Numeric::from(left), Numeric::from(right));
            prop_assert!(a.add(&b).unwrap() == Numeric::read(&(i128::from(left) + i128::from(right)).to_string()).unwrap());
            prop_assert!(a.multiply(&b).unwrap() == Numeric::read(&(i128::from(left) * i128::from(right)).to_string()).unwrap());
            prop_assert_eq!(a.cmp(&b), left.cmp(&right));
            prop_assert_eq!(a.to_integer(), Some(left));
            let scaled = Numeric::read(&format!("{left}e-{scale}")).unwrap();
            prop_assert!(scaled.multiply(&Numeric::from(10_i64.pow(scale))).unwrap() == a);
        }
    }
}
