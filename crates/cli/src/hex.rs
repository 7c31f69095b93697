//! Bytes in hexadecimal.

/// Lower-case digits, two per byte.
pub(crate) fn emit(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads digits of either case; blanks and colons between them are passed over.
pub(crate) fn parse(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect();
    let digits = digits?;
    (digits.len() % 2 == 0).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(emit(&[0, 0xa4, 255]), "00a4ff");
        assert_eq!(parse("00:A4 ff"), Some(vec![0, 0xa4, 255]));
        assert_eq!(parse("abc"), None);
        assert_eq!(parse("zz"), None);
    }
}
