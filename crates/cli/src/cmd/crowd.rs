//! What `simulate` and `demo` share: devices registered, run, and checked against what they measured.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kinglet_codec::bundle::Bundle;
use kinglet_node::{Config, Identity, MemFlash};
use kinglet_server::Core;
use kinglet_train::nn::Rng;
use kinglet_train::recording::Recording;
use kinglet_wire::keys::DeviceId;
use kinglet_wire::update::UpdateKey;
use tokio::runtime::Runtime;

use super::device::{refused, store_failed};
use crate::args::FrameArgs;
use crate::device::air::Air;
use crate::device::feed::Feed;
use crate::device::fleet::{self, FleetError, Live, Member, Pace};
use crate::device::link::Link;
use crate::device::session::{Chance, Counts, Loss, Room, Session};
use crate::device::verify::{self, Found};
use crate::failure::{Failure, Kind, Result};
use crate::term::style::{BAD, BOLD, GOOD};
use crate::term::{Out, Progress, bytes};

/// Flash of a virtual device: 16 sectors of 4 KiB.
const SECTOR_LEN: usize = 4096;
const N_SECTORS: usize = 16;
/// And of its bundles.
const N_SECTORS_BUNDLES: usize = 32;

/// What the devices are made of.
pub(crate) struct Crowd<'a> {
    pub(crate) bundle: &'a Bundle,
    /// At least one; devices beyond them begin later in one of them.
    pub(crate) recordings: &'a [Recording],
    pub(crate) loss: f64,
    pub(crate) seed: u64,
    /// Time of the first device's first sample.
    pub(crate) t_first_ms: i64,
    pub(crate) frame: FrameArgs,
    /// Whose bundles the devices take over the air.
    pub(crate) update_key: Option<UpdateKey>,
}

/// `base` with frames as asked for, else as the bundle was trained for.
pub(crate) fn config(bundle: &Bundle, frame: FrameArgs, base: Config) -> Config {
    let trained = bundle.report()["frames"][0]["fill_len"].as_u64().and_then(|n| usize::try_from(n).ok());
    Config { fill_len: frame.fill.or(trained).unwrap_or(0), padding_class: frame.pad.unwrap_or(0), ..base }
}

/// Memory for each device.
pub(crate) fn rooms(bundle: &Bundle, n: u32) -> Vec<Room> {
    (0..n).map(|_| Room::new(&bundle.model())).collect()
}

/// A bundle of other channels would send nonsense.
pub(crate) fn check_fits(bundle: &Bundle, recording: &Recording, origin: &str) -> Result {
    let (need, have) = (bundle.model().channels(), recording.channels().len());
    if need == have {
        return Ok(());
    }
    Err(Failure::input(format_args!("bundle \"{}\" does not fit {origin}", bundle.name()))
        .why(format_args!("it has {need} channels, {origin} has {have}"))
        .next("leave --bundle out, or name one of as many channels"))
}

impl<'a> Crowd<'a> {
    /// Registers the devices and boots them; their windows are spread over the time a window takes.
    pub(crate) fn join(
        &self,
        runtime: &Runtime,
        core: &Arc<Core>,
        names: &[String],
        rooms: &'a mut [Room],
    ) -> Result<Vec<Member<'a>>> {
        let now_ms = core.clock.now_ms();
        let added = runtime.block_on(core.bundles.add(self.bundle.emit(), now_ms));
        added.map_err(|e| Failure::new(Kind::Failure, "the bundle was not taken").why(e))?;
        let model = self.bundle.model();
        let window_ms = i64::from(model.period_ms()) * model.samples() as i64;
        let mut members = Vec::new();
        for (idx, (name, room)) in names.iter().zip(rooms).enumerate() {
            let (row, key) = runtime.block_on(core.registry.add(name, "", now_ms)).map_err(refused)?;
            let id = DeviceId::new(&row.id).ok_or_else(|| Failure::usage("no device id").why(&row.id))?;
            let flash = MemFlash::new(vec![0xFF; SECTOR_LEN * N_SECTORS], SECTOR_LEN as u32, 4);
            let retries = Config { retry_min_ms: 300, retry_max_ms: 3_000, ..Config::default() };
            let config = config(self.bundle, self.frame, retries);
            let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(idx as u64);
            let loss = Loss::new(self.loss, seed ^ 0x1055);
            let chance = Chance::Seeded(Rng::new(seed ^ u64::from(std::process::id()) << 32));
            let no_boot = |e: &dyn std::fmt::Display| {
                Failure::new(Kind::Failure, "a virtual device does not boot").why(e)
            };
            let bundles = MemFlash::new(vec![0xFF; SECTOR_LEN * N_SECTORS_BUNDLES], SECTOR_LEN as u32, 4);
            let air = self.update_key.map(|key| Air::open(Box::new(bundles), key, model)).transpose();
            let air = air.map_err(|e| no_boot(&e))?;
            let config = air.as_ref().map_or(config, |air| air.config(config));
            let session = Session::open(flash, Identity { id, key }, model, room, config, chance, loss)
                .map_err(|e| no_boot(&e))?
                .with_air(air);
            let recording = &self.recordings[idx % self.recordings.len()];
            let per_recording = names.len().div_ceil(self.recordings.len());
            let row0 = (idx / self.recordings.len()) * recording.len() / per_recording.max(1);
            let t_first_ms = self.t_first_ms + window_ms * idx as i64 / names.len() as i64;
            let feed = Feed::new(recording, row0, t_first_ms);
            members.push(Member { short_id: row.short_id, session, feed, recording, truth: Vec::new() });
        }
        Ok(members)
    }
}

