//! How many samples a frame carries when a device fills it, on rows the model has not seen.

use std::ops::{ControlFlow, Range};

use kinglet_codec::{Filling, Front, Grid, Model, SAMPLES_MAX, VALUES_MAX, Window};

use super::learn::Effort;
use super::train::{FitError, FitOptions, train};
use crate::lora::{OnAir, on_air};
use crate::recording::{Cut, Recording, Windows};

/// Frames as a device sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameOptions {
    /// Bytes of a data frame beside its code.
    pub overhead: usize,
    /// Frames are filled up to this many bytes in all; `None`: as long as windows are.
    pub fill_len: Option<usize>,
}

/// What frames carry.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FrameSummary {
    /// Frames are filled up to this many bytes; null: windows as long as they may be.
    pub fill_len: Option<usize>,
    /// Bytes of a frame beside its code.
    pub overhead: usize,
    /// Frames the rows made.
    pub frames: usize,
    /// Samples in a frame, mean.
    pub samples_mean: f64,
    /// Most samples in a frame.
    pub samples_max: usize,
    /// Bytes of a frame, mean.
    pub frame_bytes_mean: f64,
    /// Bytes of the longest frame.
    pub frame_bytes_max: usize,
    /// Bytes of frames for each reading that is there.
    pub bytes_per_reading: f64,
    /// Why frames were cut.
    pub cuts: CutShares,
    /// Samples whose own code does not fit such a frame: a device would refuse them.
    pub samples_refused: usize,
    /// The mean frame over LoRa.
    pub lora: [OnAir; 6],
}

/// Shares of frames, adding up to 1.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct CutShares {
    /// One more sample would not have fitted.
    pub full: f64,
    /// The bundle's windows are no longer.
    pub window: f64,
    /// A sample would have waited too long.
    pub delay: f64,
    /// Time had a gap, or the rows ended.
    pub gap: f64,
}

/// Most rows that are cut into frames: enough for a mean.
const ROWS_MAX: usize = 20_000;
/// Rows a first look is learned from.
const LOOK_ROWS: usize = 10_000;
/// Periods from this on are sent in whole seconds, and rounding takes its part of the half period.
const WHOLE_SECONDS_FROM_MS: u32 = 10_000;
/// Below this period stamps in whole milliseconds say nothing about the clock.
const STEADY_PERIOD_MS: u32 = 20;

/// Sends `rows` of `recording` in frames, sample by sample as a device does it. The recording has the model's channels.
pub fn frames(
    model: &Model<'_>,
    recording: &Recording,
    rows: Range<usize>,
    options: FrameOptions,
) -> FrameSummary {
    let rows = rows.start..rows.end.min(rows.start + ROWS_MAX);
    let grids: Vec<Grid> = (0..model.channels()).map(|idx| model.channel(idx).grid).collect();
    let mut device = Device::new(model, options);
    // Each sample alone: with its own time, and whether it lies on the grid.
    for sample in Windows::cut(recording, &grids, rows, 1, Cut::AtGaps).iter() {
        device.take(sample.t_first_ms, sample.steps, sample.off_grid);
    }
    device.cut_all(Why::Gap);
    device.summary(recording.period_ms())
}

/// The window in which most frames of this length come out full, found by a first look at the recording.
pub fn window_for(
    recording: &Recording,
    options: &FitOptions,
    progress: &mut dyn FnMut(super::FitProgress) -> ControlFlow<()>,
) -> Result<u16, FitError> {
    let per_delay = options.max_delay_ms.map_or(SAMPLES_MAX, |ms| (ms / recording.period_ms() + 1) as usize);
    let most = SAMPLES_MAX.min(VALUES_MAX / recording.channels().len().max(1)).min(per_delay);
    let most = most.min(recording.len() / 8).max(2);
    let look = FitOptions {
        n_samples: most as u16,
        effort: Effort::Fast,
        rows_max: options.rows_max.min(LOOK_ROWS),
        n_latents: Some(0),
        ..options.clone()
    };
    let trained = train(recording, &look, progress)?;
    let model = trained.bundle.model();
    let grids: Vec<Grid> = (0..model.channels()).map(|idx| model.channel(idx).grid).collect();
    let mut device = Device::new(&model, options.frame);
    let rows = 0..recording.len().min(look.rows_max);
    for sample in Windows::cut(recording, &grids, rows, 1, Cut::AtGaps).iter() {
        device.take(sample.t_first_ms, sample.steps, sample.off_grid);
    }
    let mut lens: Vec<usize> = device.sent.iter().map(|sent| sent.n_samples).collect();
    lens.sort_unstable();
    // Nine of ten frames shall not be held up by the window; the few that could carry more are not worth that all
    // others say a length that is spread wider.
    let wanted = lens.get(lens.len() * 9 / 10).copied().unwrap_or(most);
    Ok(wanted.clamp(2, most) as u16)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Full,
    Window,
    Delay,
    Gap,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    n_samples: usize,
    code_len: usize,
    why: Why,
}

/// The part of a device that cuts windows; see `handle_sample` of the crate `kinglet-node`.
struct Device<'m> {
    model: &'m Model<'m>,
    options: FrameOptions,
    /// Longest code.
    room: usize,
    /// Samples a window has when its first one has waited as long as it may.
    n_in_time: usize,
    filling: Filling,
    steps: Vec<i32>,
    off_grid: bool,
    t_first_ms: i64,
    t_last_ms: i64,
    workspace: Vec<i32>,
    out: Vec<u8>,
    sent: Vec<Sent>,
    n_refused: usize,
    n_readings: usize,
}

