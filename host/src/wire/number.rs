//! How far a number has come, byte by byte (RFC 8259, section 6).

/// What the bytes so far amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// What the next byte makes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The byte belongs to it.
    Goes(Number),
    /// It is complete, and the byte belongs to what follows.
    Ends,
    /// It is no number.
    Fails,
}

impl Number {
    /// A number that begins with this byte, if one can.
    pub fn begin(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Integer),
            _ => None,
        }
    }

    /// Looks at the next byte.
    pub fn step(self, byte: u8) -> Step {
        Step::Goes(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') => Self::Integer,
            (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => Self::ExponentDigits,
            (Self::Zero, b'0'..=b'9') | (Self::Minus | Self::Point | Self::Exponent | Self::ExponentSign, _) => {
                return Step::Fails;
            }
            _ => return Step::Ends,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes of `text` are a number, if they are one.
    fn length(text: &str) -> Option<usize> {
        let mut number = Number::begin(*text.as_bytes().first()?)?;
        for (at, byte) in text.bytes().enumerate().skip(1) {
            match number.step(byte) {
                Step::Goes(next) => number = next,
                Step::Ends => return Some(at),
                Step::Fails => return None,
            }
        }
        None
    }

    #[test]
    fn numbers_end_where_json_says() {
        for (text, expected) in [
            ("0 ", Some(1)),
            ("-0,", Some(2)),
            ("120}", Some(3)),
            ("1.50e+10]", Some(8)),
            ("0e1 ", Some(3)),
            ("0x1", Some(1)),
            ("00 ", None),
            ("1. ", None),
            ("1e ", None),
            ("1e+ ", None),
            ("- ", None),
            ("-I", None),
            ("+1 ", None),
            ("1", None),
        ] {
            assert_eq!(length(text), expected, "{text}");
        }
    }
}
