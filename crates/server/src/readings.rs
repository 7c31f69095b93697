//! From stored windows to readings, for display and export.

use std::sync::Arc;

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

/// Decodes windows; remembers the last bundle, since neighbours share it.
pub struct Decoder<'a> {
    bundles: &'a Bundles,
    workspace: Vec<i32>,
    steps: Vec<i32>,
}

impl<'a> Decoder<'a> {
    /// A decoder with these bundles.
    pub fn new(bundles: &'a Bundles) -> Self {
        Self { bundles, workspace: Vec::new(), steps: Vec::new() }
    }

    /// Decodes windows in order; each gives its readings, or what is wrong with it.
    pub async fn decode_all(
        &mut self,
        rows: &[WindowRow],
    ) -> Result<Vec<Result<Readings, Flaw>>, StoreError> {
        let mut decoded = Vec::with_capacity(rows.len());
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let n = rest.iter().take_while(|row| row.bundle == first.bundle).count();
            let (run, later) = rest.split_at(n);
            match self.bundles.get(&first.bundle).await? {
                Some(bundle) => {
                    let model = bundle.model();
                    let channels = channels_of(&model);
                    decoded.extend(run.iter().map(|row| self.decode_one(&model, &channels, row)));
                }
                None => decoded.extend(run.iter().map(|row| Err(row.flaw.unwrap_or(Flaw::BundleMissing)))),
            }
            rest = later;
        }
        Ok(decoded)
    }

    fn decode_one(
        &mut self,
        model: &Model<'_>,
        channels: &Arc<[ChannelInfo]>,
        row: &WindowRow,
    ) -> Result<Readings, Flaw> {
        if row.flaw == Some(Flaw::Damaged) {
            return Err(Flaw::Damaged);
        }
        self.workspace.resize(model.workspace_len(), 0);
        self.steps.resize(model.samples() * model.channels(), 0);
        let done =
            decode(model, &row.code, &mut self.workspace, &mut self.steps).map_err(|_| Flaw::Malformed)?;
        let steps = self.steps.get(..done.n_samples * model.channels()).ok_or(Flaw::Malformed)?;
        let value =
            |(i, &step): (usize, &i32)| match (step, model.channel(i % model.channels()).grid.value(step)) {
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
