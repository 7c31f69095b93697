//! From stored windows to readings, for display and export.

use std::sync::Arc;

use kinglet_codec::bundle::Bundle;
use kinglet_codec::{ABOVE, BELOW, Decimal, Model, decode};

use crate::bundles::Bundles;
use crate::store::{Extent, Flaw, StoreError, TimeQuality, WindowRow};

/// A decoded window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings {
    /// What its values mean.
    pub channels: Arc<[ChannelInfo]>,
    /// Time of the first sample.
    pub t_first: i64,
    /// Time from sample to sample.
    pub period_ms: i64,
    /// How the time is known.
    pub t_quality: TimeQuality,
    /// `[samples × channels]`, sample-major.
    pub values: Vec<Value>,
}

/// A channel as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Its name.
    pub name: String,
    /// Its unit, may be empty.
    pub unit: String,
    /// How far a value may lie from what was measured.
    pub bound: Decimal,
    /// Digits after the point that its values have.
    pub digits: u8,
}

/// One value of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(Decimal),
    /// The sensor gave none.
    Missing,
    /// Above everything the grid can say.
    Above,
    /// Below everything the grid can say.
    Below,
}

impl Readings {
    /// Samples in it.
    pub fn n_samples(&self) -> usize {
        self.values.len() / self.channels.len().max(1)
    }

    /// Time and values of each sample.
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = (i64, &[Value])> + ExactSizeIterator {
        let at = |i: usize| {
            self.t_first.saturating_add(self.period_ms.saturating_mul(i64::try_from(i).unwrap_or(0)))
        };
        self.values
            .chunks_exact(self.channels.len().max(1))
            .enumerate()
            .map(move |(i, values)| (at(i), values))
    }

    /// How much it holds.
    pub fn extent(&self) -> Extent {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let n_samples = count(self.n_samples());
        Extent {
            n_samples,
            n_readings: count(self.values.iter().filter(|value| **value != Value::Missing).count()),
            span_ms: self.period_ms.saturating_mul(n_samples.into()),
        }
    }
}

/// So few are decoded at once; more where they hold up nobody's ack.
const DECODED_HERE: usize = 2;

/// A window, and its readings or what is wrong with it.
pub type Decoded = (WindowRow, Result<Readings, Flaw>);

/// Decodes windows, in their order.
pub async fn decode_all(bundles: &Bundles, rows: Vec<WindowRow>) -> Result<Vec<Decoded>, StoreError> {
    decode_each(bundles, rows, |row, readings| (row, readings)).await
}

/// Readings of the windows that decoded, and how many did not.
pub(crate) fn sound(decoded: Vec<Decoded>) -> (Vec<Readings>, usize) {
    let n_windows = decoded.len();
    let windows: Vec<_> = decoded.into_iter().filter_map(|(_, readings)| readings.ok()).collect();
    let n_flawed = n_windows - windows.len();
    (windows, n_flawed)
}

/// As [`decode_all`], keeping of each window what `keep` makes of it. Networks take tens of microseconds a window: none of
/// that is done where connections are served.
pub(crate) async fn decode_each<T: Send + 'static>(
    bundles: &Bundles,
    rows: Vec<WindowRow>,
    keep: impl Fn(WindowRow, Result<Readings, Flaw>) -> T + Send + 'static,
) -> Result<Vec<T>, StoreError> {
    let mut runs: Vec<(Option<Arc<Bundle>>, Vec<WindowRow>)> = Vec::new();
    let n_rows = rows.len();
    for row in rows {
        match runs.last_mut().filter(|(_, run)| run.last().is_some_and(|last| last.bundle == row.bundle)) {
            Some((_, run)) => run.push(row),
            None => runs.push((bundles.get(&row.bundle).await?, vec![row])),
        }
    }
    let decode = move || {
        let mut kept = Vec::with_capacity(n_rows);
        for (bundle, run) in runs {
            decode_run(bundle.as_deref(), run, |row, readings| kept.push(keep(row, readings)));
        }
        kept
    };
    if n_rows <= DECODED_HERE {
        return Ok(decode());
    }
    tokio::task::spawn_blocking(decode).await.map_err(|e| StoreError::Database(e.to_string()))
}

/// Decodes windows of one bundle.
fn decode_run(
    bundle: Option<&Bundle>,
    rows: Vec<WindowRow>,
    mut give: impl FnMut(WindowRow, Result<Readings, Flaw>),
) {
    let Some(bundle) = bundle else {
        for row in rows {
            let flaw = row.flaw.unwrap_or(Flaw::BundleMissing);
            give(row, Err(flaw));
        }
        return;
    };
    let model = bundle.model();
    let channels = channels_of(&model);
    let mut workspace = vec![0; model.workspace_len()];
    let mut steps = vec![0; model.samples() * model.channels()];
    for row in rows {
        let readings = decode_one(&model, &channels, &row, &mut workspace, &mut steps);
        give(row, readings);
    }
}

fn decode_one(
    model: &Model<'_>,
    channels: &Arc<[ChannelInfo]>,
    row: &WindowRow,
    workspace: &mut [i32],
    steps: &mut [i32],
) -> Result<Readings, Flaw> {
    if row.flaw == Some(Flaw::Damaged) {
        return Err(Flaw::Damaged);
    }
    let done = decode(model, &row.code, workspace, steps).map_err(|_| Flaw::Malformed)?;
    let steps = steps.get(..done.n_samples * model.channels()).ok_or(Flaw::Malformed)?;
    let value = |(i, &step): (usize, &i32)| match (step, model.channel(i % model.channels()).grid.value(step))
    {
        (ABOVE, _) => Value::Above,
        (BELOW, _) => Value::Below,
        (_, Some(number)) => Value::Number(number),
        (_, None) => Value::Missing,
    };
    Ok(Readings {
        channels: Arc::clone(channels),
        t_first: row.t_first,
        period_ms: model.period_ms().into(),
        t_quality: row.t_quality,
        values: steps.iter().enumerate().map(value).collect(),
    })
}

/// The channels of a model as people see them.
pub fn channels_of(model: &Model<'_>) -> Arc<[ChannelInfo]> {
    let channel = |idx| {
        let channel = model.channel(idx);
        // Half a step more where readings between the steps are rounded to the grid first.
        let half_steps = 2 * i64::from(channel.grid.bound_steps) + i64::from(channel.grid.rounds);
        let bound = half_steps.saturating_mul(channel.grid.quantum).saturating_mul(5);
        ChannelInfo {
            name: channel.name.into(),
            unit: channel.unit.into(),
            bound: Decimal::new(bound, channel.grid.scale + 1),
            digits: channel.grid.scale,
        }
    };
    (0..model.channels()).map(channel).collect()
}

/// A number for JSON and charts. Shortest notation gives the decimal's own digits back.
pub fn to_f64(number: Decimal) -> f64 {
    // Mantissas have at most 18 digits, scales at most 15: one rounding each, good to the last shown digit.
    number.mantissa() as f64 / 10f64.powi(number.scale().into())
}
