//! A frame in a LoRaWAN payload: without what the network says already.
//!
//! The DevEUI names the device, so the short id stays away; and the counter is cut to its low two bytes where these
//! say everything. Nothing is lost: the receiver puts both back and opens the frame that was sealed, of suite 1.
//! The port says which form it is.
//!
//! ```text
//! port 21, short   b0 b1 │ counter 2      │ sealed content … │ tag 8     uplinks
//! port 22, long    b0 b1 │ counter 4 or 6 │ sealed content … │ tag 8     uplinks
//! port 21          b0 b1 │ run 12 │ counter 4 │ sealed content … │ tag 8 downlinks
//! port 21          joins, as everywhere
//! ```

use crate::counter::{Counter, ShortCounter};
use crate::cursor::{Reader, Writer};
use crate::frame::{Frame, Kind, ShortId, Suite, kind_on};
use crate::keys::Direction;
use crate::{BufferTooSmall, DOWN_HEADER_LEN, ParseError, UP_HEADER_LEN, UP_HEADER_WIDE_LEN};

/// Port of uplinks with a short counter, of joins and of downlinks.
pub const PORT: u8 = 21;
/// Port of uplinks with a longer counter.
pub const PORT_LONG: u8 = 22;
/// Most bytes of a LoRaWAN payload, at the fastest data rates (RP002-1.0.4, section 2).
pub const PAYLOAD_LEN_MAX: usize = 242;
/// How frames in LoRaWAN payloads are sealed.
pub const SUITE: Suite = Suite::AesCcm8;
/// Bytes a payload with a short counter adds to its content.
pub const OVERHEAD: usize = 2 + 2 + SUITE.tag_len();
/// Bytes one with a long counter adds, below 2^31: what is to fit whenever it is repeated.
pub const OVERHEAD_LONG: usize = 2 + 4 + SUITE.tag_len();
/// The short id in frames under generation 0: no join has told the device its own.
pub const STATIC_SHORT_ID: ShortId = ShortId(0);

const SHORT_ID: core::ops::Range<usize> = 2..6;
const LOW_16: core::ops::Range<usize> = 8..10;

/// Packs a device's uplinks: with the short counter, unless the server may have lost its bearings. That is until it was
/// first heard after a boot, when a frame is repeated, and once in 256 frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packer {
    /// The highest counter packed so far, plus 1; 0 after a boot.
    next: u64,
    is_heard: bool,
}

impl Packer {
    /// Nothing was packed in this boot.
    pub const fn new() -> Self {
        Self { next: 0, is_heard: false }
    }

    /// To be told when a downlink has opened: the server knows where the counter stands.
    pub fn heard(&mut self) {
        self.is_heard = true;
    }

    /// Writes the payload of a sealed uplink of suite 1, or of a join request, to the front of `out`; gives its
    /// length and its port.
    pub fn pack(&mut self, frame: &[u8], out: &mut [u8]) -> Result<(usize, u8), ParseError> {
        if kind_on(frame, Suite::AesCcm16) == Ok(Kind::JoinRequest) {
            return Ok((put(out, &[frame])?, PORT));
        }
        let view = Frame::checked_on(frame, SUITE)?;
        if view.kind().direction() == Direction::Down {
            return Err(ParseError::Kind(view.kind() as u8));
        }
        let counter = match view.counter() {
            ShortCounter::Low(low) => u64::from(low),
            ShortCounter::Full(full) => full.get(),
        };
        let is_long = !self.is_heard || counter < self.next || counter.is_multiple_of(256);
        self.next = self.next.max(counter.saturating_add(1));
        if is_long || view.header_len() == UP_HEADER_WIDE_LEN {
            Ok((put(out, &[&frame[..2], &frame[SHORT_ID.end..]])?, PORT_LONG))
        } else {
            Ok((put(out, &[&frame[..2], &frame[LOW_16.start..]])?, PORT))
        }
    }
}

/// A view on the payload of an uplink that is no join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uplink<'a> {
    b0: u8,
    b1: u8,
    counter: Cut,
    /// Sealed content and tag.
    rest: &'a [u8],
}

/// A counter as the payload has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Low16(u16),
    AsInFrame(ShortCounter),
}

