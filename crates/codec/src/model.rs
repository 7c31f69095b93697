//! A model: a checked view on the bytes a device keeps (`spec/bundle.md`).

use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::counts::Counts;
use crate::first::{First, Lattice};
use crate::fixed::Fixed;
use crate::freq::{Table, fixed};
use crate::grid::BOUND_STEPS_MAX;
use crate::latent::Latent;
use crate::predict::{BUDGET_VALUES_MAX, Predict};
use crate::reference::ReferenceTables;
use crate::search::CANDIDATES_MAX;
use crate::{CHANNELS_MAX, Grid, SAMPLES_MAX, VALUES_MAX};

pub(crate) const MAGIC: [u8; 4] = *b"KNGL";
pub(crate) const VERSION: u8 = 1;
pub(crate) const SECTION_CHANNELS: u8 = 1;
pub(crate) const SECTION_HEAD: u8 = 2;
pub(crate) const SECTION_LATTICE: u8 = 3;
pub(crate) const SECTION_CONTEXT: u8 = 4;
pub(crate) const SECTION_LATENT: u8 = 5;
pub(crate) const SECTION_PREDICT: u8 = 6;
pub(crate) const SECTION_FIXED: u8 = 7;
pub(crate) const SECTION_GATED: u8 = 8;
pub(crate) const SECTION_COUNTS: u8 = 9;
pub(crate) const SECTION_EXPECTED: u8 = 10;
pub(crate) const SECTION_REFERENCE: u8 = 11;
pub(crate) const SECTION_BUDGETED: u8 = 12;
/// Symbols of the head table: hold, context, predict, latent, raw, special.
pub(crate) const HEAD_SYMBOLS: usize = 6;
/// Longest channel name in bytes.
pub(crate) const NAME_LEN_MAX: usize = 32;
/// Longest unit in bytes.
pub(crate) const UNIT_LEN_MAX: usize = 16;
/// Widest trained raw value in bits.
pub(crate) const RAW_BITS_MAX: u8 = 28;

/// One channel of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel<'a> {
    /// The channel's name, UTF-8, at most 32 bytes.
    pub name: &'a str,
    /// Its unit, UTF-8, at most 16 bytes; may be empty.
    pub unit: &'a str,
    /// Its grid.
    pub grid: Grid,
    /// Step of the lowest value the raw rung can say without naming its own range.
    pub raw_base: i32,
    /// Bits of a value on the raw rung.
    pub raw_bits: u8,
}

/// Why bytes are not a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelError {
    /// Not a Kinglet model at all.
    Magic,
    /// A format version this code does not know.
    Version(u8),
    /// The bytes end early or contradict themselves in the named section.
    Malformed(&'static str),
}

impl core::fmt::Display for ModelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str("not a Kinglet model"),
            Self::Version(v) => write!(f, "model format {v}, this program knows format {VERSION}"),
            Self::Malformed(part) => write!(f, "its {part} section is malformed"),
        }
    }
}

impl core::error::Error for ModelError {}

/// A model: a checked view on the bytes a device keeps. Copying it copies a few words.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    bytes: &'a [u8],
    n_channels: usize,
    n_samples: usize,
    period_ms: u32,
    max_delay_ms: u32,
    channels: &'a [u8],
    pub(crate) head: Table<'a>,
    lattice: &'a [u8],
    firsts: &'a [u8],
    pub(crate) context: Option<Context<'a>>,
    pub(crate) latent: Option<Latent<'a>>,
    pub(crate) predict: Option<Predict<'a>>,
    pub(crate) fixed: Option<Fixed<'a>>,
    pub(crate) counts: Option<Counts<'a>>,
    /// The head symbol that comes first, then of each channel the bin of its first value that does: what the empty code
    /// says. Empty for the order of old.
    expected: &'a [u8],
    pub(crate) reference: Option<ReferenceTables<'a>>,
}

