//! What stands in the log's records. All numbers are little-endian.
//!
//! ```text
//! window  id u32 │ stamp 13 │ samples u16 │ code …
//! after   id u32 │ stamp 13 │ samples u16 │ generation u32, counter u48, length u16 │ code that refers, code alone
//! seal    flags u8 │ id u32 │ sectors back u16, offset u24: the window │ generation u32 │ counter u48
//!         │ stamp 13, if flag 1 │ origin generation u32, counter u48, if flag 2 │ padding u8, if flag 3
//!         flags: first after boot (bit 0) │ stamp (1) │ origin (2) │ padding (3)
//! mark    low u32 │ released u64 │ lost u32
//! state   boot u32 │ generation u32 │ short id u32 │ counter mark u64 │ dated u8, boot u32, offset i64 │ secret 32
//! header  slot u8 │ fingerprint 16 │ next id u32 │ mark │ state
//! stamp   kind u8 (0 uptime, 1 unix held, 2 unix synced) │ boot u32 │ ms i64
//! ```

mod mark;

use kinglet_wire::Fingerprint;
use kinglet_wire::frame::{ShortId, Slot};
use kinglet_wire::keys::{GenerationSecret, SECRET_LEN};

use crate::clock::{Boot, Stamp};
use crate::log::{Place, SNAPSHOT_LEN_MAX};
pub(crate) use mark::Mark;

pub(crate) const KIND_WINDOW: u8 = 2;
pub(crate) const KIND_SEAL: u8 = 3;
pub(crate) const KIND_MARK: u8 = 4;
pub(crate) const KIND_STATE: u8 = 5;
/// A window with two codes: one that refers to an earlier window, and one that stands alone.
pub(crate) const KIND_AFTER: u8 = 6;

/// Bytes of a window record before its code.
pub(crate) const WINDOW_HEAD_LEN: usize = 4 + STAMP_LEN + 2;
/// Bytes between that and the codes of a window that has two.
pub(crate) const AFTER_HEAD_LEN: usize = 4 + 6 + 2;
pub(crate) const SEAL_LEN_MAX: usize = SEAL_LEN_MIN + STAMP_LEN + 10 + 1;
/// Bytes of most seals: few, because each window needs one, and a full outbox shall empty without losses.
const SEAL_LEN_MIN: usize = 1 + 4 + 5 + 4 + 6;
pub(crate) const MARK_LEN: usize = 16;
pub(crate) const STATE_LEN: usize = 4 + 4 + 4 + 8 + 13 + SECRET_LEN;
pub(crate) const HEADER_LEN: usize = 1 + 16 + 4 + MARK_LEN + STATE_LEN;
const STAMP_LEN: usize = 13;

const _: () = assert!(HEADER_LEN <= SNAPSHOT_LEN_MAX);

/// A window as it waits: everything but its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowHead {
    pub(crate) id: u32,
    pub(crate) stamp: Stamp,
    pub(crate) n_samples: u16,
    /// Of a window with two codes, when the one that refers is sent.
    pub(crate) after: Option<After>,
}

/// The one number under which a code that refers may be sealed: how far it refers is counted from there, and only under
/// that generation is the window it refers to known to be on the server. Under any other the code alone is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct After {
    pub(crate) generation: u32,
    pub(crate) counter: u64,
    /// Bytes of the code that refers; the other one stands behind it.
    pub(crate) code_len: u16,
}

/// True for the records of windows.
pub(crate) fn is_window(kind: u8) -> bool {
    matches!(kind, KIND_WINDOW | KIND_AFTER)
}

/// How a window was sealed: with its record and its sector's bundle, all a repeat needs to be byte-identical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) id: u32,
    pub(crate) window: Place,
    pub(crate) generation: u32,
    pub(crate) counter: u64,
    /// If it differs from the window's own.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) padding_class: u8,
    pub(crate) first_after_boot: bool,
    /// First (generation, counter), if this is not the first seal.
    pub(crate) origin: Option<(u32, u64)>,
}

/// What must never be half known: key, generation and counters together.
pub(crate) struct State {
    pub(crate) boot: Boot,
    /// 0: never joined.
    pub(crate) generation: u32,
    pub(crate) short_id: ShortId,
    /// No counter from here on was ever used under `generation`.
    pub(crate) counter_mark: u64,
    /// The last boot whose clock was set, and its unix time at uptime 0.
    pub(crate) dated: Option<(Boot, i64)>,
    pub(crate) secret: GenerationSecret,
}

/// What a sector's header carries: the bundle of all its windows, and what must outlive the sector before it.
pub(crate) struct Header {
    pub(crate) slot: Slot,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) next_id: u32,
    pub(crate) mark: Mark,
    pub(crate) state: State,
}

