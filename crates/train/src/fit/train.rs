//! From a recording to a bundle.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use kinglet_codec::bundle::{Bundle, BundleError};
use kinglet_codec::learn::Outline;
use kinglet_codec::{CHANNELS_MAX, Grid, SAMPLES_MAX, VALUES_MAX, is_step};

use super::curve::{Curve, Curves, LossSeen};
use super::evaluate::{Evaluation, evaluate, evaluate_as};
use super::fill::{FrameOptions, FrameSummary, frames};
use super::fixed::beside_klt;
use super::learn::{Effort, LearnError, Setup, learn};
use super::reference::{ReferenceSummary, refer};
use super::rows::Rows;
use crate::recording::{
    Bound, ChosenGrid, Cut, GridBasis, GridError, Quantum, Recording, Split, Windows, grid_for,
};

/// What is wanted of a bundle.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// The bundle's name.
    pub name: String,
    /// Samples in a full window.
    pub n_samples: u16,
    /// A bound for all channels, or one each.
    pub bounds: Vec<Bound>,
    /// Longest wait of a sample for its window; `None`: as long as a window takes.
    pub max_delay_ms: Option<u32>,
    /// Seed of everything random.
    pub seed: u64,
    /// How long it may take.
    pub effort: Effort,
    /// Share of the rows to learn from, in per cent; the rest judges.
    pub train_percent: usize,
    /// Most rows used.
    pub rows_max: usize,
    /// Latents of the autoencoder; `None`: chosen by validation, none if it does not pay.
    pub n_latents: Option<usize>,
    /// The autoencoder alone, full windows in exactly so many bytes.
    pub fixed_bytes: Option<usize>,
    /// How the recording is cut.
    pub cut: Cut,
    /// Most bytes a device may have to keep.
    pub static_len_max: usize,
    /// The frames windows travel in.
    pub frame: FrameOptions,
    /// Windows may be coded after the one before: fewer bytes on links that bring acks.
    pub references: bool,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            name: "bundle".into(),
            n_samples: 32,
            bounds: vec![Bound::Lossless],
            max_delay_ms: None,
            seed: 1,
            effort: Effort::Normal,
            train_percent: 70,
            rows_max: 1_000_000,
            n_latents: None,
            fixed_bytes: None,
            cut: Cut::AtGaps,
            static_len_max: 20 << 10,
            // Header 10, flags 1, time 4, tag 16: `spec/wire.md`.
            frame: FrameOptions { overhead: 31, fill_len: None },
            references: false,
        }
    }
}

impl FitOptions {
    /// Which of a recording's rows teach, and which judge.
    pub fn split(&self, n_rows: usize) -> Split {
        Split::by_time(n_rows.min(self.rows_max), self.train_percent)
    }
}

/// How far learning is.
#[derive(Clone, Copy, Debug)]
pub struct FitProgress {
    /// What is being done.
    pub stage: &'static str,
    /// Units of work done, over all stages.
    pub done: u32,
    /// Units of work in all.
    pub total: u32,
    /// Tells trainings apart.
    pub training: u32,
    /// Losses, while a network is trained.
    pub loss: Option<LossSeen>,
}

/// A bundle and how it did.
#[derive(Clone)]
pub struct Trained {
    /// The bundle.
    pub bundle: Bundle,
    /// The same as inside the bundle.
    pub report: TrainReport,
    /// How losses fell while networks were trained.
    pub curves: Vec<Curve>,
}

/// What a bundle was learned from, and what it did on rows it had not seen.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TrainReport {
    /// Samples learned from.
    pub rows_train: usize,
    /// Samples judged by.
    pub rows_test: usize,
    /// Gaps in time within the samples used.
    pub gaps: usize,
    /// Seed.
    pub seed: u64,
    /// The channels.
    pub channels: Vec<ChannelReport>,
    /// Divisor of the lattice.
    pub lattice_divisor: f64,
    /// On the rows judged by.
    pub evaluation: Evaluation,
    /// What goes out when no sample may wait longer than allowed.
    pub sent: SentAs,
    /// What frames carry: as asked for, then filled to what LoRaWAN takes at its six data rates.
    pub frames: Vec<FrameSummary>,
    /// The autoencoder at a fixed size, if that was asked for.
    pub fixed: Option<FixedSummary>,
    /// Windows coded after the one before, if that was asked for; all figures above are of windows that stand alone.
    pub references: Option<ReferenceSummary>,
}

/// Windows as a device cuts them, full or not.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct SentAs {
    /// Longest wait of a sample for its window.
    pub max_delay_ms: u32,
    /// Samples in a window cut for that; fewer than in a full one if those take longer.
    pub samples: usize,
    /// Mean bytes of its code, on the rows judged by.
    pub payload_bytes_mean: f64,
    /// Bits of code per reading.
    pub bits_per_value: f64,
}

