//! Readings from wherever they were asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use kinglet_codec::bundle::Bundle;
use kinglet_codec::{Grid, Model};
use kinglet_server::config::Overrides;
use kinglet_server::readings::{ChannelInfo, Value, decode_all};
use kinglet_server::store::StoreError;
use kinglet_train::climate::{self, ClimateOptions};
use kinglet_train::recording::{
    self, ColumnChoice, Cut, ReadOptions, RecordedChannel, Recording, RecordingError, Understood, Windows,
};

use crate::args::{ReadingArgs, Source};
use crate::failure::{Failure, Kind, Result};
use crate::host;

/// Most windows of a device that are read back to learn from: the newest.
const WINDOWS_MAX: u32 = 200_000;

/// A recording and where it came from.
pub(crate) struct Readings {
    pub(crate) recording: Recording,
    /// What was understood of the file; `None` if it was generated.
    pub(crate) understood: Option<Understood>,
    /// For messages: the file's name, `standard input` or `the generated climate`.
    pub(crate) origin: String,
}

/// Reads all there is.
pub(crate) fn load(source: &Source, how: &ReadingArgs) -> Result<Readings> {
    read(source, &how.options())
}

/// Reads the channels of a bundle, by their names, unless others were named.
pub(crate) fn load_for(bundle: &Bundle, source: &Source, how: &ReadingArgs) -> Result<Readings> {
    let model = bundle.model();
    let mut options = how.options();
    if options.channels.is_none() && *source != Source::Generated {
        let names = (0..model.channels()).map(|idx| ColumnChoice::from(model.channel(idx).name));
        options.channels = Some(names.collect());
    }
    let readings = read(source, &options)?;
    let found = readings.recording.channels().len();
    if found == model.channels() {
        return Ok(readings);
    }
    let wanted: Vec<&str> = (0..model.channels()).map(|idx| model.channel(idx).name).collect();
    Err(Failure::input(format_args!("bundle \"{}\" does not fit {}", bundle.name(), readings.origin))
        .why(format_args!("it has {} channels ({}), the recording {found}", wanted.len(), wanted.join(", ")))
        .next(format_args!(
            "choose {} columns with --channels, or train a bundle on this recording",
            wanted.len()
        )))
}

/// The recording cut into the model's windows, as a device would.
pub(crate) fn windows(recording: &Recording, model: &Model<'_>) -> Windows {
    let grids: Vec<Grid> = (0..model.channels()).map(|idx| model.channel(idx).grid).collect();
    Windows::cut(recording, &grids, 0..recording.len(), model.samples(), Cut::AtGaps)
}

fn read(source: &Source, options: &ReadOptions) -> Result<Readings> {
    let (origin, read) = match source {
        Source::Generated => return generated(options),
        Source::File(path) => {
            let file = File::open(path).map_err(|e| Failure::reading(path, &e))?;
            (path.display().to_string(), recording::read(BufReader::new(file), options))
        }
        Source::Stdin => ("standard input".into(), recording::read(io::stdin().lock(), options)),
    };
    match read {
        Ok((recording, understood)) => Ok(Readings { recording, understood: Some(understood), origin }),
        Err(e) => Err(refused(&origin, &e)),
    }
}

/// The reader's message ends with the next step, after the last of `: ` and `. ` that it has.
fn refused(origin: &str, error: &RecordingError) -> Failure {
    Failure::input(format_args!("{origin} cannot be used as a recording"))
        .why(error)
        .next("`kinglet train --help` shows how to say what a file does not say by itself")
}

/// Two weeks of a DHT22 in a generated house.
fn generated(options: &ReadOptions) -> Result<Readings> {
    if options.channels.is_some() {
        return Err(Failure::usage("--channels chooses columns of a file, and there is none")
            .next("name a recording, or leave --channels out"));
    }
    let period_ms = options.period_ms.unwrap_or(60_000);
    let climate = ClimateOptions { period_ms, ..ClimateOptions::default() };
    Ok(Readings {
        recording: climate_of(&climate)?,
        understood: None,
        origin: "the generated climate".into(),
    })
}

/// What a device has stored on the server of this data directory, under its newest bundle.
pub(crate) fn stored(device: &str, data: Option<&Path>) -> Result<Readings> {
    let runtime = host::runtime()?;
    let overrides = Overrides { data: data.map(Path::to_path_buf), ..Overrides::default() };
    let core = host::core(&runtime, host::config(&overrides)?)?;
    let store_failed = |e: StoreError| Failure::new(Kind::Failure, "the store failed").why(e);
    let rows = runtime.block_on(async {
        let Some(row) = core.store.device(device).await? else { return Ok(None) };
        core.store.windows(row.short_id, i64::MIN, i64::MAX, WINDOWS_MAX).await.map(Some)
    });
    let Some(rows) = rows.map_err(store_failed)? else {
        return Err(Failure::new(Kind::Refused, format_args!("there is no device `{device}`"))
            .next("`kinglet device list` shows all; name the server's data with --data-dir"));
    };
    let newest = rows.iter().max_by_key(|row| row.t_first).map(|row| row.bundle);
    let rows: Vec<_> = rows.into_iter().filter(|row| Some(row.bundle) == newest).collect();
    let decoded = runtime.block_on(decode_all(&core.bundles, rows)).map_err(store_failed)?;
    let too_few = || {
        Failure::input(format_args!("`{device}` has too few readings to learn from"))
            .next("let it send for a while, or train on a file")
    };
    let mut samples = BTreeMap::new();
    let mut channels = None;
    for window in decoded.into_iter().filter_map(|(_, readings)| readings.ok()) {
        for (t_ms, values) in window.samples() {
            samples.insert(t_ms, values.to_vec());
        }
        channels = Some((Arc::clone(&window.channels), window.period_ms));
    }
    let (channels, period_ms) = channels.ok_or_else(too_few)?;
    let channel = |(idx, channel): (usize, &ChannelInfo)| RecordedChannel {
        name: channel.name.clone(),
        unit: channel.unit.clone(),
        values: samples
            .values()
            .map(|values| match values.get(idx) {
                Some(Value::Number(number)) => Some(*number),
                _ => None,
            })
            .collect(),
    };
    let channels = channels.iter().enumerate().map(channel).collect();
    let period_ms = u32::try_from(period_ms).unwrap_or(u32::MAX);
    let recording = Recording::new(samples.keys().copied().collect(), channels, period_ms);
    let recording = recording.map_err(|e| too_few().why(e))?;
    Ok(Readings { recording, understood: None, origin: format!("what `{device}` has sent") })
}

/// A generated recording.
pub(crate) fn climate_of(options: &ClimateOptions) -> Result<Recording> {
    climate::generate(options).map_err(|e| Failure::usage("no climate can be generated like that").why(e))
}
