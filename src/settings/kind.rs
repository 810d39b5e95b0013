//! What a setting's text may be, and how it becomes a typed field and text again.

use std::path::PathBuf;

/// The texts that a setting takes. The refusals are Redis' own sentences where Redis has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `yes` or `no`.
    YesNo,
    Integer {
        min: i64,
        max: i64,
    },
    /// A number of bytes, such as `64mb`, `1g` or `1048576`.
    Bytes {
        min: u64,
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Permission bits, such as `770`; 0 leaves them as they are.
    Permissions,
    /// Any text.
    Text,
    /// Any text, and it is never shown in logs or help.
    Secret,
    /// A path; empty for none.
    Path,
    /// Words with spaces between.
    Words,
    /// Nothing but the empty text: the feature behind it is not offered.
    Empty,
}

pub(super) const fn integer(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

pub(super) const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Bytes { min, max }
}

impl Kind {
    /// Checks a text and gives the one form in which it is kept and shown, or the reason why it is refused.
    pub fn canonical(&self, text: &str) -> Result<String, String> {
        match self {
            Kind::YesNo => match text.to_ascii_lowercase().as_str() {
                word @ ("yes" | "no") => Ok(word.to_owned()),
                _ => Err("argument must be 'yes' or 'no'".to_owned()),
            },
            Kind::Integer { min, max } => {
                let number: i64 = text.parse().map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
                between(number, *min, *max)
            }
            Kind::Bytes { min, max } => {
                let number = bytes_of(text).ok_or_else(|| "argument must be a memory value".to_owned())?;
                between(number, *min, *max)
            }
            Kind::Choice(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| (*word).to_owned())
                .ok_or_else(|| format!("argument(s) must be one of the following: {}", words.join(", "))),
            Kind::Permissions => match u32::from_str_radix(text, 8) {
                Ok(bits) if bits <= 0o777 => Ok(format!("{bits:o}")),
                Ok(_) => Err("argument must be between 0 and 777 inclusive".to_owned()),
                Err(_) => Err("argument couldn't be parsed as an octal number".to_owned()),
            },
            Kind::Text | Kind::Secret | Kind::Path if text.contains('\0') => {
                Err("argument must not hold a zero byte".to_owned())
            }
            Kind::Text | Kind::Secret | Kind::Path => Ok(text.to_owned()),
            Kind::Words => Ok(text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
            Kind::Empty if text.is_empty() => Ok(String::new()),
            Kind::Empty => Err("argument must be empty: what it turns on is not offered".to_owned()),
        }
    }

    /// Says for people what may be given, as the README's table shows it.
    pub fn description(&self) -> String {
        match self {
            Kind::YesNo => "yes, no".to_owned(),
            Kind::Integer { min, max } if *max >= i64::from(i32::MAX) => format!("integer ≥ {min}"),
            Kind::Integer { min, max } => format!("{min} to {max}"),
            Kind::Bytes { .. } => "bytes".to_owned(),
            Kind::Choice(words) => words.join(", "),
            Kind::Permissions => "octal".to_owned(),
            Kind::Text | Kind::Secret => "text".to_owned(),
            Kind::Path => "path".to_owned(),
            Kind::Words => "words".to_owned(),
            Kind::Empty => "only empty".to_owned(),
        }
    }

    /// Names the value in `--help`.
    pub(super) fn value_name(&self) -> &'static str {
        match self {
            Kind::YesNo => "yes|no",
            Kind::Integer { .. } => "N",
            Kind::Bytes { .. } => "BYTES",
            Kind::Choice(_) => "WORD",
            Kind::Permissions => "OCTAL",
            Kind::Text | Kind::Secret | Kind::Empty => "TEXT",
            Kind::Path => "PATH",
            Kind::Words => "WORDS",
        }
    }
}

fn between<N: PartialOrd + std::fmt::Display>(number: N, min: N, max: N) -> Result<String, String> {
    if number < min || number > max {
        return Err(format!("argument must be between {min} and {max} inclusive"));
    }
    Ok(number.to_string())
}

