//! The text form of vectors: blocks of `key = value` lines with empty lines between, values text or hex.

/// One case.
#[derive(Clone, Copy)]
pub struct Block<'a>(&'a str);

/// The cases of a file.
pub fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    text.split("\n\n").map(Block).filter(|block| block.text("case").is_some())
}

impl<'a> Block<'a> {
    /// The value behind a key.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let mut pairs = lines.filter_map(|line| line.split_once('='));
        pairs.find(|(k, _)| k.trim() == key).map(|(_, value)| value.trim())
    }

    /// The case's name.
    pub fn name(&self) -> &'a str {
        self.text("case").unwrap_or("without a name")
    }

    /// A hex value into `out`; the part that was written.
    pub fn bytes<'b>(&self, key: &str, out: &'b mut [u8]) -> Result<&'b mut [u8], &'static str> {
        let text = self.text(key).ok_or("a key is missing in its vector")?.as_bytes();
        let len = text.len() / 2;
        let out = out.get_mut(..len).ok_or("a value of its vector is longer than there is room")?;
        for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |c: u8| (c as char).to_digit(16).ok_or("a value of its vector is not hex");
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        if text.len() % 2 == 1 { Err("a value of its vector has half a byte") } else { Ok(out) }
    }

    /// A hex value of exactly `N` bytes.
    pub fn array<const N: usize>(&self, key: &str) -> Result<[u8; N], &'static str> {
        let mut out = [0; N];
        if self.bytes(key, &mut out)?.len() == N {
            Ok(out)
        } else {
            Err("a value of its vector is too short")
        }
    }

    /// A hex value of at most 8 bytes as a number.
    pub fn number(&self, key: &str) -> Result<u64, &'static str> {
        let mut out = [0; 8];
        Ok(self.bytes(key, &mut out)?.iter().fold(0, |n, &b| n << 8 | u64::from(b)))
    }
}
