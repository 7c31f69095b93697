//! Seeded mutations: what an attacker's file or a bad radio makes of something valid.

/// Lengths and counts that parsers get wrong.
const INTEGERS: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0xffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];
/// Words that readers of text get wrong.
const WORDS: &[&str] = &[
    "NaN",
    "inf",
    "-inf",
    "1e999",
    "-1e999",
    "1e-999",
    "0x",
    "-0",
    "9223372036854775808",
    "99999999999999999999999",
    "null",
    "true",
    "\"",
    "\"\"",
    "'",
    ";",
    ",",
    "\t",
    "\r\n",
    "\n",
    "\r",
    "\u{feff}",
    "\0",
    "{",
    "}",
    "[",
    "[[[[[[[[",
    "\\u0000",
    "\\ud800",
    "é",
    "\u{202e}",
    "1,5",
    "1.5",
    "--",
    "=cmd()",
    "<script>",
    "${x}",
    "%s",
    "../..",
    "2026-02-30T25:61:61Z",
    "2026-03-29 02:30:00",
    "1970-01-01",
    "-292277022657-01-27T08:29:52Z",
    "+14:00",
];
/// A radio frame is short, a file may be long.
const LEN_USUAL: usize = 2048;
const LEN_MAX: usize = 1 << 17;

/// Makes inputs, the same ones for the same door and seeds on every machine.
pub(crate) struct Mutator<'a> {
    state: u64,
    seeds: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    /// `seeds`: not empty.
    pub(crate) fn new(name: &str, seeds: &'a [Vec<u8>]) -> Self {
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let extra = std::env::var("KINGLET_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0_u64);
        Self { state: hash(name.as_bytes()) ^ extra.wrapping_mul(0x9e37_79b9_7f4a_7c15), seeds }
    }

    /// The next input into `out`.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) {
        out.clear();
        if self.below(64) == 0 {
            self.noise(out);
        } else {
            let seeds = self.seeds;
            out.extend_from_slice(&seeds[self.below(seeds.len())]);
        }
        let rounds = 1 << self.below(5);
        for _ in 0..rounds {
            self.mutate(out);
        }
        let most = if self.below(256) == 0 { LEN_MAX } else { LEN_USUAL.max(self.longest()) };
        out.truncate(most);
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return self.noise(bytes);
        }
        let at = self.below(bytes.len());
        match self.below(12) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.random() as u8,
            2 => bytes[at] = bytes[at].wrapping_add(if self.below(2) == 0 { 1 } else { 255 }),
            3 => bytes.truncate(at),
            4 => {
                let end = at + self.below(bytes.len() - at).min(64);
                bytes.drain(at..end);
            }
            5 => {
                // Repeat a stretch, sometimes often.
                let end = at + self.below(bytes.len() - at).min(64);
                let stretch = bytes[at..end].to_vec();
                let times = if self.below(32) == 0 { 1000 } else { 1 + self.below(3) };
                let more = stretch.repeat(times);
                bytes.splice(at..at, more);
            }
            6 => {
                let value =
                    INTEGERS[self.below(INTEGERS.len())].wrapping_add(self.below(3) as u64).wrapping_sub(1);
                let width = 1 << self.below(4);
                let (le, be) = (value.to_le_bytes(), value.to_be_bytes());
                let of = if self.below(2) == 0 { &le[..width] } else { &be[8 - width..] };
                overwrite(bytes, at, of);
            }
            7 => {
                let word = WORDS[self.below(WORDS.len())].as_bytes();
                if self.below(2) == 0 {
                    overwrite(bytes, at, word);
                } else {
                    bytes.splice(at..at, word.iter().copied());
                }
            }
            8 | 9 => {
                // The head of one valid input and the tail of another.
                let seeds = self.seeds;
                let other = &seeds[self.below(seeds.len())];
                if !other.is_empty() {
                    let from = self.below(other.len());
                    if self.below(2) == 0 {
                        bytes.truncate(at);
                        bytes.extend_from_slice(&other[from..]);
                    } else {
                        let end = from + self.below(other.len() - from).min(256);
                        bytes.splice(at..at, other[from..end].iter().copied());
                    }
                }
            }
            10 => {
                let mut more = Vec::new();
                self.noise(&mut more);
                more.truncate(1 + self.below(16));
                bytes.extend(more);
            }
            _ => {
                let to = self.below(bytes.len());
                bytes.swap(at, to);
            }
        }
    }

    fn noise(&mut self, out: &mut Vec<u8>) {
        let len = self.below(80);
        out.extend((0..len).map(|_| self.random() as u8));
    }

    fn longest(&self) -> usize {
        self.seeds.iter().map(Vec::len).max().unwrap_or(0)
    }

    fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.random() % n as u64) as usize }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// FNV-1a, 64 bits.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    let len = with.len().min(bytes.len() - at);
    bytes[at..at + len].copy_from_slice(&with[..len]);
}

#[test]
fn the_same_door_sees_the_same_inputs() {
    let seeds = vec![vec![1, 2, 3], b"time,t\n1,2\n".to_vec()];
    let some = || {
        let mut mutator = Mutator::new("x", &seeds);
        let mut input = Vec::new();
        let mut all = Vec::new();
        for _ in 0..1000 {
            mutator.next(&mut input);
            all.push(input.clone());
        }
        all
    };
    let all = some();
    assert_eq!(all, some());
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert!(different.len() > 800, "{} of 1000 differ", different.len());
    assert!(all.iter().all(|i| i.len() <= LEN_MAX));
}
