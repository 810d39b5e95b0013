//! The long doubles of INCRBYFLOAT and HINCRBYFLOAT: Redis computes with the 80-bit floats of x86 and prints them by
//! `%.17Lf`, so `0.1 + 0.2` is `0.3` where a double would say otherwise. There is no such type here, so it is computed
//! with integers: 64 binary digits, rounded half to even.

use std::cmp::Ordering;

use crate::resp::Error;

/// Significant binary digits of the type.
const DIGITS: i64 = 64;
/// A finite value is below 2 to this power.
const EXPONENT_END: i64 = 16_384;
/// Redis reads numbers into a buffer of this size.
const TEXT_BYTES_MAX: usize = 5 * 1024;
/// Decimal exponents of the first digit that can be neither zero nor infinite; the bounds are a little too wide, and what
/// lies in the margin is decided by the binary exponent.
const DECIMAL_EXPONENTS: std::ops::RangeInclusive<i64> = -4_951..=4_940;
/// Digits behind the point that are printed …
const FRACTION_DIGITS: usize = 17;
/// … as an integer.
const FRACTION_SCALE: u64 = 100_000_000_000_000_000;

const NOT_FINITE: Error = Error::constant("ERR increment would produce NaN or Infinity");

/// Adds two numbers given as text, and answers the sum's text.
pub fn add(value: &[u8], increment: &[u8]) -> Result<String, Error> {
    let value = parse(value).ok_or(Error::NOT_A_FLOAT)?;
    let increment = parse(increment).ok_or(Error::NOT_A_FLOAT)?;
    let (Number::Finite(value), Number::Finite(increment)) = (value, increment) else { return Err(NOT_FINITE) };
    value.plus(&increment).map(|sum| sum.print()).ok_or(NOT_FINITE)
}

/// What a text can say.
#[derive(Debug, Clone)]
enum Number {
    Finite(LongDouble),
    Infinite,
}

/// ± mantissa × 2^exponent; the mantissa is zero or has its highest bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LongDouble {
    negative: bool,
    mantissa: u64,
    exponent: i64,
}

/// Reads what C's `strtold` reads, without hexadecimal floats: no spaces, no NaN, nothing that overflows or vanishes.
fn parse(text: &[u8]) -> Option<Number> {
    if text.len() >= TEXT_BYTES_MAX {
        return None;
    }
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        return Some(Number::Infinite);
    }
    let (mantissa, exponent) = match unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&unsigned[..at], decimal_exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let behind = mantissa.get(point + 1..).unwrap_or(&[]);
    let digits: Vec<u8> = [&mantissa[..point], behind].concat();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let power = exponent - behind.len() as i64;
    let significant = &digits[zeros..];
    if significant.is_empty() {
        return Some(Number::Finite(LongDouble { negative, mantissa: 0, exponent: 0 }));
    }
    if !DECIMAL_EXPONENTS.contains(&(power + significant.len() as i64 - 1)) {
        return None;
    }
    let (mut numerator, mut denominator) = (Natural::from_decimal(significant), Natural::from(1));
    let scaled = if power >= 0 { &mut numerator } else { &mut denominator };
    (0..power.unsigned_abs()).for_each(|_| scaled.multiply(10));
    LongDouble::quotient(negative, numerator, denominator).map(Number::Finite)
}

/// An exponent, cut to what is certainly out of range.
fn decimal_exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |value: i64, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000));
    Some(sign * value)
}

impl LongDouble {
    /// Rounds a positive fraction; none if it is too large.
    fn quotient(negative: bool, mut numerator: Natural, mut denominator: Natural) -> Option<LongDouble> {
        // First so that numerator / denominator lies in [1, 2), then one binary digit after the other.
        let mut exponent = numerator.bits() - denominator.bits();
        if exponent >= 0 {
            denominator.shift(exponent)
        } else {
            numerator.shift(-exponent)
        }
        if numerator.compare(&denominator) == Ordering::Less {
            numerator.shift(1);
            exponent -= 1;
        }
        let mut mantissa = 0;
        for _ in 0..DIGITS {
            mantissa <<= 1;
            if numerator.compare(&denominator) != Ordering::Less {
                numerator.subtract(&denominator);
                mantissa |= 1;
            }
            numerator.shift(1);
        }
        let half = numerator.compare(&denominator);
        LongDouble::rounded(negative, mantissa, exponent - (DIGITS - 1), half)
    }