/// The autoencoder at a fixed size beside the transform every other is compared with. Errors are roots of mean
/// squares over the rows judged by, in standard deviations of each channel.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct FixedSummary {
    /// Bytes of a full window.
    pub bytes: usize,
    /// Error of the autoencoder, in the integers of a device.
    pub rms: f64,
    /// Error of the Karhunen–Loève transform at as many bytes, in floating point, read on the same grid.
    pub rms_klt: Option<f64>,
}

/// A channel as it was understood.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ChannelReport {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The bound as it was asked for.
    pub asked: String,
    /// The bound in its unit; 0 is lossless.
    pub bound: String,
    /// The step of its grid.
    pub step: String,
    /// Where the step comes from.
    pub basis: GridBasis,
    /// Standard deviation of the rows learned from.
    pub deviation: f64,
    /// Steps per value a plain fixed-width code would need bits for.
    pub raw_bits: u8,
}

/// Why no bundle came out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// A channel cannot have such a grid.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// Learning refused.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// The parts made no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Bounds and channels do not pair up.
    #[error("{bounds} bounds for {channels} channels: give one for all, or one each")]
    Bounds {
        /// Bounds given.
        bounds: usize,
        /// Channels of the recording.
        channels: usize,
    },
    /// A window would be too large.
    #[error(
        "a window of {samples} samples of {channels} channels is too large: at most {SAMPLES_MAX} samples, {CHANNELS_MAX} channels and {VALUES_MAX} values"
    )]
    WindowTooLarge {
        /// Samples asked for.
        samples: usize,
        /// Channels of the recording.
        channels: usize,
    },
    /// The recording has other channels than the bundle.
    #[error(
        "the recording has {have} channels, the bundle {need}: name the bundle's channels with --channels"
    )]
    Channels {
        /// Channels of the recording.
        have: usize,
        /// Channels of the bundle.
        need: usize,
    },
    /// Samples of the recording would not fit the frames asked for.
    #[error(
        "frames of {fill_len} bytes have {room} for the code, and {refused} of the samples judged by need more each"
    )]
    FillTooShort {
        /// Bytes of the frames asked for.
        fill_len: usize,
        /// Of them for the code.
        room: usize,
        /// Samples that do not fit.
        refused: usize,
    },
    /// The caller has had enough.
    #[error("stopped before it was done; nothing was written")]
    Cancelled,
}

/// Payloads LoRaWAN allows in EU868: at SF10 to SF12, SF9, SF8 and SF7.
const LORAWAN_FILLS: [usize; 3] = [51, 115, 222];

/// Learns a bundle from `recording`: the first part of its rows teaches, the rest judges.
pub fn train(
    recording: &Recording,
    options: &FitOptions,
    progress: &mut dyn FnMut(FitProgress) -> ControlFlow<()>,
) -> Result<Trained, FitError> {
    let n_channels = recording.channels().len();
    let samples = usize::from(options.n_samples);
    if n_channels > CHANNELS_MAX || !(1..=SAMPLES_MAX).contains(&samples) || samples * n_channels > VALUES_MAX
    {
        return Err(FitError::WindowTooLarge { samples, channels: n_channels });
    }
    let split = options.split(recording.len());
    let chosen = choose_grids(recording, options, split.train.clone())?;
    let grids: Vec<Grid> = chosen.iter().map(|c| c.grid).collect();
    let rows = rows_of(recording, &grids, split.train.clone(), options.cut);
    let channels: Vec<Outline> =
        (0..n_channels).map(|idx| outline(recording, idx, grids[idx], &rows)).collect();
    let window_ms = recording.period_ms().saturating_mul(u32::from(options.n_samples));
    let setup = Setup {
        n_samples: options.n_samples,
        period_ms: recording.period_ms(),
        max_delay_ms: options.max_delay_ms.unwrap_or(window_ms),
        channels,
        effort: options.effort,
        n_tables_max: 32,
        seed: options.seed,
        n_latents: options.n_latents,
        fixed_bytes: options.fixed_bytes,
        static_len_max: options.static_len_max,
        references: options.references,
    };
    let mut curves = Curves::default();
    let mut learned = learn(&setup, &rows, &mut |told| {
        curves.add(&told);
        progress(told)
    })?;
    if options.frame.fill_len.is_some() {
        let device = learned.parts.emit();
        let model = kinglet_codec::Model::parse(&device).map_err(LearnError::from)?;
        let seen = frames(&model, recording, split.train.clone(), options.frame);
        learned.parts.head = head_of_short_windows(learned.parts.head, 1.0 - seen.cuts.window);
    }
    let device = learned.parts.emit();
    let model = kinglet_codec::Model::parse(&device).map_err(LearnError::from)?;
    let evaluation = evaluate(&model, recording, split.test.clone(), options.cut)?;
    let channel_report = |idx: usize| ChannelReport {
        name: setup.channels[idx].name.clone(),
        unit: setup.channels[idx].unit.clone(),
        asked: bound(options, idx).to_string(),
        bound: chosen[idx].bound.to_string(),
        step: chosen[idx].step.to_string(),
        basis: chosen[idx].basis,
        deviation: chosen[idx].deviation,
        raw_bits: model.channel(idx).raw_bits,
    };
    let fixed = options.fixed_bytes.map(|bytes| {
        let test = rows_of(recording, &grids, split.test.clone(), options.cut);
        let (rms, rms_klt) = beside_klt(&model, &rows, &test, bytes);
        FixedSummary { bytes, rms, rms_klt }
    });
    let n_sent = setup.samples_sent();
    let as_sent = evaluate_as(&model, recording, split.test.clone(), options.cut, n_sent)?;
    let sent = SentAs {
        max_delay_ms: setup.max_delay_ms,
        samples: n_sent,
        payload_bytes_mean: as_sent.payload_bytes_mean,
        bits_per_value: as_sent.bits_per_value,
    };
    let mut frame_kinds = vec![options.frame];
    if options.fixed_bytes.is_none() {
        let filled = LORAWAN_FILLS.map(|len| FrameOptions { fill_len: Some(len), ..options.frame });
        frame_kinds.extend(filled.into_iter().filter(|kind| *kind != options.frame));
    }
    let frames: Vec<FrameSummary> =
        frame_kinds.into_iter().map(|kind| frames(&model, recording, split.test.clone(), kind)).collect();
    if let Some(FrameSummary { fill_len: Some(fill_len), overhead, samples_refused: refused @ 1.., .. }) =
        frames.first()
    {
        let (fill_len, room) = (*fill_len, fill_len.saturating_sub(*overhead));
        return Err(FitError::FillTooShort { fill_len, room, refused: *refused });
    }
    let mut report = TrainReport {
        sent,
        frames,
        fixed,
        references: None,
        rows_train: split.train.len(),
        rows_test: split.test.len(),
        gaps: recording.gaps().filter(|gap| gap.row < split.test.end).count(),
        seed: options.seed,
        channels: (0..n_channels).map(channel_report).collect(),
        lattice_divisor: learned.divisor,
        evaluation,
    };
    let mut bundle = Bundle::new(&options.name, device, serde_json::Value::Null)?;
    if let (true, Some((with, summary))) = (options.references, refer(&bundle, recording, options)?) {
        report.references = Some(summary);
        report.evaluation = evaluate(&with.model(), recording, split.test, options.cut)?;
        bundle = with;
    }
    let json = serde_json::to_value(&report).map_err(BundleError::from)?;
    let bundle = Bundle::new(&options.name, bundle.device().to_vec(), json)?;
    Ok(Trained { bundle, report, curves: curves.finish() })
}