impl<'a> Uplink<'a> {
    /// Checks everything that can be checked without a key. A join gives [`ParseError::Kind`], see
    /// [`crate::frame::kind_of`]; so does another port than the two.
    pub fn parse(port: u8, payload: &'a [u8]) -> Result<Self, ParseError> {
        if payload.len() > PAYLOAD_LEN_MAX {
            return Err(ParseError::TooLong);
        }
        let kind = kind_on(payload, SUITE)?;
        if !matches!(kind, Kind::Data | Kind::Status) || !matches!(port, PORT | PORT_LONG) {
            return Err(ParseError::Kind(kind as u8));
        }
        let mut r = Reader::new(payload);
        let (b0, b1) = (r.u8()?, r.u8()?);
        let is_wide = b0 & 1 == 1;
        let counter = match (port, is_wide) {
            (PORT_LONG, false) => Cut::AsInFrame(ShortCounter::Low(r.u32()?)),
            (PORT_LONG, true) => Cut::AsInFrame(ShortCounter::Full(Counter::from_bits(r.u48()?))),
            (_, false) => Cut::Low16(r.u16()?),
            (_, true) => return Err(ParseError::Malformed(crate::Field::Wide)),
        };
        let uplink = Self { b0, b1, counter, rest: r.rest() };
        // What else the frame's own check asks for: reserved bits, room for the tag.
        let mut frame = [0; UP_HEADER_WIDE_LEN + PAYLOAD_LEN_MAX];
        let len = uplink.expand(ShortId(0), None, &mut frame)?;
        Frame::checked_on(&frame[..len], SUITE)?;
        Ok(uplink)
    }

    /// Low 4 bits of the generation.
    pub fn generation_low(&self) -> u8 {
        self.b1 >> 4
    }

    /// Writes the frame as it was sealed to the front of `out`; gives its length, at most
    /// [`UP_HEADER_WIDE_LEN`] more than the payload's.
    ///
    /// `short_id` is the device's, [`STATIC_SHORT_ID`] under generation 0. `highest`: the highest counter opened
    /// under the generation so far. A wrong guess does no harm: the counter is sealed, so the frame does not open.
    pub fn expand(
        &self,
        short_id: ShortId,
        highest: Option<Counter>,
        out: &mut [u8],
    ) -> Result<usize, ParseError> {
        let head = [self.b0, self.b1];
        let short_id = short_id.0.to_be_bytes();
        let low = |n: u32| n.to_be_bytes();
        match self.counter {
            Cut::Low16(n) => put(out, &[&head, &short_id, &low(nearest(n, highest).low()), self.rest]),
            Cut::AsInFrame(ShortCounter::Low(n)) => put(out, &[&head, &short_id, &low(n), self.rest]),
            Cut::AsInFrame(ShortCounter::Full(n)) => {
                put(out, &[&head, &short_id, &n.get().to_be_bytes()[2..], self.rest])
            }
        }
    }
}

/// Writes the payload of a sealed downlink of suite 1, or of a join accept, to the front of `out`; gives its length.
pub fn pack_downlink(frame: &[u8], out: &mut [u8]) -> Result<usize, ParseError> {
    if kind_on(frame, Suite::AesCcm16) == Ok(Kind::JoinAccept) {
        return put(out, &[frame]);
    }
    let view = Frame::checked_on(frame, SUITE)?;
    match view.kind().direction() {
        Direction::Up => Err(ParseError::Kind(view.kind() as u8)),
        Direction::Down => put(out, &[&frame[..2], &frame[SHORT_ID.end..]]),
    }
}

/// Writes the frame of a downlink's payload to the front of `out`, of at least 4 bytes more; gives its length.
/// `short_id` is the device's own.
pub fn expand_downlink(payload: &[u8], short_id: ShortId, out: &mut [u8]) -> Result<usize, ParseError> {
    if kind_on(payload, Suite::AesCcm16) == Ok(Kind::JoinAccept) {
        return put(out, &[payload]);
    }
    let kind = kind_on(payload, SUITE)?;
    if kind.direction() == Direction::Up {
        return Err(ParseError::Kind(kind as u8));
    }
    let (head, rest) =
        payload.split_at_checked(2).ok_or(ParseError::NeedMore { at_least: DOWN_HEADER_LEN })?;
    let len = put(out, &[head, &short_id.0.to_be_bytes(), rest])?;
    Frame::checked_on(&out[..len], SUITE)?;
    Ok(len)
}

/// Of all counters with these low 16 bits the nearest to `highest`; of two equally near ones, the lower.
fn nearest(low: u16, highest: Option<Counter>) -> Counter {
    const LAP: u64 = 1 << 16;
    let highest = highest.unwrap_or_default().get();
    let same = (highest & !(LAP - 1)) | u64::from(low);
    let candidates = [same.checked_sub(LAP), Some(same), Some(same + LAP)];
    let candidates = candidates.into_iter().flatten().filter_map(Counter::new);
    candidates.min_by_key(|c| c.get().abs_diff(highest)).unwrap_or_default()
}

fn put(out: &mut [u8], parts: &[&[u8]]) -> Result<usize, ParseError> {
    let need = parts.iter().map(|part| part.len()).sum();
    let mut w =
        Writer::new(out, need).map_err(|BufferTooSmall { need }| ParseError::NeedMore { at_least: need })?;
    parts.iter().for_each(|part| w.put(part));
    Ok(w.end())
}

const _: () = assert!(OVERHEAD == 12);
const _: () = assert!(LOW_16.end == UP_HEADER_LEN);