impl WindowHead {
    pub(crate) fn emit(&self, out: &mut [u8]) -> usize {
        let mut w = Writer(out, 0);
        w.u32(self.id);
        w.stamp(self.stamp);
        w.put(&self.n_samples.to_le_bytes());
        if let Some(After { generation, counter, code_len }) = self.after {
            w.u32(generation);
            w.u48(counter);
            w.put(&code_len.to_le_bytes());
        }
        w.1
    }

    /// Bytes before the code, or codes.
    pub(crate) fn len(&self) -> usize {
        WINDOW_HEAD_LEN + if self.after.is_some() { AFTER_HEAD_LEN } else { 0 }
    }

    pub(crate) fn kind(&self) -> u8 {
        if self.after.is_some() { KIND_AFTER } else { KIND_WINDOW }
    }

    pub(crate) fn parse(kind: u8, bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        let (id, stamp) = (r.u32()?, r.stamp()?);
        let n_samples = u16::from_le_bytes(r.array()?);
        let after = if kind == KIND_AFTER {
            let (generation, counter) = (r.u32()?, r.u48()?);
            Some(After { generation, counter, code_len: u16::from_le_bytes(r.array()?) })
        } else {
            None
        };
        Some(Self { id, stamp, n_samples, after })
    }
}

const FIRST_AFTER_BOOT: u8 = 1 << 0;
const STAMPED: u8 = 1 << 1;
const ORIGIN: u8 = 1 << 2;
const PADDED: u8 = 1 << 3;

impl Seal {
    /// Bytes of the code that refers, if the frame under this seal carries it.
    pub(crate) fn refers(&self, head: &WindowHead) -> Option<usize> {
        let after = head.after.filter(|_| self.origin.is_none())?;
        let is_under = (after.generation, after.counter) == (self.generation, self.counter);
        is_under.then_some(after.code_len.into())
    }

    /// Writes it for a record in sector `seq`.
    pub(crate) fn emit(&self, seq: u32, out: &mut [u8]) -> usize {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let mut w = Writer(out, 0);
        w.put(&[flag(self.first_after_boot, FIRST_AFTER_BOOT)
            | flag(self.stamp.is_some(), STAMPED)
            | flag(self.origin.is_some(), ORIGIN)
            | flag(self.padding_class > 0, PADDED)]);
        w.u32(self.id);
        // The log sees to it that both fit.
        w.put(&seq.wrapping_sub(self.window.seq).to_le_bytes()[..2]);
        w.put(&self.window.offset.to_le_bytes()[..3]);
        w.u32(self.generation);
        w.u48(self.counter);
        if let Some(stamp) = self.stamp {
            w.stamp(stamp);
        }
        if let Some((generation, counter)) = self.origin {
            w.u32(generation);
            w.u48(counter);
        }
        if self.padding_class > 0 {
            w.put(&[self.padding_class]);
        }
        w.1
    }

    /// Reads a record in sector `seq`.
    pub(crate) fn parse(seq: u32, bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        let flags = r.u8()?;
        let id = r.u32()?;
        let back = u16::from_le_bytes(r.array()?);
        let [o0, o1, o2] = r.array()?;
        let window =
            Place { seq: seq.checked_sub(back.into())?, offset: u32::from_le_bytes([o0, o1, o2, 0]) };
        let (generation, counter) = (r.u32()?, r.u48()?);
        let stamp = if flags & STAMPED != 0 { Some(r.stamp()?) } else { None };
        let origin = if flags & ORIGIN != 0 { Some((r.u32()?, r.u48()?)) } else { None };
        let padding_class = if flags & PADDED != 0 { r.u8()? } else { 0 };
        let first_after_boot = flags & FIRST_AFTER_BOOT != 0;
        Some(Self { id, window, generation, counter, stamp, padding_class, first_after_boot, origin })
    }
}

impl State {
    /// A device that never joined and is about to boot for the first time.
    pub(crate) fn new() -> Self {
        Self {
            boot: 0,
            generation: 0,
            short_id: ShortId(0),
            counter_mark: 0,
            dated: None,
            secret: GenerationSecret::from_bytes([0; SECRET_LEN]),
        }
    }

    pub(crate) fn emit(&self, out: &mut [u8]) -> usize {
        let mut w = Writer(out, 0);
        w.u32(self.boot);
        w.u32(self.generation);
        w.u32(self.short_id.0);
        w.u64(self.counter_mark);
        let (boot, offset) = self.dated.unwrap_or_default();
        w.put(&[self.dated.is_some().into()]);
        w.u32(boot);
        w.put(&offset.to_le_bytes());
        w.put(self.secret.expose_secret());
        w.1
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        Some(Self {
            boot: r.u32()?,
            generation: r.u32()?,
            short_id: ShortId(r.u32()?),
            counter_mark: r.u64()?,
            dated: {
                let is_dated = r.u8()? != 0;
                let dated = (r.u32()?, i64::from_le_bytes(r.array()?));
                is_dated.then_some(dated)
            },
            secret: GenerationSecret::from_bytes(r.array()?),
        })
    }
}