/// Reads `64mb` the way Redis does: `k`, `m`, `g` are powers of 1,000, `kb`, `mb`, `gb` of 1,024; any case.
fn bytes_of(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A field's type: made from a text that its kind has accepted, and shown again in the same form.
pub trait Value: Sized {
    fn from_canonical(text: &str) -> Self;
    fn show(&self) -> String;
}

macro_rules! number_values {
    ($($number:ty),+) => {$(
        impl Value for $number {
            fn from_canonical(text: &str) -> Self {
                text.parse().expect("the kind's range lies within the field's type")
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
number_values!(u16, u32, u64, i64);

impl Value for bool {
    fn from_canonical(text: &str) -> bool {
        text == "yes"
    }
    fn show(&self) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

impl Value for PathBuf {
    fn from_canonical(text: &str) -> PathBuf {
        PathBuf::from(text)
    }
    fn show(&self) -> String {
        self.to_string_lossy().into_owned()
    }
}

impl Value for String {
    fn from_canonical(text: &str) -> String {
        text.to_owned()
    }
    fn show(&self) -> String {
        self.clone()
    }
}

/// The empty text stands for none.
impl<V: Value> Value for Option<V> {
    fn from_canonical(text: &str) -> Option<V> {
        (!text.is_empty()).then(|| V::from_canonical(text))
    }
    fn show(&self) -> String {
        self.as_ref().map(V::show).unwrap_or_default()
    }
}

impl Value for Vec<String> {
    fn from_canonical(text: &str) -> Vec<String> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }
    fn show(&self) -> String {
        self.join(" ")
    }
}

/// Permission bits, as chmod takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions(pub u32);

impl Value for Permissions {
    fn from_canonical(text: &str) -> Permissions {
        Permissions(u32::from_str_radix(text, 8).expect("the kind has read it as octal"))
    }
    fn show(&self) -> String {
        format!("{:o}", self.0)
    }
}

/// When the log is synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFsync {
    /// Once a second, off the turn: a power cut loses what was not synced yet, a killed process nothing.
    Everysec,
    /// Before the reply leaves, many commits at once.
    Always,
    /// At the kernel's pace.
    No,
}

impl Value for AppendFsync {
    fn from_canonical(text: &str) -> AppendFsync {
        match text {
            "always" => AppendFsync::Always,
            "no" => AppendFsync::No,
            _ => AppendFsync::Everysec,
        }
    }
    fn show(&self) -> String {
        match self {
            AppendFsync::Everysec => "everysec",
            AppendFsync::Always => "always",
            AppendFsync::No => "no",
        }
        .to_owned()
    }
}

/// Who may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    Nobody,
    Everybody,
    /// Whoever comes over loopback or a Unix socket.
    Local,
}

impl Value for Whom {
    fn from_canonical(text: &str) -> Whom {
        match text {
            "yes" => Whom::Everybody,
            "local" => Whom::Local,
            _ => Whom::Nobody,
        }
    }
    fn show(&self) -> String {
        match self {
            Whom::Nobody => "no",
            Whom::Everybody => "yes",
            Whom::Local => "local",
        }
        .to_owned()
    }
}

/// How much is logged, in Redis' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

impl Value for LogLevel {
    fn from_canonical(text: &str) -> LogLevel {
        match text {
            "debug" => LogLevel::Debug,
            "verbose" => LogLevel::Verbose,
            "warning" => LogLevel::Warning,
            _ => LogLevel::Notice,
        }
    }
    fn show(&self) -> String {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Verbose => "verbose",
            LogLevel::Notice => "notice",
            LogLevel::Warning => "warning",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_units_are_those_of_redis() {
        for (text, number) in
            [("64mb", 64 << 20), ("1G", 1_000_000_000), ("3k", 3000), ("2KB", 2048), ("7", 7), ("7b", 7)]
        {
            assert_eq!(bytes_of(text), Some(number), "{text}");
        }
        for text in ["", "mb", "1zb", "-1", "1.5gb", "99999999999999gb"] {
            assert_eq!(bytes_of(text), None, "{text}");
        }
    }

    #[test]
    fn refusals_are_the_sentences_of_redis() {
        let check = |kind: Kind, text: &str, reason: &str| assert_eq!(kind.canonical(text), Err(reason.to_owned()));
        check(Kind::YesNo, "maybe", "argument must be 'yes' or 'no'");
        check(integer(1, 5), "abc", "argument couldn't be parsed into an integer");
        check(integer(1, 5), "6", "argument must be between 1 and 5 inclusive");
        check(bytes(0, 9), "1zb", "argument must be a memory value");
        check(Kind::Choice(&["a", "b"]), "c", "argument(s) must be one of the following: a, b");
        check(Kind::Permissions, "9", "argument couldn't be parsed as an octal number");
    }
}
