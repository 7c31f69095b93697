//! How a record comes over a serial port: lines of text, each answered, so that nothing is lost where nobody listens.
//!
//! ```text
//! kinglet begin 4711
//! kinglet data 0 4b475031…        at most 64 bytes, in hexadecimal
//! kinglet end
//! ```
//!
//! Repeating a line does no harm. Whatever else comes over the port is passed over.

use core::fmt;

use super::slots::Slots;
use crate::flash::Flash;

/// Most bytes of the record in one line.
pub const DATA_LEN_MAX: usize = 64;
/// Longest line, in characters.
pub const LINE_LEN_MAX: usize = 24 + 2 * DATA_LEN_MAX;

/// One line from the host. Shown as it is sent, without its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A record of so many bytes follows.
    Begin(usize),
    /// Bytes of it, from this place on.
    Data(usize, &'a [u8]),
    /// That was all.
    End,
}

/// What the board answers. Shown as it is sent, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// So many bytes of the record are there.
    Have(usize),
    /// The record is stored.
    Stored,
    /// The line was not taken.
    Refused(Refusal),
}

/// Why a line was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is no line of this protocol.
    Line,
    /// No record was begun.
    NotBegun,
    /// Bytes before it are missing: so many are there.
    Gap(usize),
    /// The record is longer than flash has room for, or longer than was said.
    TooLong,
    /// The whole record's checksum is wrong.
    Checksum,
    /// Flash has failed.
    Flash,
}

/// The board's side: takes lines, puts the record into flash.
pub struct Receiver {
    slots: Slots,
}

impl Receiver {
    /// A receiver that writes to where `slots` are.
    pub fn new(slots: Slots) -> Self {
        Self { slots }
    }

    /// Takes one line, without its end; `None` if it is not meant for us.
    pub fn line(&mut self, flash: &mut dyn Flash, line: &[u8]) -> Option<Reply> {
        let rest = line.trim_ascii().strip_prefix(b"kinglet ")?;
        let mut data = [0; DATA_LEN_MAX];
        let taken = match parse(rest, &mut data) {
            None => Err(Refusal::Line),
            Some(Line::Begin(len)) => {
                self.slots.begin(flash, len).map(|()| Reply::Have(0)).map_err(|_| Refusal::TooLong)
            }
            Some(Line::Data(at, bytes)) => self.data(flash, at, bytes),
            Some(Line::End) => match self.slots.progress() {
                None => Err(Refusal::NotBegun),
                Some((have, len)) if have < len => Err(Refusal::Gap(have)),
                Some(_) => match self.slots.finish(flash) {
                    Ok(true) => Ok(Reply::Stored),
                    Ok(false) => Err(Refusal::Checksum),
                    Err(_) => Err(Refusal::Flash),
                },
            },
        };
        zeroize::Zeroize::zeroize(&mut data);
        Some(taken.unwrap_or_else(Reply::Refused))
    }

    fn data(&mut self, flash: &mut dyn Flash, at: usize, bytes: &[u8]) -> Result<Reply, Refusal> {
        let (have, len) = self.slots.progress().ok_or(Refusal::NotBegun)?;
        let end = at.checked_add(bytes.len()).filter(|&end| end <= len).ok_or(Refusal::TooLong)?;
        if end <= have {
            // Said again because our answer was lost.
            return Ok(Reply::Have(have));
        }
        if at != have {
            return Err(Refusal::Gap(have));
        }
        self.slots.push(flash, bytes).map_err(|_| Refusal::Flash)?;
        Ok(Reply::Have(end))
    }
}

impl Reply {
    /// Reads a line of the board's; `None` for all else it prints.
    pub fn parse(line: &str) -> Option<Self> {
        let rest = line.trim().strip_prefix("kinglet: ")?;
        if rest == "stored" {
            return Some(Self::Stored);
        }
        if let Some(n) = rest.strip_prefix("have ") {
            return n.parse().ok().map(Self::Have);
        }
        let why = rest.strip_prefix("refused: ")?;
        let gap = why.strip_prefix("gap after ").and_then(|n| n.parse().ok()).map(Refusal::Gap);
        let plain = [Refusal::Line, Refusal::NotBegun, Refusal::TooLong, Refusal::Checksum, Refusal::Flash];
        gap.or_else(|| plain.into_iter().find(|refusal| refusal.words() == why)).map(Self::Refused)
    }
}

impl Refusal {
    fn words(self) -> &'static str {
        match self {
            Self::Line => "not understood",
            Self::NotBegun => "nothing begun",
            Self::Gap(_) => "gap after",
            Self::TooLong => "too long",
            Self::Checksum => "checksum",
            Self::Flash => "flash failed",
        }
    }
}

fn parse<'a>(rest: &[u8], data: &'a mut [u8; DATA_LEN_MAX]) -> Option<Line<'a>> {
    let text = core::str::from_utf8(rest).ok()?;
    let mut words = text.split_ascii_whitespace();
    let line = match words.next()? {
        "begin" => Line::Begin(words.next()?.parse().ok()?),
        "end" => Line::End,
        "data" => {
            let at = words.next()?.parse().ok()?;
            let digits = words.next()?.as_bytes();
            if !digits.len().is_multiple_of(2) || digits.len() > 2 * DATA_LEN_MAX {
                return None;
            }
            let n = digits.len() / 2;
            for (byte, pair) in data.iter_mut().zip(digits.chunks_exact(2)) {
                let nibble = |digit: u8| char::from(digit).to_digit(16).map(|d| d as u8);
                *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
            }
            Line::Data(at, &data[..n])
        }
        _ => return None,
    };
    words.next().is_none().then_some(line)
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(len) => write!(f, "kinglet begin {len}"),
            Self::Data(at, bytes) => {
                write!(f, "kinglet data {at} ")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::End => f.write_str("kinglet end"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Have(n) => write!(f, "kinglet: have {n}"),
            Self::Stored => f.write_str("kinglet: stored"),
            Self::Refused(Refusal::Gap(n)) => write!(f, "kinglet: refused: gap after {n}"),
            Self::Refused(why) => write!(f, "kinglet: refused: {}", why.words()),
        }
    }
}