impl Header {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        Some(Self {
            slot: Slot::new(r.u8()?)?,
            fingerprint: r.array()?,
            next_id: r.u32()?,
            mark: Mark::parse(r.take(MARK_LEN)?)?,
            state: State::parse(r.take(STATE_LEN)?)?,
        })
    }

    /// Writes a header from parts that live elsewhere.
    pub(crate) fn emit(
        slot: Slot,
        fingerprint: &Fingerprint,
        next_id: u32,
        mark: &Mark,
        state: &State,
    ) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let mut w = Writer(&mut out, 0);
        w.put(&[slot.get()]);
        w.put(fingerprint);
        w.u32(next_id);
        let at = w.1;
        let at = at + mark.emit(&mut out[at..]);
        state.emit(&mut out[at..]);
        out
    }
}

/// Writes to a buffer that its caller sized with the lengths above.
struct Writer<'a>(&'a mut [u8], usize);

impl Writer<'_> {
    fn put(&mut self, field: &[u8]) {
        self.0[self.1..self.1 + field.len()].copy_from_slice(field);
        self.1 += field.len();
    }
    fn u32(&mut self, field: u32) {
        self.put(&field.to_le_bytes());
    }
    fn u64(&mut self, field: u64) {
        self.put(&field.to_le_bytes());
    }
    fn u48(&mut self, field: u64) {
        self.put(&field.to_le_bytes()[..6]);
    }
    fn stamp(&mut self, stamp: Stamp) {
        let (kind, boot, ms) = match stamp {
            Stamp::Uptime { boot, ms } => (0, boot, ms as i64),
            Stamp::Unix { t_ms, synced } => (1 + u8::from(synced), 0, t_ms),
        };
        self.put(&[kind]);
        self.u32(boot);
        self.put(&ms.to_le_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(field)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }
    fn u48(&mut self) -> Option<u64> {
        let [a, b, c, d, e, f] = self.array()?;
        Some(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }
    fn stamp(&mut self) -> Option<Stamp> {
        let (kind, boot, ms) = (self.u8()?, self.u32()?, i64::from_le_bytes(self.array()?));
        match kind {
            0 => Some(Stamp::Uptime { boot, ms: ms as u64 }),
            1 | 2 => Some(Stamp::Unix { t_ms: ms, synced: kind == 2 }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_every_prefix_is_refused() {
        let stamp = Stamp::Uptime { boot: 7, ms: 123_456 };
        let mut buf = [0; SEAL_LEN_MAX];
        let after = After { generation: 3, counter: 1 << 40, code_len: 700 };
        for (after, len_expected) in
            [(None, WINDOW_HEAD_LEN), (Some(after), WINDOW_HEAD_LEN + AFTER_HEAD_LEN)]
        {
            let head = WindowHead { id: 9, stamp, n_samples: 32, after };
            let len = head.emit(&mut buf);
            assert_eq!((len, WindowHead::parse(head.kind(), &buf[..len])), (len_expected, Some(head)));
            assert!(
                len == head.len() && (0..len).all(|n| WindowHead::parse(head.kind(), &buf[..n]).is_none())
            );
        }

        let window = Place { seq: 3, offset: 70_000 };
        let (generation, counter) = (2, 1 << 40);
        let stamps = [None, Some(Stamp::Unix { t_ms: -5, synced: true })];
        for (stamp, origin, padding_class, len_expected) in
            [(stamps[0], None, 0, SEAL_LEN_MIN), (stamps[1], Some((1, 77)), 16, SEAL_LEN_MAX)]
        {
            let first_after_boot = padding_class > 0;
            let seal =
                Seal { id: 9, window, generation, counter, stamp, padding_class, first_after_boot, origin };
            let len = seal.emit(300, &mut buf);
            assert_eq!((len, Seal::parse(300, &buf[..len])), (len_expected, Some(seal)));
            assert!((0..len).all(|n| Seal::parse(300, &buf[..n]).is_none()));
        }

        let state = State { boot: 4, generation: 2, dated: Some((3, -9)), ..State::new() };
        let slot = Slot::new(5).unwrap();
        let out = Header::emit(slot, &[8; 16], 11, &Mark { low: 1, released: 6, lost: 2 }, &state);
        let header = Header::parse(&out).unwrap();
        assert_eq!((header.slot, header.fingerprint, header.next_id), (slot, [8; 16], 11));
        assert_eq!((header.state.boot, header.state.generation, header.state.dated), (4, 2, Some((3, -9))));
        assert_eq!(header.mark, Mark { low: 1, released: 6, lost: 2 });
        assert!((0..HEADER_LEN).all(|n| Header::parse(&out[..n]).is_none()));
    }
}