impl<'a> Model<'a> {
    /// Checks every byte of `bytes`; decoding with the result cannot panic whatever the code says.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let mut reader = Reader(bytes);
        if reader.bytes(4) != Some(&MAGIC) {
            return Err(ModelError::Magic);
        }
        let version = reader.u8().ok_or(ModelError::Magic)?;
        if version != VERSION {
            return Err(ModelError::Version(version));
        }
        // A model cut short at the end of a section would otherwise be a smaller model.
        if reader.u32().and_then(|len| usize::try_from(len).ok()) != Some(bytes.len()) {
            return Err(ModelError::Malformed("length"));
        }
        let mut this = Self::parse_header(bytes, &mut reader).ok_or(ModelError::Malformed("header"))?;
        let mut last = 0;
        while let Some(&tag) = reader.0.first() {
            // Each section once, in order of their numbers; what they lean on comes before them.
            let in_order = last < tag && (last >= SECTION_LATTICE || tag == last + 1);
            last = tag;
            let section = reader.section().filter(|_| in_order);
            let is_taken = section.and_then(|section| this.take(tag, section));
            is_taken.ok_or(ModelError::Malformed(name_of(tag)))?;
        }
        if last < SECTION_LATTICE {
            return Err(ModelError::Malformed(name_of(last + 1)));
        }
        // Last, because counts decide what the lattice lies on.
        this.check_lattice().ok_or(ModelError::Malformed(name_of(SECTION_LATTICE)))?;
        Ok(this)
    }

    /// Reads what stands before the sections.
    fn parse_header(bytes: &'a [u8], reader: &mut Reader<'a>) -> Option<Self> {
        let n_channels = usize::from(reader.u8()?);
        let n_samples = usize::from(reader.u16()?);
        let (period_ms, max_delay_ms) = (reader.u32()?, reader.u32()?);
        let ok = (1..=CHANNELS_MAX).contains(&n_channels)
            && (1..=SAMPLES_MAX).contains(&n_samples)
            && n_samples * n_channels <= VALUES_MAX
            && period_ms > 0;
        ok.then_some(Self {
            bytes,
            n_channels,
            n_samples,
            period_ms,
            max_delay_ms,
            channels: &[],
            head: fixed(1, &[]),
            lattice: &[],
            firsts: &[],
            context: None,
            latent: None,
            predict: None,
            fixed: None,
            counts: None,
            expected: &[],
            reference: None,
        })
    }

    /// Takes one section in, if it is sound and fits what is there.
    fn take(&mut self, tag: u8, section: &'a [u8]) -> Option<()> {
        let n_channels = self.n_channels;
        // One kind of networks is enough, and they lean on the context rung's tables.
        let has_room = self.context.is_some() && !self.has_predict();
        let is_bounded = self.fixed.is_none();
        match tag {
            SECTION_CHANNELS => {
                self.channels = section;
                self.check_channels()?;
            }
            SECTION_HEAD => {
                let mut reader = Reader(section);
                self.head = Table::parse(&mut reader, HEAD_SYMBOLS).filter(|_| reader.0.is_empty())?;
            }
            SECTION_LATTICE => {
                (self.lattice, self.firsts) = section.split_at_checked(n_channels * Lattice::LEN)?;
            }
            SECTION_CONTEXT => self.context = Some(Context::parse(section, n_channels)?),
            SECTION_LATENT => self.latent = Some(Latent::parse(section, self)?),
            SECTION_PREDICT if has_room => self.predict = Some(Predict::parse_mixed(section, n_channels)?),
            SECTION_FIXED => self.fixed = Some(Fixed::parse(section, self)?),
            SECTION_GATED if has_room => self.predict = Some(Predict::parse_gated(section, n_channels)?),
            // What has no bound has nothing to keep exact.
            SECTION_COUNTS if is_bounded => {
                self.counts = Some(Counts::parse(section, n_channels, |idx| self.bound_steps(idx))?);
            }
            SECTION_EXPECTED if is_bounded && cfg!(feature = "expected") => {
                self.expected = section;
                self.check_expected()?;
            }
            SECTION_REFERENCE if is_bounded && self.context.is_some() => {
                // What follows on an earlier window leans on the context rung's tables, and its values on a bound.
                let follows = !matches!(&self.predict, Some(predict) if !predict.follows_path());
                self.reference = Some(ReferenceTables::parse(section).filter(|_| follows)?);
            }
            SECTION_BUDGETED if has_room => {
                // A length that is looked for, or given, tells nothing.
                let tells = is_bounded && self.expected.is_empty() && self.values() <= BUDGET_VALUES_MAX;
                self.predict = Some(Predict::parse_budgeted(section, n_channels).filter(|_| tells)?);
            }
            _ => return None,
        }
        Some(())
    }

    fn check_channels(&self) -> Option<()> {
        let mut names = Reader(self.channels.get(self.n_channels * CHANNEL_LEN..)?);
        for idx in 0..self.n_channels {
            let (name, unit) = (names.text(NAME_LEN_MAX)?, names.text(UNIT_LEN_MAX)?);
            let channel = self.channel_named(idx, name, unit);
            let Grid { scale, origin, quantum, bound_steps, rounds: _ } = channel.grid;
            let limit = 1i64 << 34; // leaves room for `step × quantum` in i64
            let ok = scale <= crate::decimal::SCALE_MAX
                && (1..=limit).contains(&quantum)
                && origin.unsigned_abs() <= 1 << 62
                && bound_steps <= BOUND_STEPS_MAX
                && channel.raw_bits <= RAW_BITS_MAX
                && channel.raw_base.unsigned_abs() <= crate::STEP_MAX.unsigned_abs();
            if !ok {
                return None;
            }
        }
        names.0.is_empty().then_some(())
    }

    fn check_lattice(&self) -> Option<()> {
        let mut reader = Reader(self.firsts);
        for idx in 0..self.n_channels {
            let lattice = self.lattice(idx);
            let span = 2 * self.bound_steps(idx).unsigned_abs() + 1;
            let ok = (1..=span).contains(&lattice.step)
                && span / lattice.step < CANDIDATES_MAX
                && lattice.phase.unsigned_abs() < lattice.step;
            if !ok {
                return None;
            }
            First::parse(&mut reader, idx)?;
        }
        reader.0.is_empty().then_some(())
    }

    fn check_expected(&self) -> Option<()> {
        let (&head, bins) = self.expected.split_first()?;
        let mut reader = Reader(self.firsts);
        let within = |(idx, &bin): (usize, &u8)| {
            First::parse(&mut reader, idx).is_some_and(|first| usize::from(bin) < first.bins())
        };
        let ok = usize::from(head) < HEAD_SYMBOLS
            && bins.len() == self.n_channels
            && bins.iter().enumerate().all(within);
        ok.then_some(())
    }

    /// True if the encoder looks for the fewest whole bytes, and the empty code says the window that is expected.
    pub(crate) fn is_shortest(&self) -> bool {
        cfg!(feature = "expected") && !self.expected.is_empty()
    }

    /// The head symbol of a rung, or of "special", by its place in the order of rungs.
    pub(crate) fn head_symbol(&self, place: usize) -> usize {
        let first = usize::from(self.expected.first().copied().unwrap_or(0));
        (place + HEAD_SYMBOLS - first) % HEAD_SYMBOLS
    }

    /// The inverse of [`Model::head_symbol`].
    pub(crate) fn head_place(&self, sym: usize) -> usize {
        let first = usize::from(self.expected.first().copied().unwrap_or(0));
        (sym + first) % HEAD_SYMBOLS
    }

    /// True if networks say how likely values are.
    pub fn has_predict(&self) -> bool {
        self.predict.is_some()
    }

    /// True if windows may be coded after an earlier one ([`crate::encode_after`]).
    pub fn has_references(&self) -> bool {
        self.reference.is_some()
    }

    /// The bytes this model was parsed from.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// SHA-256 of [`Model::bytes`].
    pub fn identity(&self) -> [u8; 32] {
        Sha256::digest(self.bytes).into()
    }

    /// The first 16 bytes of [`Model::identity`]: what frames are bound to.
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&self.identity()[..16]);
        fingerprint
    }

    /// Channels per sample, `1..=CHANNELS_MAX`.
    pub fn channels(&self) -> usize {
        self.n_channels
    }

    /// Channel `idx < self.channels()`.
    pub fn channel(&self, idx: usize) -> Channel<'a> {
        let mut names = Reader(&self.channels[self.n_channels * CHANNEL_LEN..]);
        for _ in 0..idx {
            let _ = (names.text(NAME_LEN_MAX), names.text(UNIT_LEN_MAX));
        }
        let (name, unit) = (names.text(NAME_LEN_MAX).unwrap_or(""), names.text(UNIT_LEN_MAX).unwrap_or(""));
        self.channel_named(idx, name, unit)
    }

    fn channel_named<'n>(&self, idx: usize, name: &'n str, unit: &'n str) -> Channel<'n> {
        let mut reader = Reader(&self.channels[idx * CHANNEL_LEN..]);
        read_channel(&mut reader, name, unit).unwrap_or(NO_CHANNEL)
    }

    /// Base and bits of channel `idx` on the raw rung, without its name.
    pub(crate) fn raw_range(&self, idx: usize) -> (i32, u8) {
        let mut reader = Reader(&self.channels[idx * CHANNEL_LEN + CHANNEL_RAW_AT..]);
        (reader.i32().unwrap_or(0), reader.u8().unwrap_or(0))
    }

    /// Numbers of the sections it has (`spec/bundle.md`), in order.
    #[cfg(feature = "bundle")]
    pub fn sections(&self) -> impl Iterator<Item = u8> + use<'a> {
        let mut reader = Reader(self.bytes.get(HEADER_LEN..).unwrap_or(&[]));
        core::iter::from_fn(move || {
            let tag = *reader.0.first()?;
            reader.section().map(|_| tag)
        })
    }

    /// Samples in a full window, `1..=SAMPLES_MAX`.
    pub fn samples(&self) -> usize {
        self.n_samples
    }

    /// Values in a full window.
    pub(crate) fn values(&self) -> usize {
        self.n_samples * self.n_channels
    }

    /// Sampling period, at least 1.
    pub fn period_ms(&self) -> u32 {
        self.period_ms
    }

    /// The longest a sample may wait for its window to fill.
    pub fn max_delay_ms(&self) -> u32 {
        self.max_delay_ms
    }

    /// True if full windows always take the same number of bytes, with no bound on the error.
    pub fn fixed_code_len(&self) -> Option<usize> {
        self.fixed.map(|fixed| fixed.code_len())
    }

    /// Bytes of the longest code: every value at the raw rung's widest.
    pub fn code_len_max(&self) -> usize {
        // Head and shape 4 B, presence at most 1 B a value, widths and bases 5 B a channel, 4 B a value; a rest 3 B.
        let value_len = if self.counts.is_some() { 8 } else { 5 };
        (8 + 5 * self.n_channels + value_len * self.values()).max(self.fixed_code_len().unwrap_or(0))
    }

    /// `i32` words [`crate::encode`] and [`crate::decode`] need as workspace.
    pub fn workspace_len(&self) -> usize {
        crate::ladder::workspace_len(self)
    }

    pub(crate) fn lattice(&self, idx: usize) -> Lattice {
        Lattice::read(&self.lattice[idx * Lattice::LEN..])
    }

    /// How the first value of each channel is coded, in order of channels.
    pub(crate) fn firsts(&self) -> Firsts<'a> {
        Firsts { reader: Reader(self.firsts), bins: self.expected.get(1..).unwrap_or(&[]), idx: 0 }
    }

    /// How the first value of channel `idx` is coded.
    pub(crate) fn first(&self, idx: usize) -> Option<First<'a>> {
        let mut firsts = self.firsts();
        for _ in 0..idx {
            firsts.next()?;
        }
        firsts.next()
    }

    /// The bound of channel `idx` in what is coded, counts or grid steps; read alone, because the search asks for every
    /// value.
    pub(crate) fn bound_steps(&self, idx: usize) -> i32 {
        if let Some(counts) = &self.counts {
            return counts.bound(idx);
        }
        self.grid_bound(idx)
    }

    /// The bound of channel `idx` in grid steps.
    pub(crate) fn grid_bound(&self, idx: usize) -> i32 {
        Reader(&self.channels[idx * CHANNEL_LEN + CHANNEL_BOUND_AT..]).i32().unwrap_or(0)
    }
}

