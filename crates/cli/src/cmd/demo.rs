//! `kinglet demo`: all of it, in one process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kinglet_server::config::Config;
use kinglet_train::climate::ClimateOptions;
use kinglet_train::fit::{FitOptions, Trained};
use kinglet_train::recording::Recording;
use serde_json::json;

use super::crowd::{self, Crowd};
use crate::args::{DemoArgs, FrameArgs, Source};
use crate::device::fleet::{Live, Pace};
use crate::device::link::Link;
use crate::device::trust::Trust;
use crate::failure::{Failure, Result};
use crate::host::{self, Server};
use crate::readings;
use crate::term::style::{BOLD, DIM};
use crate::term::{Out, Progress, bytes, seconds};

/// Rows the generated climate is learned from: ten days of minutes.
const TRAIN_ROWS: usize = 14_400;
/// Most rows of a recording that are learned from: it shall begin soon.
const ROWS_MAX: usize = 20_000;
/// Each device sends a window about so often.
const WINDOW_EVERY_MS: f64 = 1000.0;
/// Without --seconds, sample time catches up with the wall's after this long and then goes on as slowly.
const FAST_FOR: Duration = Duration::from_secs(1200);
const ROOMS: [&str; 8] = ["kitchen", "bedroom", "cellar", "attic", "bathroom", "office", "hall", "porch"];

pub(crate) fn run(args: &DemoArgs) -> Result {
    let mut out = Out::new(args.json);
    let runtime = host::runtime()?;
    let temporary = tempfile::tempdir().map_err(|e| Failure::writing("a temporary directory", &e))?;
    let mut config = Config::new(temporary.path());
    config.http.set_port(0);
    config.http = args.http.unwrap_or(config.http);
    config.check_login(false).map_err(|e| Failure::usage("the demo cannot listen there").why(e))?;

    let (lessons, houses) = recordings(&mut out, args)?;
    let began = Instant::now();
    let options = FitOptions {
        name: "demo".into(),
        bounds: args.bounds(),
        seed: args.seed,
        effort: args.effort.into(),
        rows_max: ROWS_MAX,
        ..FitOptions::default()
    };
    let Trained { bundle, report, .. } = super::train::learn(&lessons, &options, &args.origin())?;
    let train_seconds = began.elapsed().as_secs_f64();
    out.line(format_args!(
        "learned in {train_seconds:.1} s: {:.1} bytes per window of {} samples, the device keeps {}",
        report.evaluation.payload_bytes_mean,
        bundle.model().samples(),
        bytes(bundle.device().len() as u64)
    ))?;
    drop(lessons);

    let server = Server::start(&runtime, config)?;
    let (core, url) = (Arc::clone(&server.core), server.url());
    let link = Link::new(&url, &Trust::public()?)?;
    let model = bundle.model();
    let window_ms = f64::from(model.period_ms()) * model.samples() as f64;
    let speed = (window_ms / WINDOW_EVERY_MS).max(1.0);
    let fast_for = args.seconds.map_or(FAST_FOR, |s| Duration::from_secs(s + 1));
    let wall_ms = core.clock.now_ms();
    let t_first_ms = (wall_ms - (fast_for.as_millis() as f64 * speed + window_ms) as i64).max(0);
    let live = Live { stop: host::interrupt(&runtime), ..Live::default() };
    let mut rooms = crowd::rooms(&bundle, args.devices);
    let crowd = Crowd {
        bundle: &bundle,
        recordings: &houses,
        loss: args.loss,
        seed: args.seed,
        t_first_ms,
        frame: FrameArgs::default(),
        update_key: None,
    };
    let name =
        |i: u32| ROOMS.get(i as usize).map_or_else(|| format!("room-{}", i + 1), |room| room.to_string());
    let names: Vec<String> = (0..args.devices).map(name).collect();
    let mut members = crowd.join(&runtime, &core, &names, &mut rooms)?;

    out.line(format_args!("\n{BOLD}{url}{BOLD:#}  the dashboard, for this machine only"))?;
    let pace_said = seconds((speed * 1000.0) as i64);
    out.line(format_args!(
        "{DIM}{} devices, {pace_said} of readings each second; {} % of requests and answers are lost on purpose{DIM:#}",
        args.devices,
        100.0 * args.loss
    ))?;
    if args.seconds.is_none() {
        out.line(format_args!("{DIM}Ctrl-C ends it and checks every promise{DIM:#}"))?;
    }
    let pace = Pace {
        started: Instant::now(),
        t_first_ms,
        speed,
        wall_ms,
        length: args.seconds.map(Duration::from_secs),
        drain: Duration::from_secs(30),
    };
    let bar = Progress::line("");
    let ended = crowd::run(&mut members, 4.min(args.devices as usize), &link, &pace, &live, &bar)?;
    drop(bar);

    let (found, repeats) = crowd::verify(&runtime, &core, &bundle, &members)?;
    let waiting = crowd::waiting(&members);
    let per_reading = |n: u64| n as f64 / found.readings.max(1) as f64;
    let (sealed, json) = (per_reading(found.frame_bytes), per_reading(found.json_bytes));
    out.result(&json!({
        "devices": args.devices, "seconds": pace.started.elapsed().as_secs_f64(), "train_seconds": train_seconds,
        "windows_sent": ended.acked + waiting, "windows_acked": ended.acked, "windows_stored": found.windows_stored,
        "duplicates": found.duplicates, "repeats": repeats, "lost_on_the_way": ended.lost,
        "max_error_over_bound": found.max_error_over_bound, "bytes_per_reading": sealed,
        "payload_bytes_per_reading": per_reading(found.payload_bytes), "json_bytes_per_reading": json,
        "frames": ended.frames, "frame_bytes": ended.frame_bytes, "verified": found,
    }))?;
    out.line(format_args!(
        "{} windows stored, {} repeats recognised, {} lost on the way and sent again",
        found.windows_stored, repeats, ended.lost
    ))?;
    out.line(format_args!(
        "{sealed:.2} bytes per reading in sealed frames, {json:.2} as JSON without any protection: {:.0} times less",
        json / sealed.max(f64::MIN_POSITIVE)
    ))?;
    crowd::say_verified(&mut out, &found)?;
    server.stop(&runtime)?;
    crowd::promise(&found, waiting)
}

/// What is learned from, and what the devices measure: never the same generated house, always the same file.
fn recordings(out: &mut Out, args: &DemoArgs) -> Result<(Recording, Vec<Recording>)> {
    if args.source() == Source::Generated {
        let house = |i: u64, rows| {
            readings::climate_of(&ClimateOptions {
                seed: args.seed.wrapping_add(i),
                rows,
                ..ClimateOptions::default()
            })
        };
        out.line(format_args!("{BOLD}a generated indoor climate{BOLD:#}, one house per device"))?;
        let rows = ClimateOptions::default().rows;
        let houses: Result<Vec<_>> = (0..u64::from(args.devices)).map(|i| house(i + 1, rows)).collect();
        return Ok((house(0, TRAIN_ROWS)?, houses?));
    }
    let readings = readings::load(&args.source(), &args.reading)?;
    out.line(format_args!("{BOLD}{}{BOLD:#}", readings.origin))?;
    if let Some(understood) = &readings.understood {
        out.line(understood.to_string().trim_end())?;
    }
    Ok((readings.recording.clone(), vec![readings.recording]))
}