    /// Rounds half to even: `rest` is how what was cut off stands to a half.
    fn rounded(negative: bool, mantissa: u64, exponent: i64, rest: Ordering) -> Option<LongDouble> {
        let up = rest == Ordering::Greater || rest == Ordering::Equal && mantissa & 1 == 1;
        let (mantissa, exponent) = match mantissa.checked_add(u64::from(up)) {
            Some(mantissa) => (mantissa, exponent),
            None => (1 << (DIGITS - 1), exponent + 1),
        };
        (exponent + DIGITS <= EXPONENT_END).then_some(LongDouble { negative, mantissa, exponent })
    }

    /// The sum; none if it is too large.
    fn plus(&self, other: &LongDouble) -> Option<LongDouble> {
        if self.mantissa == 0 {
            return Some(*other);
        }
        if other.mantissa == 0 {
            return Some(*self);
        }
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: &LongDouble| {
            let mut natural = Natural::from(number.mantissa);
            natural.shift(number.exponent - exponent);
            natural
        };
        let (mut sum, mut smaller, mut negative) = (aligned(self), aligned(other), self.negative);
        if self.negative == other.negative {
            sum.add(&smaller);
        } else {
            if sum.compare(&smaller) == Ordering::Less {
                std::mem::swap(&mut sum, &mut smaller);
                negative = other.negative;
            }
            sum.subtract(&smaller);
        }
        if sum.bits() == 0 {
            return Some(LongDouble { negative: false, mantissa: 0, exponent: 0 });
        }
        let mut unit = Natural::from(1);
        if exponent >= 0 {
            sum.shift(exponent)
        } else {
            unit.shift(-exponent)
        }
        LongDouble::quotient(negative, sum, unit)
    }

    /// As `%.17Lf` prints it, without zeros at its end.
    fn print(&self) -> String {
        let mut digits = if self.exponent >= 0 {
            let mut whole = Natural::from(self.mantissa);
            whole.shift(self.exponent);
            whole.into_decimal() + &"0".repeat(FRACTION_DIGITS)
        } else {
            self.scaled_down().to_string()
        };
        if digits.len() <= FRACTION_DIGITS {
            digits = "0".repeat(FRACTION_DIGITS + 1 - digits.len()) + &digits;
        }
        digits.insert(digits.len() - FRACTION_DIGITS, '.');
        let text = digits.trim_end_matches('0').trim_end_matches('.');
        if self.negative && text != "0" { format!("-{text}") } else { text.to_owned() }
    }

    /// A value with a negative exponent, times the scale, rounded half to even.
    fn scaled_down(&self) -> u128 {
        let scaled = u128::from(self.mantissa) * u128::from(FRACTION_SCALE);
        let shift = self.exponent.unsigned_abs() as u32;
        let whole = scaled.checked_shr(shift).unwrap_or(0);
        // Beyond 128 bits even the half lies above everything that is scaled.
        let Some(half) = 1u128.checked_shl(shift - 1) else { return 0 };
        let rest = if shift < u128::BITS { scaled & ((1 << shift) - 1) } else { scaled };
        whole + u128::from(rest > half || rest == half && whole & 1 == 1)
    }
}

/// A natural number of any size: 32-bit limbs, lowest first, the highest not zero.
#[derive(Debug, Clone)]
struct Natural {
    limbs: Vec<u32>,
}

impl From<u64> for Natural {
    fn from(value: u64) -> Natural {
        let mut natural = Natural { limbs: vec![value as u32, (value >> 32) as u32] };
        natural.trim();
        natural
    }
}

impl Natural {
    fn from_decimal(digits: &[u8]) -> Natural {
        let mut natural = Natural::from(0);
        for digit in digits {
            natural.multiply(10);
            natural.add(&Natural::from(u64::from(digit - b'0')));
        }
        natural
    }