/// See [`Model::firsts`].
pub(crate) struct Firsts<'a> {
    reader: Reader<'a>,
    bins: &'a [u8],
    idx: usize,
}

impl<'a> Firsts<'a> {
    pub(crate) fn next(&mut self) -> Option<First<'a>> {
        let first = First::checked(&mut self.reader, self.idx)?;
        let bin = self.bins.get(self.idx).copied().unwrap_or(0);
        self.idx += 1;
        Some(first.beginning(bin))
    }
}

const NO_CHANNEL: Channel<'static> = Channel {
    name: "",
    unit: "",
    grid: Grid { scale: 0, origin: 0, quantum: 1, bound_steps: 0, rounds: false },
    raw_base: 0,
    raw_bits: 0,
};

/// Bytes of a channel before the names.
const CHANNEL_LEN: usize = 26;
/// Mark in the scale's byte that the bound leaves room for rounding.
pub(crate) const ROUNDS: u8 = 0x80;
/// Where among them the bound stands, and what the raw rung takes.
const CHANNEL_BOUND_AT: usize = 17;
const CHANNEL_RAW_AT: usize = 21;
/// Bytes of a model before its sections.
#[cfg(feature = "bundle")]
const HEADER_LEN: usize = 20;

fn read_channel<'a>(reader: &mut Reader<'_>, name: &'a str, unit: &'a str) -> Option<Channel<'a>> {
    let scale = reader.u8()?;
    let grid = Grid {
        scale: scale & !ROUNDS,
        rounds: scale & ROUNDS != 0,
        origin: reader.i64()?,
        quantum: reader.i64()?,
        bound_steps: reader.u32()?,
    };
    Some(Channel { name, unit, grid, raw_base: reader.i32()?, raw_bits: reader.u8()? })
}

/// Reads little-endian numbers off a slice; `None` when it ends early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        self.bytes(LEN)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn text(&mut self, len_max: usize) -> Option<&'a str> {
        let len = usize::from(self.u8()?);
        if len > len_max {
            return None;
        }
        core::str::from_utf8(self.bytes(len)?).ok()
    }

    /// A section's bytes, behind its number and its length.
    fn section(&mut self) -> Option<&'a [u8]> {
        self.u8()?;
        let len = self.u32()?;
        self.bytes(usize::try_from(len).ok()?)
    }
}

/// What errors call a section.
fn name_of(tag: u8) -> &'static str {
    match tag {
        SECTION_CHANNELS => "channels",
        SECTION_HEAD => "head",
        SECTION_LATTICE => "lattice",
        SECTION_CONTEXT => "context",
        SECTION_LATENT => "latent",
        SECTION_PREDICT => "predict",
        SECTION_FIXED => "fixed",
        SECTION_GATED => "gated predict",
        SECTION_COUNTS => "counts",
        SECTION_EXPECTED => "expected",
        SECTION_REFERENCE => "reference",
        SECTION_BUDGETED => "budgeted predict",
        _ => "last",
    }
}
