//! Finding the end of a string's plain content, which is where nearly all bytes of a large message lie.

/// How far the plain content of a string reaches, and what was seen in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain {
    /// The number of plain bytes; the byte behind them is the quote, a backslash, a control character or 0xFE or
    /// 0xFF, or there is none.
    pub length: usize,
    /// Whether a byte above 0x7F was among them.
    pub non_ascii: bool,
}

/// Bytes looked at together: enough for the compiler to use vector instructions.
const BLOCK: usize = 64;

/// Measures the plain content of a string in quotes `quote` from the beginning of `bytes`.
pub fn plain_content(bytes: &[u8], quote: u8) -> Plain {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= BLOCK && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { with_avx2(bytes, quote) };
    }
    measure(bytes, quote)
}

/// The same for processors whose vectors are twice as long as those of any x86-64.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2(bytes: &[u8], quote: u8) -> Plain {
    measure(bytes, quote)
}

#[inline(always)]
fn measure(bytes: &[u8], quote: u8) -> Plain {
    let special = |byte: u8| byte == quote || byte == b'\\' || !(0x20..0xFE).contains(&byte);
    let mut seen = 0u8;
    let mut length = 0;
    for block in bytes.chunks_exact(BLOCK) {
        let mut any = false;
        let mut all = 0u8;
        for &byte in block {
            any |= special(byte);
            all |= byte;
        }
        if any {
            break;
        }
        seen |= all;
        length += BLOCK;
    }
    for &byte in bytes.get(length..).unwrap_or_default() {
        if special(byte) {
            break;
        }
        seen |= byte;
        length += 1;
    }
    Plain { length, non_ascii: seen >= 0x80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_at_every_place() {
        for special in [b'"', b'\\', 0, 0x1F, b'\n', 0xFE, 0xFF] {
            for place in 0..200 {
                let mut text = vec![b'a'; 200];
                text[place] = special;
                assert_eq!(plain_content(&text, b'"'), Plain { length: place, non_ascii: false });
            }
        }
        assert_eq!(plain_content(b"it's", b'"').length, 4);
        assert_eq!(plain_content(b"it's", b'\'').length, 2);
    }

    #[test]
    fn bytes_above_ascii_are_told_of_but_only_before_the_end() {
        let mut text = vec![b'a'; 150];
        text[100] = b'"';
        text[120] = 0xC3;
        assert!(!plain_content(&text, b'"').non_ascii);
        text[70] = 0xC3;
        assert!(plain_content(&text, b'"').non_ascii);
    }
}