    fn into_decimal(mut self) -> String {
        const PART: u64 = 1_000_000_000;
        let mut parts = Vec::new();
        while !self.limbs.is_empty() {
            let mut rest = 0;
            for limb in self.limbs.iter_mut().rev() {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / PART) as u32;
                rest = value % PART;
            }
            self.trim();
            parts.push(rest);
        }
        let mut text = parts.pop().unwrap_or(0).to_string();
        parts.iter().rev().for_each(|part| text += &format!("{part:09}"));
        text
    }

    /// How many binary digits it has.
    fn bits(&self) -> i64 {
        let Some(highest) = self.limbs.last() else { return 0 };
        self.limbs.len() as i64 * 32 - i64::from(highest.leading_zeros())
    }

    fn compare(&self, other: &Natural) -> Ordering {
        let length = self.limbs.len().cmp(&other.limbs.len());
        length.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }

    fn multiply(&mut self, factor: u32) {
        let mut carry = 0;
        for limb in &mut self.limbs {
            let value = u64::from(*limb) * u64::from(factor) + carry;
            *limb = value as u32;
            carry = value >> 32;
        }
        if carry > 0 {
            self.limbs.push(carry as u32);
        }
    }

    fn add(&mut self, other: &Natural) {
        self.limbs.resize(self.limbs.len().max(other.limbs.len()) + 1, 0);
        let mut carry = 0;
        for (at, limb) in self.limbs.iter_mut().enumerate() {
            let value = u64::from(*limb) + u64::from(other.limbs.get(at).copied().unwrap_or(0)) + carry;
            *limb = value as u32;
            carry = value >> 32;
        }
        self.trim();
    }

    /// Takes away a number that is not larger.
    fn subtract(&mut self, other: &Natural) {
        let mut borrow = 0;
        for (at, limb) in self.limbs.iter_mut().enumerate() {
            let value = i64::from(*limb) - i64::from(other.limbs.get(at).copied().unwrap_or(0)) - borrow;
            *limb = value as u32;
            borrow = i64::from(value < 0);
        }
        self.trim();
    }

    /// Multiplies by 2 to a power that is not negative.
    fn shift(&mut self, bits: i64) {
        if self.limbs.is_empty() || bits == 0 {
            return;
        }
        let (limbs, bits) = ((bits / 32) as usize, (bits % 32) as u32);
        self.multiply(1 << bits);
        self.limbs.splice(0..0, std::iter::repeat_n(0, limbs));
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, increment: &str, sum: &str) {
        assert_eq!(add(value.as_bytes(), increment.as_bytes()).as_deref(), Ok(sum), "{value} + {increment}");
    }

    #[test]
    fn sums_are_those_of_eighty_bit_floats() {
        check("0.1", "0.2", "0.3");
        check("10.50", "0.1", "10.6");
        check("5.0e3", "2.0e2", "5200");
        check("3", "-3", "0");
        check("-1", "0.5", "-0.5");
        check("0", "1e-18", "0");
        check("-0.0", "0", "0");
        check("0", "-1e-30", "0");
        check("18446744073709551615", "1", "18446744073709551616");
        check("1e20", "1", "100000000000000000000");
        check("0", "1e25", "10000000000000000000000000");
        // Neither a double nor ten decimal digits show what 64 binary digits do.
        check("1234567.1", "0.2", "1234567.30000000000006821");
        check("0", "3.141592653589793238", "3.14159265358979324");
    }

    #[test]
    fn what_redis_cannot_read_is_refused() {
        for text in ["", " 1", "1 ", "abc", "1e", "1.2.3", "--1", ".", "nan", "1e5000", "1e-6000", "1e99999999999"] {
            assert_eq!(add(text.as_bytes(), b"1"), Err(Error::NOT_A_FLOAT), "{text:?}");
        }
        assert_eq!(add(b"inf", b"1"), Err(NOT_FINITE));
        assert_eq!(add(b"1e4932", b"1e4932"), Err(NOT_FINITE));
        check("1.", ".5", "1.5");
    }

    #[test]
    fn the_largest_value_is_printed_whole() {
        let sum = add(b"1.18973149535723176502e4932", b"0").expect("it is finite");
        assert_eq!(sum.len(), 4933);
        assert!(sum.starts_with("118973149535723176502126"), "{}", &sum[..40]);
    }
}
