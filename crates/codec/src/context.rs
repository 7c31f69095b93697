//! The context rung: each value as the difference from its channel's last one, in a table chosen by what happened
//! just before.
//!
//! The *raw context* of a difference says the channel, how the channel moved lately, and how its neighbour moves at
//! this instant. There are many; a trained map sends each to one of few tables, so that contexts which behave alike
//! share one (context clustering, as in JPEG XL and Brotli).

use core::ops::Range;

use crate::alphabet::{self, CLASSES_MAX};
use crate::first::Lattice;
use crate::freq::Table;
use crate::grid::is_step;
use crate::model::{Model, Reader};
use crate::parts;
use crate::range::{Coder, Site, Stop};

/// States of a channel's recent movement.
const STATES: usize = 76;
/// Movements of the neighbouring channel.
const NEIGHBOURS: usize = 5;
/// Raw contexts of one channel.
pub const RAW_CONTEXTS: usize = STATES * NEIGHBOURS;
/// Most tables of a model.
pub const TABLES_MAX: usize = 64;

/// The trained part: a map from raw contexts to tables, and the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    map: &'a [u8],
    tables: &'a [u8],
    n_symbols: usize,
}

impl<'a> Context<'a> {
    pub(crate) fn parse(section: &'a [u8], n_channels: usize) -> Option<Self> {
        let mut reader = Reader(section);
        let n_classes = usize::from(reader.u8()?);
        let n_tables = usize::from(reader.u8()?);
        let map = reader.bytes(RAW_CONTEXTS * n_channels)?;
        let tables = reader.0;
        let n_symbols = 2 * n_classes + 1;
        for _ in 0..n_tables {
            Table::parse(&mut reader, n_symbols)?;
        }
        let ok = (1..=CLASSES_MAX).contains(&n_classes)
            && (1..=TABLES_MAX).contains(&n_tables)
            && map.iter().all(|&t| usize::from(t) < n_tables)
            && reader.0.is_empty();
        ok.then_some(Self { map, tables, n_symbols })
    }

    pub(crate) fn table(&self, raw_context: usize) -> Table<'a> {
        let at = usize::from(self.map[raw_context]) * (2 + self.n_symbols);
        Table::checked(&self.tables[at..at + 2 + self.n_symbols])
    }
}

/// How a channel moved up to now, in lattice units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) r: i32,
    d1: i32,
    d2: i32,
    /// How many differences in a row were zero.
    run: u16,
    /// Sign of the last difference that was not zero.
    sign: i8,
    /// Values seen, up to 3.
    n_seen: u8,
}

impl History {
    /// Words in a workspace.
    pub(crate) const WORDS: usize = 4;

    pub(crate) fn is_empty(&self) -> bool {
        self.n_seen == 0
    }

    pub(crate) fn push(&mut self, r: i32) {
        if self.n_seen > 0 {
            let d = r.wrapping_sub(self.r);
            self.d2 = self.d1;
            self.d1 = d;
            self.run = if d == 0 { self.run.saturating_add(1) } else { 0 };
            self.sign = if d == 0 { self.sign } else { d.signum() as i8 };
        }
        self.r = r;
        self.n_seen = (self.n_seen + 1).min(3);
    }

    /// The last difference: how the channel moves at this instant, once its value is known.
    pub(crate) fn moved(&self) -> i32 {
        self.d1
    }

    /// How many differences in a row were zero.
    pub(crate) fn run(&self) -> u16 {
        self.run
    }

    fn state(&self) -> usize {
        let sign = match self.sign {
            0 => 0,
            1.. => 1,
            _ => 2,
        };
        if self.n_seen < 2 {
            return 0;
        }
        if self.d1 != 0 {
            // Beyond 96 all are alike.
            let [d1, d2] = [self.d1, self.d2].map(|d| d.unsigned_abs().min(1 << 20));
            let activity = 2 * d1 + d2;
            let level = [3, 5, 8, 13, 24, 48, 96].iter().filter(|&&top| activity > top).count();
            let turn = match self.d1.signum() * self.d2.signum() {
                0 => 0,
                1 => 1,
                _ => 2,
            };
            return 1 + (level * 2 + (sign - 1)) * 3 + turn;
        }
        if self.run == 1 && self.d2 != 0 {
            let size = [1, 3].iter().filter(|&&top| self.d2.unsigned_abs() > top).count();
            return 49 + size * 2 + (sign - 1);
        }
        let run = [1, 2, 4, 8, 16, 32].iter().filter(|&&top| self.run > top).count();
        55 + run * 3 + sign
    }

    /// The raw context of this channel's next difference, `neighbour` being the movement beside it.
    pub(crate) fn raw_context(&self, channel: usize, neighbour: i32) -> usize {
        let neighbour = match neighbour {
            0 => 0,
            1 => 1,
            -1 => 2,
            2.. => 3,
            _ => 4,
        };
        channel * RAW_CONTEXTS + self.state() * NEIGHBOURS + neighbour
    }

    pub(crate) fn load(words: &[i32]) -> Self {
        let [run_low, run_high, sign, n_seen] = words[3].to_le_bytes();
        Self {
            r: words[0],
            d1: words[1],
            d2: words[2],
            run: u16::from_le_bytes([run_low, run_high]),
            sign: sign as i8,
            n_seen,
        }
    }

