//! Doubles as text, in and out, as Redis 7.2 has them.
//!
//! Redis 7.2 prints the shortest digits that read back as the same double, whole numbers as integers, and goes over to
//! an exponent where its `fpconv` library does: `1e-7` has one exponent digit, and a number with many digits on both
//! sides of the point is written `1.7952919898486226e+9`. Redis 7.0 printed `%.17g`; both texts read back alike.

/// Room for the longest text of a double, such as `-2.2250738585072014e-308`, or a whole number of 62 bits.
pub const DOUBLE_BYTES_MAX: usize = 32;

/// Beyond this a whole number is no longer printed as an integer; Redis' own bound.
const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;

/// Returns the text that Redis 7.2 replies for a double.
pub fn format_double(value: f64) -> String {
    let mut text = [0; DOUBLE_BYTES_MAX];
    let bytes = write_double(value, &mut text);
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes the text of [`format_double`] into a buffer, without an allocation.
pub fn write_double(value: f64, text: &mut [u8; DOUBLE_BYTES_MAX]) -> &[u8] {
    let mut out = Out { text, len: 0 };
    if value.is_nan() {
        out.push(b"nan");
    } else if value.is_infinite() {
        out.push(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.push(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else {
        if value < 0.0 {
            out.push(b"-");
        }
        push_positive(&mut out, value.abs());
    }
    let Out { text, len } = out;
    &text[..len]
}

/// Reads a double as Redis reads a score or an increment, or returns `None` where Redis says "not a valid float".
///
/// As C's `strtod` it takes `inf`, `+inf`, `-infinity` in any case; it refuses NaN, white space, anything left over, and
/// what overflows or underflows. Hexadecimal floats, which `strtod` takes too, are refused: no client sends them.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    let digits = text.trim_start_matches(['+', '-']);
    let named = digits.starts_with(['i', 'I', 'n', 'N']);
    let mantissa = digits.split(['e', 'E']).next().unwrap_or(digits);
    let overflowed = value.is_infinite() && !named;
    let underflowed = value == 0.0 && mantissa.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    (!value.is_nan() && !overflowed && !underflowed).then_some(value)
}

/// Writes a finite double above zero.
fn push_positive(out: &mut Out, value: f64) {
    if value <= INTEGER_MAX && value.fract() == 0.0 {
        let mut integer = [0; 20];
        return out.push(decimal(value as u64, &mut integer));
    }
    let shortest = Shortest::of(value);
    let digits = shortest.digits();
    // The value is digits × 10^power; `exponent` is that of its first digit.
    let power = shortest.power;
    let exponent = power + digits.len() as i32 - 1;
    if power >= 0 && exponent.abs() < digits.len() as i32 + 7 {
        out.push(digits);
        out.zeros(power);
    } else if power < 0 && (power > -7 || exponent.abs() < 4) {
        let whole = digits.len() as i32 + power;
        if whole <= 0 {
            out.push(b"0.");
            out.zeros(-whole);
            out.push(digits);
        } else {
            out.push(&digits[..whole as usize]);
            out.push(b".");
            out.push(&digits[whole as usize..]);
        }
    } else {
        out.push(&digits[..1]);
        if digits.len() > 1 {
            out.push(b".");
            out.push(&digits[1..]);
        }
        out.push(if exponent < 0 { b"e-" } else { b"e+" });
        let mut integer = [0; 20];
        out.push(decimal(u64::from(exponent.unsigned_abs()), &mut integer));
    }
}

/// The shortest decimal digits of a double, and the power of ten that they are multiplied by.
struct Shortest {
    bytes: [u8; DOUBLE_BYTES_MAX],
    first: usize,
    end: usize,
    power: i32,
}

impl Shortest {
    fn of(value: f64) -> Shortest {
        let mut buffer = ryu::Buffer::new();
        let text = buffer.format_finite(value).as_bytes();
        let (mantissa, exponent) = match text.iter().position(|&byte| byte == b'e') {
            Some(at) => (&text[..at], signed(&text[at + 1..])),
            None => (text, 0),
        };
        let mut bytes = [0; DOUBLE_BYTES_MAX];
        let mut end = 0;
        let mut power = exponent;
        let mut behind_point = false;
        for &byte in mantissa {
            if byte == b'.' {
                behind_point = true;
                continue;
            }
            bytes[end] = byte;
            end += 1;
            power -= i32::from(behind_point);
        }
        while end > 1 && bytes[end - 1] == b'0' {
            end -= 1;
            power += 1;
        }
        let first = bytes[..end].iter().position(|&byte| byte != b'0').unwrap_or(0);
        Shortest { bytes, first, end, power }
    }

    fn digits(&self) -> &[u8] {
        &self.bytes[self.first..self.end]
    }
}

fn signed(text: &[u8]) -> i32 {
    let (sign, digits) = if text.first() == Some(&b'-') { (-1, &text[1..]) } else { (1, text) };
    sign * digits.iter().fold(0, |value, &digit| value * 10 + i32::from(digit - b'0'))
}

fn decimal(mut value: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &buffer[at..];
        }
    }
}

struct Out<'a> {
    text: &'a mut [u8; DOUBLE_BYTES_MAX],
    len: usize,
}

impl Out<'_> {
    fn push(&mut self, bytes: &[u8]) {
        self.text[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn zeros(&mut self, count: i32) {
        for _ in 0..count {
            self.push(b"0");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_double_has_the_text_of_redis_7_2() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-3.0, "-3"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000"),
            (1e17, "100000000000000000"),
            (9007199254740993.0, "9007199254740992"),
            (4e18, "4000000000000000000"),
            (1e19, "1e+19"),
            (1e20, "1e+20"),
            (1e100, "1e+100"),
            (1.5e300, "1.5e+300"),
            (12345678901234567000.0, "12345678901234567000"),
            (0.001, "0.001"),
            (0.000001, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-5, "0.000015"),
            (1.5e-7, "1.5e-7"),
            (1e-10, "1e-10"),
            (5e-324, "5e-324"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN, "-1.7976931348623157e+308"),
            (1.123456789012, "1.123456789012"),
            (123.456789012, "123.456789012"),
            (1234.567890123, "1234.567890123"),
            (12345.678901234, "1.2345678901234e+4"),
            (12345.678901, "12345.678901"),
            (1795291989.8486226, "1.7952919898486226e+9"),
            (1795291989.84862, "1795291989.84862"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(format_double(value), text, "{value:e}");
        }
    }

    #[test]
    fn what_strtod_refuses_is_not_a_double() {
        for text in [
            "", " ", " 1", "1 ", "1x", "nan", "NaN", "-nan", "e5", ".", "1e", "--1", "1_0", "1e400", "-1e400", "1e-400",
        ] {
            assert_eq!(parse_double(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_double(b"\xff"), None);
        assert_eq!(parse_double(b"1\0"), None);
    }

    #[test]
    fn what_strtod_takes_is_a_double() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", 0.0),
            ("0e400", 0.0),
            ("3", 3.0),
            ("+3", 3.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("1795291989.8486226", 1795291989.8486226),
            ("1e3", 1000.0),
            ("1E+3", 1000.0),
            ("inf", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_double(text.as_bytes()), Some(value), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_text_of_a_double_reads_back_as_the_same_double(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_double(format_double(value).as_bytes()).map(f64::to_bits), Some(bits));
        }

        #[test]
        fn the_text_of_an_ordinary_score_reads_back_as_the_same_double(value in -1e12..1e12) {
            prop_assert_eq!(parse_double(format_double(value).as_bytes()), Some(value));
        }
    }
}
