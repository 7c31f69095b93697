//! General-purpose compressors, each window alone: what somebody would reach for who has no codec.
//!
//! Values are rounded to the bound's grid first, as everywhere. What every code would begin with alike (zstd's magic
//! number, pcodec's header) is not counted.

use pco::ChunkConfig;
use pco::wrapped::{FileCompressor, FileDecompressor};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use super::{FIT_BLOCKS, FIT_SHARE, Figure, Task, Yardstick, YardstickError, whole};
use crate::fit::Rows;

/// Largest dictionary: with the program that reads it, what a device may keep.
const DICTIONARY_LEN_MAX: usize = 16 << 10;
const ZSTD_LEVEL: i32 = 19;
/// The highest there is.
const PCODEC_LEVEL: usize = 12;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// zstd with a dictionary of training windows, in the layout that is shorter on held-out ones.
pub(super) fn zstd(task: &Task<'_>) -> Result<Figure, YardstickError> {
    let (fit, held_out) = task.train.split(FIT_SHARE, FIT_BLOCKS);
    let price = |layout| {
        let mut coder = Zstd::learn(&fit, task, layout)?;
        let lens = whole(&held_out, task.n_samples, 0).map(|window| Some(coder.encode(window)?.len()));
        lens.sum::<Option<usize>>()
    };
    let layouts = [Layout::Differences, Layout::Fixed];
    let layout = layouts.into_iter().min_by_key(|&layout| price(layout).unwrap_or(usize::MAX));
    let mut coder = layout
        .and_then(|layout| Zstd::learn(task.train, task, layout))
        .ok_or(YardstickError::NotCoded { yardstick: Yardstick::Zstd, window: 0 })?;
    let static_bytes = coder.dictionary.len();
    judged(Yardstick::Zstd, task, static_bytes, |window| {
        let code = coder.encode(window)?;
        Some((code.len(), coder.decode(&code)?))
    })
}

/// pcodec at its highest level, each channel a page behind its own description.
pub(super) fn pcodec(task: &Task<'_>) -> Result<Figure, YardstickError> {
    let levels = LevelGrid::new(task);
    judged(Yardstick::Pcodec, task, 0, |window| {
        let mut len = 0;
        let mut read = Vec::with_capacity(window.len());
        for channel in levels.of(window) {
            let (meta, page, channel) = page_of(&channel)?;
            len += meta + page;
            read.extend(channel);
        }
        Some((len, levels.steps(&read)))
    })
}

/// Bytes of a channel's description and of its page, and what is read from them.
fn page_of(channel: &[i32]) -> Option<(usize, usize, Vec<i32>)> {
    let config = ChunkConfig::default().with_compression_level(PCODEC_LEVEL);
    let file = FileCompressor::default();
    let header = file.write_header(Vec::new()).ok()?;
    let mut chunk = file.chunk_compressor(channel, &config).ok()?;
    let meta = chunk.write_meta(Vec::new()).ok()?;
    let page = chunk.write_page(0, Vec::new()).ok()?;
    let (file, _) = FileDecompressor::new(header.as_slice()).ok()?;
    let (mut chunk, _) = file.chunk_decompressor::<i32, _>(meta.as_slice()).ok()?;
    let mut read = vec![0; channel.len()];
    let _ = chunk.page_decompressor(page.as_slice(), channel.len()).ok()?.read(&mut read).ok()?;
    Some((meta.len(), page.len(), read))
}

/// How values become the bytes that zstd sees, channel after channel.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// Differences, zigzag, seven bits a byte: one byte where a signal is slow.
    Differences,
    /// Four bytes each.
    Fixed,
}

impl Layout {
    fn write(self, channels: impl Iterator<Item = Vec<i32>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for channel in channels {
            let mut last = 0i32;
            for value in channel {
                match self {
                    Self::Fixed => bytes.extend(value.to_le_bytes()),
                    Self::Differences => {
                        let d = value.wrapping_sub(last);
                        let mut folded = (d << 1 ^ d >> 31).cast_unsigned();
                        while folded >= 0x80 {
                            bytes.push(folded as u8 | 0x80);
                            folded >>= 7;
                        }
                        bytes.push(folded as u8);
                        last = value;
                    }
                }
            }
        }
        bytes
    }

    /// `n_values` a channel; `None` if the bytes are others than `write` makes.
    fn read(self, bytes: &[u8], n_channels: usize, n_values: usize) -> Option<Vec<i32>> {
        let mut values = Vec::with_capacity(n_channels * n_values);
        let mut bytes = bytes.iter().copied();
        for _ in 0..n_channels {
            let mut last = 0i32;
            for _ in 0..n_values {
                last = match self {
                    Self::Fixed => {
                        i32::from_le_bytes([bytes.next()?, bytes.next()?, bytes.next()?, bytes.next()?])
                    }
                    Self::Differences => {
                        let mut folded = 0u32;
                        for shift in (0..32).step_by(7) {
                            let byte = bytes.next()?;
                            folded |= u32::from(byte & 0x7f) << shift;
                            if byte < 0x80 {
                                break;
                            }
                        }
                        last.wrapping_add((folded >> 1).cast_signed() ^ -((folded & 1).cast_signed()))
                    }
                };
                values.push(last);
            }
        }
        bytes.next().is_none().then_some(values)
    }
}

