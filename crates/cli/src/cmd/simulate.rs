//! `kinglet simulate`: many virtual devices, real frames, real sockets.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinglet_codec::bundle::Bundle;
use kinglet_node::Config as NodeConfig;
use kinglet_server::config::{Config, Overrides};
use kinglet_server::offers::{Audience, same_channels};
use kinglet_train::climate::ClimateOptions;
use kinglet_train::fit::{self, FrameOptions};
use kinglet_train::recording::Recording;
use kinglet_wire::update::{SigningKey, Update};
use serde_json::json;

use super::crowd::{self, Crowd};
use crate::args::SimulateArgs;
use crate::device::fleet::{Live, Member, Pace};
use crate::device::link::Link;
use crate::device::trust::Trust;
use crate::failure::{Failure, Kind, Result};
use crate::host::{self, Server};
use crate::term::style::BOLD;
use crate::term::{Out, Progress, bytes};
use crate::{files, readings, update_key};

/// Different houses; devices beyond them begin elsewhere in one.
const HOUSES_MAX: u32 = 16;
const THREADS_MAX: usize = 16;

pub(crate) fn run(args: &SimulateArgs) -> Result {
    let mut out = Out::new(args.json);
    let bundle = match &args.bundle {
        Some(path) => files::read_bundle(path)?,
        None => super::bundles::starter("dht22")?,
    };
    let update = args.update.as_deref().map(|path| signed(path, &bundle)).transpose()?;
    let houses = houses(args)?;
    crowd::check_fits(&bundle, &houses[0], "the generated climate")?;

    let runtime = host::runtime()?;
    let temporary = tempfile::tempdir().map_err(|e| Failure::writing("a temporary directory", &e))?;
    let (server, core, url) = match &args.server {
        Some(url) => {
            let overrides = Overrides { data: args.data.clone(), ..Overrides::default() };
            (None, host::core(&runtime, host::config(&overrides)?)?, url.clone())
        }
        None => {
            let mut config = Config::new(temporary.path());
            config.http.set_port(0);
            let server = Server::start(&runtime, config)?;
            let (core, url) = (Arc::clone(&server.core), server.url());
            (Some(server), core, url)
        }
    };
    let link = Link::new(&url, &Trust::new(&args.trust, None)?)?;
    let model = bundle.model();
    // Full windows, or as many samples as a frame carries here.
    let fill_len = match crowd::config(&bundle, args.frame, NodeConfig::default()).fill_len {
        0 => None,
        len => Some(len),
    };
    let kind = FrameOptions { overhead: super::train::frame_overhead(model.period_ms()), fill_len };
    let expected = fit::frames(&model, &houses[0], 0..houses[0].len(), kind);
    let window_ms = f64::from(model.period_ms()) * expected.samples_mean.max(1.0);
    let speed = window_ms / 1000.0 * args.rate / f64::from(args.devices);
    let wall_ms = core.clock.now_ms();
    let t_first_ms = wall_ms - (speed * 1000.0 * (args.seconds + 1) as f64 + window_ms) as i64;
    if t_first_ms < 0 {
        return Err(Failure::usage("so many frames would reach back before 1970")
            .why(format_args!("each window is {window_ms} ms of readings"))
            .next("take more --devices, a smaller --rate or fewer --seconds"));
    }
    let live = Live { stop: host::interrupt(&runtime), ..Live::default() };
    let mut rooms = crowd::rooms(&bundle, args.devices);
    let crowd = Crowd {
        bundle: &bundle,
        recordings: &houses,
        loss: args.loss,
        seed: args.seed,
        t_first_ms,
        frame: args.frame,
        update_key: update.as_ref().map(|(_, key)| key.public()),
    };
    let names: Vec<String> =
        (0..args.devices).map(|i| format!("sim-{:05}-{i}", std::process::id())).collect();
    let mut members = crowd.join(&runtime, &core, &names, &mut rooms)?;
    if let Some((update, _)) = &update {
        let to = Audience::Percent(100);
        let added = core.offers.add(&core.bundles, update.emit(), to, wall_ms);
        runtime
            .block_on(added)
            .map_err(|e| Failure::new(Kind::Failure, "the bundle is not offered").why(e))?;
    }
    out.line(format_args!("{BOLD}{} devices{BOLD:#}, {} frames/s at {url}", args.devices, args.rate))?;

    let pace = Pace {
        started: Instant::now(),
        t_first_ms,
        speed,
        wall_ms,
        length: Some(Duration::from_secs(args.seconds)),
        drain: Duration::from_secs(60),
    };
    let bar = Progress::line("");
    let threads = THREADS_MAX.min(args.devices as usize);
    let ended = crowd::run(&mut members, threads, &link, &pace, &live, &bar)?;
    drop(bar);
    let seconds = pace.started.elapsed().as_secs_f64();
    let (found, repeats) = crowd::verify(&runtime, &core, &bundle, &members)?;
    let waiting = crowd::waiting(&members);
    let updated = update.as_ref().map(|(update, _)| {
        let uses = |member: &&Member<'_>| member.session.keeps(&update.fingerprint());
        members.iter().filter(uses).count()
    });
    out.result(&json!({
        "devices": args.devices, "seconds": seconds, "windows_sent": ended.acked + waiting,
        "windows_acked": ended.acked, "windows_stored": found.windows_stored, "duplicates": found.duplicates,
        "repeats": repeats, "frames": ended.frames, "requests": ended.requests, "lost": ended.lost,
        "joins": ended.joins, "frame_bytes": ended.frame_bytes,
        "frames_per_second": ended.frames as f64 / seconds, "max_error_over_bound": found.max_error_over_bound,
        "fill_len": fill_len, "samples_per_frame": found.samples_stored as f64 / found.windows_stored.max(1) as f64,
        "frame_bytes_max": found.frame_bytes_max, "updated": updated, "verified": found,
    }))?;
    out.line(format_args!(
        "{} windows acknowledged in {seconds:.1} s, {:.0} frames/s, {} sent; {} lost on the way, {repeats} repeats recognised",
        ended.acked,
        ended.frames as f64 / seconds,
        bytes(ended.frame_bytes),
        ended.lost
    ))?;
    out.line(format_args!(
        "{:.1} samples per frame of {:.1} bytes, the longest {} bytes",
        found.samples_stored as f64 / found.windows_stored.max(1) as f64,
        found.frame_bytes as f64 / found.windows_stored.max(1) as f64,
        found.frame_bytes_max
    ))?;
    if let Some(n) = updated {
        out.line(format_args!("{n} of {} devices use the new bundle and keep it", args.devices))?;
    }
    crowd::say_verified(&mut out, &found)?;
    if let Some(server) = server {
        server.stop(&runtime)?;
    }
    crowd::promise(&found, waiting)
}

/// A bundle signed for this run alone.
fn signed(path: &Path, bundle: &Bundle) -> Result<(Bundle, SigningKey)> {
    let new = files::read_bundle(path)?;
    if !same_channels(&new, bundle) {
        return Err(Failure::input(format_args!("{} is for other channels", path.display()))
            .why("names and units must be those of the devices' bundle, in the same order")
            .next("train one on readings of the same channels"));
    }
    let key = update_key::generate()?;
    let model_len = u32::try_from(new.device().len()).unwrap_or(u32::MAX);
    let signature = key.sign(&Update { serial: 1, model_len, identity: new.identity() });
    Ok((new.with_signature(signature.to_bytes().to_vec()), key))
}

fn houses(args: &SimulateArgs) -> Result<Vec<Recording>> {
    let house = |i: u32| {
        readings::climate_of(&ClimateOptions {
            seed: args.seed.wrapping_add(u64::from(i) + 1),
            ..ClimateOptions::default()
        })
    };
    (0..args.devices.min(HOUSES_MAX)).map(house).collect()
}