    pub(crate) fn store(&self, words: &mut [i32]) {
        let [run_low, run_high] = self.run.to_le_bytes();
        words[..3].copy_from_slice(&[self.r, self.d1, self.d2]);
        words[3] = i32::from_le_bytes([run_low, run_high, self.sign as u8, self.n_seen]);
    }
}

/// Which channel's movement stands beside channel `idx`: the one before it at this instant, or for the first channel
/// the last one at the instant before.
pub(crate) fn neighbour_of(idx: usize, n_channels: usize) -> Option<usize> {
    match (idx, n_channels) {
        (0, 1) => None,
        (0, n) => Some(n - 1),
        (idx, _) => Some(idx - 1),
    }
}

/// Makes `histories` (`History::WORDS` words a channel) what they are after the lattice values `past`, sample-major.
pub(crate) fn begin(n_channels: usize, past: &[i32], histories: &mut [i32]) {
    histories[..n_channels * History::WORDS].fill(0);
    if parts::references().is_none() {
        return; // so that no code is there for what cannot be
    }
    for (at, &r) in past.iter().enumerate().filter(|(_, r)| is_step(**r)) {
        let mut history = load(histories, at % n_channels);
        history.push(r);
        history.store(&mut histories[at % n_channels * History::WORDS..]);
    }
}

/// Codes the lattice values `rs` (sample-major; what is no step stands for itself and is skipped) that follow `past`.
///
/// `histories`: `History::WORDS` words a channel, contents ignored.
pub(crate) fn code(
    model: &Model<'_>,
    context: &Context<'_>,
    coder: &mut dyn Coder,
    past: &[i32],
    rs: &mut [i32],
    histories: &mut [i32],
) -> Result<(), Stop> {
    begin(model.channels(), past, histories);
    let end = rs.len();
    code_run(model, context, coder, rs, 0..end, histories)
}

/// The same for a run of `rs`; `histories` are what they are before it, and become what they are after it.
pub(crate) fn code_run(
    model: &Model<'_>,
    context: &Context<'_>,
    coder: &mut dyn Coder,
    rs: &mut [i32],
    run: Range<usize>,
    histories: &mut [i32],
) -> Result<(), Stop> {
    for at in run {
        if !is_step(rs[at]) {
            continue;
        }
        let idx = at % model.channels();
        let mut history = load(histories, idx);
        let r = code_next(model, context, coder, idx, histories, rs[at])?;
        model.lattice(idx).value(r).ok_or(Stop)?;
        history.push(r);
        history.store(&mut histories[idx * History::WORDS..]);
        rs[at] = r;
    }
    Ok(())
}

/// Codes the next value of channel `idx`: as a difference, or as a first value if it has none yet.
pub(crate) fn code_next(
    model: &Model<'_>,
    context: &Context<'_>,
    coder: &mut dyn Coder,
    idx: usize,
    histories: &[i32],
    r: i32,
) -> Result<i32, Stop> {
    let history = load(histories, idx);
    if history.is_empty() {
        return code_first(model, coder, idx, histories, r);
    }
    let raw_context = next_context(model.channels(), idx, &history, histories);
    let d = r.wrapping_sub(history.r);
    let d = alphabet::code(coder, Site::Diff(raw_context), context.table(raw_context), d)?;
    Ok(history.r + d)
}

/// The raw context of the next difference of channel `idx`.
pub(crate) fn next_context(n_channels: usize, idx: usize, history: &History, histories: &[i32]) -> usize {
    let beside = neighbour_of(idx, n_channels).map_or(0, |n| load(histories, n).moved());
    history.raw_context(idx, beside)
}

pub(crate) fn load(histories: &[i32], idx: usize) -> History {
    History::load(&histories[idx * History::WORDS..])
}

/// Where the first value of channel `idx` is expected, in lattice units.
pub(crate) fn predict_first(model: &Model<'_>, idx: usize, histories: &[i32]) -> i32 {
    let mut deviations = [0i32; crate::CHANNELS_MAX];
    let mut predicted = 0;
    let mut firsts = model.firsts();
    for other in 0..=idx {
        let Some(first) = firsts.next() else { break };
        if other == idx {
            predicted = first.predict(&deviations[..idx]);
        } else {
            let history = load(histories, other);
            let value = model.lattice(other).value(history.r).unwrap_or(0);
            deviations[other] = if history.is_empty() { 0 } else { value - first.mean };
        }
    }
    model.lattice(idx).nearest(predicted)
}

/// Codes the first value of channel `idx` in the window.
pub(crate) fn code_first(
    model: &Model<'_>,
    coder: &mut dyn Coder,
    idx: usize,
    histories: &[i32],
    r: i32,
) -> Result<i32, Stop> {
    let predicted = predict_first(model, idx, histories);
    let first = model.first(idx).ok_or(Stop)?;
    first.code(coder, Site::First(idx), predicted, r)
}

/// A lattice's value, for channels whose `r` was checked.
pub(crate) fn to_value(lattice: Lattice, r: i32) -> i32 {
    if is_step(r) { lattice.value(r).unwrap_or(crate::MISSING) } else { r }
}