impl<'m> Device<'m> {
    fn new(model: &'m Model<'m>, options: FrameOptions) -> Self {
        Self {
            model,
            options,
            room: options.fill_len.map_or(usize::MAX, |len| len.saturating_sub(options.overhead)),
            n_in_time: (model.max_delay_ms() / model.period_ms()) as usize + 1,
            filling: Filling::default(),
            steps: Vec::new(),
            off_grid: false,
            t_first_ms: 0,
            t_last_ms: 0,
            workspace: vec![0; model.workspace_len()],
            out: vec![0; model.code_len_max()],
            sent: Vec::new(),
            n_refused: 0,
            n_readings: 0,
        }
    }

    fn n_samples(&self) -> usize {
        self.steps.len() / self.model.channels()
    }

    fn take(&mut self, t_ms: i64, sample: &[i32], off_grid: bool) {
        if self.n_samples() > 0 && !self.continues(t_ms) {
            self.cut_all(Why::Gap);
        }
        if self.steps.is_empty() {
            (self.t_first_ms, self.off_grid) = (t_ms, false);
        }
        self.t_last_ms = t_ms;
        self.steps.extend(sample);
        self.off_grid |= off_grid;
        self.n_readings += sample.iter().filter(|&&x| x != kinglet_codec::MISSING).count();
        if self.n_samples() >= self.n_in_time {
            self.cut_all(Why::Delay);
        } else if self.n_samples() == self.model.samples() {
            self.cut_front(Why::Window);
        } else if self.options.fill_len.is_some() {
            while self.n_samples() > 0 {
                let window = Window { steps: &self.steps, off_grid: self.off_grid };
                let (workspace, out) = (&mut self.workspace, &mut self.out);
                match self.filling.sample_added(self.model, window, self.room, workspace, out) {
                    Ok(Some(front)) => self.send(front, Why::Full),
                    _ => break,
                }
            }
        }
    }

    /// True if the window gives this sample a time within half a period of its own.
    fn continues(&self, t_ms: i64) -> bool {
        let period = i64::from(self.model.period_ms());
        let off = (t_ms - self.t_first_ms - period * self.n_samples() as i64).abs();
        match self.model.period_ms() {
            WHOLE_SECONDS_FROM_MS.. => 2 * (off + 500) <= period,
            STEADY_PERIOD_MS.. => 2 * off <= period,
            _ => 2 * (t_ms - self.t_last_ms) <= 3 * period,
        }
    }

    fn cut_all(&mut self, why: Why) {
        while self.n_samples() > 0 {
            self.cut_front(why);
        }
    }

    fn cut_front(&mut self, why: Why) {
        let window = Window { steps: &self.steps, off_grid: self.off_grid };
        match self.filling.cut(self.model, window, self.room, &mut self.workspace, &mut self.out) {
            Ok(front) => {
                let why = if front.n_samples < self.n_samples() { Why::Full } else { why };
                self.send(front, why);
            }
            // Steps of the model's own grids in whole samples: there is nothing to refuse.
            Err(_) => self.steps.clear(),
        }
    }

    fn send(&mut self, front: Front, why: Why) {
        let Front { n_samples, code_len } = front;
        self.steps.drain(..n_samples * self.model.channels());
        self.t_first_ms += i64::from(self.model.period_ms()) * n_samples as i64;
        if code_len > self.room {
            self.n_refused += n_samples;
        } else {
            self.sent.push(Sent { n_samples, code_len, why });
        }
    }

    fn summary(&self, period_ms: u32) -> FrameSummary {
        let n = self.sent.len().max(1) as f64;
        let overhead = self.options.overhead;
        let sum = |of: &dyn Fn(&Sent) -> usize| self.sent.iter().map(of).sum::<usize>() as f64;
        let bytes = sum(&|sent| sent.code_len + overhead);
        let share = |why: Why| self.sent.iter().filter(|sent| sent.why == why).count() as f64 / n;
        let samples_mean = sum(&|sent| sent.n_samples) / n;
        let longest = |of: fn(&Sent) -> usize| self.sent.iter().map(of).max().unwrap_or(0);
        let frame_bytes_max = longest(|sent| sent.code_len) + overhead;
        FrameSummary {
            fill_len: self.options.fill_len,
            overhead,
            frames: self.sent.len(),
            samples_mean,
            samples_max: longest(|sent| sent.n_samples),
            frame_bytes_mean: bytes / n,
            frame_bytes_max,
            bytes_per_reading: bytes / self.n_readings.max(1) as f64,
            cuts: CutShares {
                full: share(Why::Full),
                window: share(Why::Window),
                delay: share(Why::Delay),
                gap: share(Why::Gap),
            },
            samples_refused: self.n_refused,
            lora: on_air((bytes / n).ceil() as usize, samples_mean * f64::from(period_ms)).map(|at| OnAir {
                // Not the mean frame but the longest has to be allowed.
                is_allowed: frame_bytes_max.max(self.options.fill_len.unwrap_or(0)) <= at.payload_len_max,
                ..at
            }),
        }
    }
}