struct Zstd<'a> {
    levels: LevelGrid<'a>,
    layout: Layout,
    dictionary: Vec<u8>,
    writer: Compressor<'static>,
    reader: Decompressor<'static>,
}

impl<'a> Zstd<'a> {
    fn learn(rows: &Rows, task: &'a Task<'_>, layout: Layout) -> Option<Self> {
        let levels = LevelGrid::new(task);
        let windows: Vec<_> = whole(rows, task.n_samples, 0)
            .map(|window| layout.write(levels.of(window).into_iter()))
            .collect();
        // Refused for few windows: then there is none, as for anybody else.
        let dictionary = zstd::dict::from_samples(&windows, DICTIONARY_LEN_MAX).unwrap_or_default();
        let mut writer = Compressor::with_dictionary(ZSTD_LEVEL, &dictionary).ok()?;
        for off in [
            CParameter::ContentSizeFlag(false),
            CParameter::DictIdFlag(false),
            CParameter::ChecksumFlag(false),
        ] {
            writer.set_parameter(off).ok()?;
        }
        let reader = Decompressor::with_dictionary(&dictionary).ok()?;
        Some(Self { levels, layout, dictionary, writer, reader })
    }

    fn encode(&mut self, window: &[i32]) -> Option<Vec<u8>> {
        let bytes = self.layout.write(self.levels.of(window).into_iter());
        let code = self.writer.compress(&bytes).ok()?;
        Some(code.strip_prefix(&ZSTD_MAGIC)?.to_vec())
    }

    fn decode(&mut self, code: &[u8]) -> Option<Vec<i32>> {
        let (n_channels, n_samples) = (self.levels.bounds.len(), self.levels.n_samples);
        let whole = [&ZSTD_MAGIC, code].concat();
        // No value takes more than five bytes in either layout.
        let bytes = self.reader.decompress(&whole, 5 * n_channels * n_samples).ok()?;
        Some(self.levels.steps(&self.layout.read(&bytes, n_channels, n_samples)?))
    }
}

/// The bound's grid: levels `2E + 1` steps apart.
struct LevelGrid<'a> {
    bounds: &'a [i32],
    n_samples: usize,
}

impl<'a> LevelGrid<'a> {
    fn new(task: &'a Task<'_>) -> Self {
        Self { bounds: task.bounds, n_samples: task.n_samples }
    }

    /// The levels of a window, channel by channel.
    fn of(&self, window: &[i32]) -> Vec<Vec<i32>> {
        let n = self.bounds.len();
        let level = |step: i32, bound: i32| {
            let span = 2 * i64::from(bound) + 1;
            // A level of an `i32` is one: spans are at least 1.
            (i64::from(step) + i64::from(bound)).div_euclid(span) as i32
        };
        let channel = |(idx, &bound): (usize, &i32)| {
            window.iter().skip(idx).step_by(n).map(|&step| level(step, bound)).collect()
        };
        self.bounds.iter().enumerate().map(channel).collect()
    }

    /// The window that levels, channel after channel, stand for.
    fn steps(&self, levels: &[i32]) -> Vec<i32> {
        let n = self.bounds.len();
        let mut window = vec![0; levels.len()];
        for (idx, (&bound, channel)) in
            self.bounds.iter().zip(levels.chunks_exact(self.n_samples)).enumerate()
        {
            for (t, &level) in channel.iter().enumerate() {
                window[t * n + idx] = level.wrapping_mul(2 * bound + 1);
            }
        }
        window
    }
}

/// Codes and reads back every test window; `code` gives a code's length and what was read from it.
fn judged(
    yardstick: Yardstick,
    task: &Task<'_>,
    static_bytes: usize,
    mut code: impl FnMut(&[i32]) -> Option<(usize, Vec<i32>)>,
) -> Result<Figure, YardstickError> {
    let mut code_lens = Vec::new();
    for (window, truth) in whole(task.test, task.n_samples, 0).enumerate() {
        let (len, read) = code(truth)
            .filter(|(_, read)| read.len() == truth.len())
            .ok_or(YardstickError::NotCoded { yardstick, window })?;
        for (at, (&truth, &read)) in truth.iter().zip(&read).enumerate() {
            if (i64::from(truth) - i64::from(read)).abs() > i64::from(task.bounds[at % task.bounds.len()]) {
                return Err(YardstickError::BoundBroken { yardstick, window, truth, read });
            }
        }
        code_lens.push(len as u32);
    }
    Ok(Figure { code_lens, static_bytes })
}
