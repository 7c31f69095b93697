//! `kinglet readings export`: stored readings, window by window, so that it can be stopped and go on anywhere. But for
//! Parquet, whose files say at their end where everything lies: one that is not closed is none.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinglet_server::Core;
#[cfg(feature = "parquet")]
use kinglet_server::export::ParquetFile;
use kinglet_server::export::{Format, Span};
use kinglet_server::readings::decode_all;
use kinglet_server::store::{DeviceRow, Place, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::device::{refused, store_failed};
use crate::args::{ReadingsAction, ReadingsArgs, ReadingsExportArgs, ReadingsFormat};
use crate::failure::{Failure, Kind, Result};
use crate::term::{Out, Progress, bytes};
use crate::{files, host};

/// Windows read, decoded and written at once; a stopped export repeats no more than these.
const PAGE: u32 = 1000;

pub(crate) fn run(args: &ReadingsArgs) -> Result {
    let ReadingsAction::Export(args) = &args.action;
    let runtime = host::runtime()?;
    let config = host::config(&args.common.overrides())?;
    if host::is_new(&config) {
        return Err(Failure::input(format_args!("there is no server's data in {}", config.data.display()))
            .next("name the server's data directory with --data"));
    }
    let core = host::core(&runtime, config)?;
    let mut export = Export::begin(args)?;
    let progress = Progress::bar("exporting");
    let done = runtime.block_on(export.run(&core, &args.device, &progress));
    drop(progress);
    done?;
    export.end()?;
    runtime.block_on(core.store.close()).map_err(store_failed)?;
    let Some(path) = &args.out else { return Ok(()) };
    let mut out = Out::new(args.common.json);
    out.result(&json!({
        "file": path.display().to_string(), "samples": export.n_samples, "windows": export.n_windows,
        "flawed_windows": export.n_flawed, "bytes": export.state.bytes,
    }))?;
    out.line(format_args!(
        "{}: {} samples of {} windows added, {} in all",
        path.display(),
        export.n_samples,
        export.n_windows,
        bytes(export.state.bytes)
    ))?;
    if export.n_flawed > 0 {
        out.line(format_args!("{} windows do not decode and are not in it", export.n_flawed))?;
    }
    Ok(())
}

/// What is remembered beside the file: how far it is good, and which window each device has come to.
#[derive(Serialize, Deserialize)]
struct State {
    format: String,
    from_ms: i64,
    to_ms: i64,
    /// Length of the file without what closes it.
    bytes: u64,
    /// Time and number of the last window of each device.
    devices: BTreeMap<String, (i64, i64)>,
}

struct Export {
    form: Form,
    span: Span,
    target: Target,
    state: State,
    n_samples: u64,
    n_windows: u64,
    n_flawed: u64,
}

enum Target {
    Stdout,
    File { path: PathBuf, file: File },
}

#[cfg(feature = "parquet")]
type Columns = ParquetFile<Box<dyn std::io::Write + Send>>;

/// What readings become.
enum Form {
    Text(Format),
    /// `None` once it is closed.
    #[cfg(feature = "parquet")]
    Parquet(Option<Box<Columns>>),
}

impl Export {
    fn begin(args: &ReadingsExportArgs) -> Result<Self> {
        let Span { from_ms, to_ms } = Span::ALL;
        let span = Span { from_ms: args.from.unwrap_or(from_ms), to_ms: args.to.unwrap_or(to_ms) };
        let fresh = State {
            format: format!("{:?}", args.format),
            from_ms: span.from_ms,
            to_ms: span.to_ms,
            bytes: 0,
            devices: BTreeMap::new(),
        };
        let (target, state) = match &args.out {
            None => (Target::Stdout, fresh),
            Some(path) => open(path, args, fresh)?,
        };
        let form = match args.format.text() {
            Some(format) => Form::Text(format),
            #[cfg(feature = "parquet")]
            None => Form::Parquet(Some(Box::new(target.parquet()?))),
            #[cfg(not(feature = "parquet"))]
            None => return Err(Failure::usage("this program writes no such format")),
        };
        let mut export = Self { form, span, target, state, n_samples: 0, n_windows: 0, n_flawed: 0 };
        if let (&Form::Text(format), 0) = (&export.form, export.state.bytes) {
            export.append(format.head())?;
            // From here on whatever stops it can be gone on from.
            export.keep()?;
        }
        Ok(export)
    }

    async fn run(&mut self, core: &Arc<Core>, only: &[String], progress: &Progress) -> Result {
        let devices = devices(core, only).await?;
        for (i, device) in devices.iter().enumerate() {
            self.device(core, device, |share| progress.set((i as f64 + share) / devices.len() as f64))
                .await?;
        }
        Ok(())
    }

    async fn device(&mut self, core: &Arc<Core>, device: &DeviceRow, progress: impl Fn(f64)) -> Result {
        let total = core.store.totals(Some(device.short_id)).await.map_err(store_failed)?.windows;
        let mut place = match self.state.devices.get(&device.id) {
            Some((t_first, row_id)) => Place { t_first: *t_first, row_id: *row_id },
            None => self.first_place(core, device.short_id).await.map_err(store_failed)?,
        };
        let mut seen = 0u64;
        loop {
            let page = core.store.windows_after(device.short_id, place, self.span.to_ms, PAGE);
            let rows = page.await.map_err(store_failed)?;
            let Some(last) = rows.last() else { return Ok(()) };
            place = Place { t_first: last.t_first, row_id: last.row_id };
            seen += rows.len() as u64;
            let mut text = String::new();
            for (_, decoded) in decode_all(&core.bundles, rows).await.map_err(store_failed)? {
                let Ok(readings) = decoded else {
                    self.n_flawed += 1;
                    continue;
                };
                let n = match &mut self.form {
                    Form::Text(format) => {
                        let is_first = self.state.bytes + text.len() as u64 == format.head().len() as u64;
                        format.window(&device.id, &readings, self.span, is_first, &mut text)
                    }
                    #[cfg(feature = "parquet")]
                    Form::Parquet(file) => match file {
                        Some(file) => {
                            let added = file.window(&device.id, &readings, self.span);
                            added.map_err(|e| self.target.failed(&std::io::Error::other(e)))?
                        }
                        None => 0,
                    },
                };
                self.n_samples += n as u64;
                self.n_windows += u64::from(n > 0);
            }
            self.append(&text)?;
            self.state.devices.insert(device.id.clone(), (place.t_first, place.row_id));
            self.keep()?;
            progress(seen as f64 / total.max(1) as f64);
        }
    }

    /// Just before the first window wanted: the one that begins before `from` may reach into it.
    async fn first_place(&self, core: &Arc<Core>, short_id: u32) -> Result<Place, StoreError> {
        let from_ms = self.span.from_ms;
        let before = core.store.windows(short_id, from_ms, from_ms.saturating_add(1), PAGE).await?;
        Ok(match before.first() {
            Some(row) => Place { t_first: row.t_first, row_id: row.row_id - 1 },
            None => Place { t_first: from_ms, row_id: i64::MIN },
        })
    }

    fn append(&mut self, text: &str) -> Result {
        let written = match &mut self.target {
            Target::Stdout => std::io::stdout().write_all(text.as_bytes()),
            Target::File { file, .. } => file.write_all(text.as_bytes()),
        };
        written.map_err(|e| self.target.failed(&e))?;
        self.state.bytes += text.len() as u64;
        Ok(())
    }

    /// Remembers how far the file is good, once that is on disk.
    fn keep(&self) -> Result {
        let (Form::Text(_), Target::File { path, file }) = (&self.form, &self.target) else { return Ok(()) };
        file.sync_data().map_err(|e| self.target.failed(&e))?;
        let state = serde_json::to_vec(&self.state).unwrap_or_default();
        files::write(&state_path(path), &state, true, files::Access::Usual)
    }

    fn end(&mut self) -> Result {
        self.keep()?;
        let bytes = self.state.bytes;
        match &mut self.form {
            &mut Form::Text(format) => {
                self.append(format.tail())?;
                self.state.bytes = bytes;
            }
            #[cfg(feature = "parquet")]
            Form::Parquet(file) => {
                if let Some(file) = file.take() {
                    let closed = file.finish();
                    self.state.bytes = closed.map_err(|e| self.target.failed(&std::io::Error::other(e)))?;
                }
            }
        }
        let written = match &self.target {
            Target::Stdout => std::io::stdout().flush(),
            Target::File { file, .. } => file.sync_data(),
        };
        written.map_err(|e| self.target.failed(&e))
    }
}

impl Target {
    fn failed(&self, error: &std::io::Error) -> Failure {
        match self {
            Self::Stdout => Failure::writing("standard output", error),
            Self::File { path, .. } => Failure::writing(path.display(), error),
        }
    }

    /// A Parquet file that goes there.
    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Result<Columns> {
        let out: Box<dyn std::io::Write + Send> = match self {
            Self::Stdout => Box::new(std::io::stdout()),
            Self::File { file, .. } => Box::new(file.try_clone().map_err(|e| self.failed(&e))?),
        };
        ParquetFile::begin(out).map_err(|e| self.failed(&std::io::Error::other(e)))
    }
}

/// A new file, or with `resume` one that was begun, cut back to where it is good.
fn open(path: &Path, args: &ReadingsExportArgs, fresh: State) -> Result<(Target, State)> {
    let failed = |e: std::io::Error| Failure::writing(path.display(), &e);
    let state = state_path(path);
    #[cfg(feature = "parquet")]
    if args.resume && args.format == ReadingsFormat::Parquet {
        return Err(Failure::usage("a Parquet file cannot be gone on with")
            .why("what closes it says where everything in it lies, and nothing can follow")
            .next("export to another file; --from TIME leaves out what you have"));
    }
    if args.resume && !state.exists() && has_begun_at_most(path, args.format) {
        // Stopped before there was anything to remember.
        let file = File::create(path).map_err(failed)?;
        return Ok((Target::File { path: path.into(), file }, fresh));
    }
    if !args.resume || !state.exists() {
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| {
            failed(e).next("choose another name; --resume goes on with a file that an export has begun")
        })?;
        return Ok((Target::File { path: path.into(), file }, fresh));
    }
    let other = |why: &str| {
        Failure::new(Kind::Input, format_args!("{} cannot be gone on with", path.display()))
            .why(why)
            .next("give the options it was begun with, or choose another name")
    };
    let kept: State = serde_json::from_slice(&files::read_up_to(&state, 64 << 20)?)
        .map_err(|_| other("the .state file beside it is damaged"))?;
    if (&kept.format, kept.from_ms, kept.to_ms) != (&fresh.format, fresh.from_ms, fresh.to_ms) {
        return Err(other("it was begun with another --format, --from or --to"));
    }
    let mut file = OpenOptions::new().write(true).open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => other("only the .state file beside it is there"),
        _ => failed(e),
    })?;
    if file.metadata().map_err(failed)?.len() < kept.bytes {
        return Err(other("it is shorter than it was"));
    }
    file.set_len(kept.bytes).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
    Ok((Target::File { path: path.into(), file }, kept))
}

/// True for a file with nothing in it but how its format begins, or less.
fn has_begun_at_most(path: &Path, format: ReadingsFormat) -> bool {
    let head = format.text().map_or("", Format::head);
    let len = std::fs::metadata(path).map(|m| m.len());
    len.is_ok_and(|len| len <= head.len() as u64)
        && std::fs::read(path).is_ok_and(|bytes| head.as_bytes().starts_with(&bytes))
}

fn state_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".state");
    PathBuf::from(name)
}

async fn devices(core: &Arc<Core>, only: &[String]) -> Result<Vec<DeviceRow>> {
    let mut devices = Vec::new();
    for id in only {
        let row = core.store.device(id).await.map_err(store_failed)?;
        let unknown = || kinglet_server::registry::RegistryError::Unknown(id.chars().take(64).collect());
        devices.push(row.ok_or_else(|| refused(unknown()))?);
    }
    let mut after = 0;
    while only.is_empty() {
        let page = core.store.devices(after, 1000).await.map_err(store_failed)?;
        let Some(last) = page.last() else { break };
        after = last.short_id;
        devices.extend(page);
    }
    Ok(devices)
}