/// Weights of the rungs where a share of the windows is short. Such a window says a symbol for that before its rung's,
/// of the same table: of s + 1 symbols a window s are this one.
fn head_of_short_windows(head: [f64; 6], share: f64) -> [f64; 6] {
    let rungs: f64 = head[..5].iter().sum();
    let [a, b, c, d, e, _] = head;
    [a, b, c, d, e, share.clamp(0.02, 1.0) * rungs]
}

fn bound(options: &FitOptions, idx: usize) -> Bound {
    options.bounds.get(idx).or(options.bounds.first()).copied().unwrap_or(Bound::Lossless)
}

pub(crate) fn choose_grids(
    recording: &Recording,
    options: &FitOptions,
    rows: Range<usize>,
) -> Result<Vec<ChosenGrid>, FitError> {
    let channels = recording.channels();
    if options.bounds.len() > 1 && options.bounds.len() != channels.len() {
        return Err(FitError::Bounds { bounds: options.bounds.len(), channels: channels.len() });
    }
    let grid = |(idx, channel)| {
        let channel: &crate::recording::RecordedChannel = channel;
        let quantum = Quantum::find(&channel.values);
        Ok(grid_for(channel, rows.clone(), quantum.as_ref(), bound(options, idx))?)
    };
    channels.iter().enumerate().map(grid).collect()
}

/// The samples of `rows` on their grids, one piece for each run of windows without a gap.
pub(crate) fn rows_of(recording: &Recording, grids: &[Grid], rows: Range<usize>, cut: Cut) -> Rows {
    // A window as long as the recording: what ends it is a gap.
    let whole = Windows::cut(recording, grids, rows.clone(), usize::MAX, Cut::AtGaps);
    let gaps: HashSet<usize> = recording.gaps().map(|gap| gap.row).collect();
    let mut all = Rows { n_channels: grids.len(), ..Rows::default() };
    for piece in whole.iter() {
        if !all.is_empty() && gaps.contains(&piece.row) {
            all.breaks.push(all.len());
        }
        all.steps.extend(piece.steps);
    }
    match cut {
        Cut::AtGaps => all,
        Cut::ByRows => Rows { breaks: Vec::new(), ..all.filled() },
    }
}

fn outline(recording: &Recording, idx: usize, grid: Grid, rows: &Rows) -> Outline {
    let channel = &recording.channels()[idx];
    let steps = || rows.channel(idx).filter(|&x| is_step(x));
    let range = (steps().min().unwrap_or(0), steps().max().unwrap_or(0));
    Outline { name: channel.name.clone(), unit: channel.unit.clone(), grid, range }
}