/// Runs the devices, with a live line.
pub(crate) fn run(
    members: &mut [Member<'_>],
    n_threads: usize,
    link: &Link,
    pace: &Pace,
    live: &Live,
    bar: &Progress,
) -> Result<Counts> {
    let mut show = |live: &Live| {
        let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        bar.say(format!(
            "{:>6.1} s  {} samples measured, {} windows stored, {} sent",
            pace.started.elapsed().as_secs_f64(),
            load(&live.samples),
            load(&live.acked),
            bytes(load(&live.frame_bytes))
        ));
    };
    fleet::run(members, n_threads, link, pace, live, &mut show).map_err(|e| match e {
        FleetError::Node(e) => Failure::new(Kind::Failure, "a virtual device failed").why(e),
        FleetError::Refused(answer) => answer.to_failure(link),
    })
}

/// Windows nobody has acknowledged.
pub(crate) fn waiting(members: &[Member<'_>]) -> u64 {
    members.iter().map(|member| member.session.node().stats().n_windows_waiting as u64).sum()
}

/// Reads everything back and compares; also gives the repeats the server has recognised.
pub(crate) fn verify(
    runtime: &Runtime,
    core: &Arc<Core>,
    bundle: &Bundle,
    members: &[Member<'_>],
) -> Result<(Found, u64)> {
    let found = runtime.block_on(verify::verify(core, bundle, members)).map_err(store_failed)?;
    let mut repeats = 0;
    for member in members {
        repeats +=
            runtime.block_on(core.store.totals(Some(member.short_id))).map_err(store_failed)?.duplicates;
    }
    Ok((found, repeats))
}

/// The promises and whether they held, in words.
pub(crate) fn say_verified(out: &mut Out, found: &Found) -> Result {
    let mark = if found.holds() { format!("{GOOD}held{GOOD:#}") } else { format!("{BAD}broken{BAD:#}") };
    out.line(format_args!(
        "{BOLD}promises{BOLD:#} {mark}: {} windows read back, {} samples missing, {} stored twice, largest error {:.3} of the bound",
        found.windows_stored, found.missing, found.duplicates, found.max_error_over_bound
    ))?;
    Ok(())
}

/// A failure if a promise was broken, or if the server did not take everything in time.
pub(crate) fn promise(found: &Found, waiting: u64) -> Result {
    if !found.holds() {
        return Err(Failure::new(Kind::Promise, "a promise was broken")
            .why(format_args!(
                "missing {}, stored twice {}, unknown {}, largest error {} of the bound",
                found.missing, found.duplicates, found.strangers, found.max_error_over_bound
            ))
            .next("this is a fault in Kinglet: please report it with the command you ran"));
    }
    if waiting > 0 {
        return Err(Failure::new(
            Kind::Network,
            format_args!("{waiting} windows were not acknowledged in time"),
        )
        .why("the server did not answer, or too slowly")
        .next("take fewer --devices or a smaller --rate"));
    }
    Ok(())
}
