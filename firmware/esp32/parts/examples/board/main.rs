//! The firmware's own parts as a program of the host: a DHT22 that exists only as pulses, a node on flash in memory, and
//! real requests to a real server. `cargo xtask firmware` runs it.
//!
//! `board RECORD READINGS.csv`: RECORD as `kinglet device flash-config --port -` prints it. Readings are taken at the
//! bundle's period; each that was taken is printed as `n,temperature,humidity`, empty where the wire was disturbed.

mod asleep;
mod net;

use std::io::Write as _;
use std::time::{Duration, Instant};

use kinglet_codec::Model;
use kinglet_esp32_parts::dht::{self, Kind};
use kinglet_esp32_parts::exchange;
use kinglet_esp32_parts::sensor::{Sample, Sensor, channels};
use kinglet_node::provision::{Given, Receiver, Reply, Slots};
use kinglet_node::update::Updates;
use kinglet_node::{BufferLens, Buffers, Config, MemFlash, Node, SampleTime};
use kinglet_wire::update::{SignedUpdate, UpdateKey};

use crate::net::Way;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SECTOR_LEN: u32 = 4096;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, record, readings] = args.as_slice() else { return Err("board RECORD READINGS.csv".into()) };
    let record = provisioned(&std::fs::read_to_string(record)?)?;
    let given = Given::parse(&record)?;
    if given.sleeps {
        return asleep::run(&given, &std::fs::read_to_string(readings)?);
    }
    let mut way = Way::new(&given)?;
    let provisioned = Model::parse(given.model)?;
    // Two slots of 64 KiB, as in partitions.csv.
    let mut bundles = MemFlash::new(vec![0xFF; 32 * SECTOR_LEN as usize], SECTOR_LEN, 4);
    let (mut updates, mut model) = (None, provisioned);
    if let Some(key) = given.update_key {
        updates = Some(start(&mut bundles, key, &provisioned, &mut model)?);
    }
    let sensor = Sensor::parse(given.sensor)?;
    let fed = channels(sensor, &model)?;
    let identity = given.identity().ok_or("no id or key")?;
    let lens = BufferLens::of(&model);
    let (mut steps, mut workspace, mut code) =
        (vec![0; lens.steps], vec![0; lens.workspace], vec![0; lens.code]);
    let buffers = Buffers { steps: &mut steps, workspace: &mut workspace, code: &mut code };
    let mut flash = MemFlash::new(vec![0xFF; 64 * SECTOR_LEN as usize], SECTOR_LEN, 4);
    let state = updates.as_ref().map(Updates::state);
    let mut node =
        Node::open(&mut flash, identity, model, buffers, Config { update: state, ..Config::default() })?;
    let mut frame = vec![0; node.frame_len_max()];
    let started = Instant::now();
    let now = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut random = |out: &mut [u8]| getrandom::fill(out).expect("the system gives random numbers");

    // Windows that are cut before the server has said what time it is are dated later: that shall happen, too.
    let text = std::fs::read_to_string(readings)?;
    let period = Duration::from_millis(model.period_ms().into());
    for (n, line) in text.lines().enumerate() {
        std::thread::sleep((period * n as u32).saturating_sub(started.elapsed()));
        let measured = measure(line, n);
        let [temperature, humidity] =
            [measured.temperature, measured.humidity].map(|r| r.map_or(String::new(), |v| v.to_string()));
        println!("{n},{temperature},{humidity}");
        node.handle_sample(now(), &mut flash, SampleTime::Now, &measured.readings(&fed))?;
        exchange_all(&mut node, &mut flash, &now, &mut random, &mut way, &mut frame)?;
        let (Some(key), Some(updates)) = (given.update_key, &mut updates) else { continue };
        if let Some(offer) = OFFERED.with(|offered| offered.take()) {
            updates.handle_offer(&mut bundles, &offer).map_err(|e| e.to_string())?;
        }
        while let Some(wanted) = updates.wanted(now()) {
            match way.request(&exchange::fetch(&wanted)) {
                Ok(piece) if piece.status == 200 => updates
                    .handle_bytes(now(), &mut bundles, wanted.from, &piece.body)
                    .map_err(|e| e.to_string())?,
                _ => updates.handle_nothing(now()),
            }
        }
        if let Some(verdict) = node.trial() {
            updates.handle_verdict(&mut bundles, verdict).map_err(|e| e.to_string())?;
        }
        node.set_update(updates.state());
        if updates.is_restart_due() {
            // What the board does by a reset.
            node.flush(now(), &mut flash)?;
            *updates = start(&mut bundles, key, &provisioned, &mut model)?;
            let lens = BufferLens::of(&model);
            let buffers = Buffers {
                steps: vec![0; lens.steps].leak(),
                workspace: vec![0; lens.workspace].leak(),
                code: vec![0; lens.code].leak(),
            };
            let config = Config { update: Some(updates.state()), ..Config::default() };
            node.restart(&mut flash, model, buffers, config)?;
            frame = vec![0; node.frame_len_max()];
        }
    }
    node.flush(now(), &mut flash)?;
    let end = Instant::now() + Duration::from_secs(20);
    while node.stats().n_windows_waiting > 0 && Instant::now() < end {
        exchange_all(&mut node, &mut flash, &now, &mut random, &mut way, &mut frame)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    std::io::stdout().flush()?;
    if node.stats().n_windows_waiting > 0 { Err("windows were not acknowledged".into()) } else { Ok(()) }
}

thread_local! {
    /// What the server has offered since the loop last looked.
    static OFFERED: std::cell::Cell<Option<SignedUpdate>> = const { std::cell::Cell::new(None) };
}

/// What `sealed.rs` does at each start.
fn start(
    bundles: &mut MemFlash<Vec<u8>>,
    key: UpdateKey,
    provisioned: &Model<'_>,
    model: &mut Model<'_>,
) -> Result<Updates> {
    let mut updates = Updates::open(bundles, key, &provisioned.fingerprint()).map_err(|e| e.to_string())?;
    let bytes = vec![0; updates.model_len()].leak();
    if let Some(len) = updates.load(bundles, provisioned, bytes).map_err(|e| e.to_string())? {
        *model = Model::parse(&bytes[..len])?;
    }
    Ok(updates)
}

/// The record, as the lines of a serial port bring it to flash.
fn provisioned(lines: &str) -> Result<Vec<u8>> {
    let mut flash = MemFlash::new(vec![0xFF; 32 * SECTOR_LEN as usize], SECTOR_LEN, 4);
    let mut receiver = Receiver::new(Slots::open(&mut flash).map_err(|e| e.to_string())?);
    let last = lines.lines().filter_map(|line| receiver.line(&mut flash, line.as_bytes())).last();
    if last != Some(Reply::Stored) {
        return Err(format!("the provisioning was not stored: {last:?}").into());
    }
    let slots = Slots::open(&mut flash).map_err(|e| e.to_string())?;
    let mut record = vec![0; slots.record_len().ok_or("no record")?];
    slots.read(&mut flash, &mut record).map_err(|e| e.to_string())?;
    Ok(record)
}

/// What the firmware's sensor task does, with pulses made up from `temperature,humidity` in tenths.
fn measure(line: &str, n: usize) -> Sample {
    let cell = |idx: usize| line.split(',').nth(idx).and_then(|cell| cell.trim().parse::<i16>().ok());
    let (Some(temperature), Some(humidity)) = (cell(0), cell(1)) else { return Sample::default() };
    let raw = if temperature < 0 { temperature.unsigned_abs() | 0x8000 } else { temperature.unsigned_abs() };
    let [t0, t1] = raw.to_be_bytes();
    let [h0, h1] = humidity.to_be_bytes();
    let mut phase = 0_i16;
    let mut pulses = dht::pulses_of([h0, h1, t0, t1], || {
        phase = (phase + 7) % 13;
        phase - 6
    });
    if n % 53 == 17 {
        // Somebody slammed a door.
        pulses[20].high_us = 300;
    }
    match dht::decode(Kind::Dht22, &pulses) {
        Ok(m) => Sample { temperature: Some(m.temperature), humidity: Some(m.humidity), pressure: None },
        Err(_) => Sample::default(),
    }
}

fn exchange_all(
    node: &mut Node<'_>,
    flash: &mut MemFlash<Vec<u8>>,
    now: &dyn Fn() -> u64,
    random: &mut dyn FnMut(&mut [u8]),
    way: &mut Way<'_>,
    frame: &mut [u8],
) -> Result<()> {
    while let Some(outgoing) = exchange::gather(node, now(), flash, random, frame)? {
        match way.request(&outgoing) {
            Ok(incoming) => {
                let taken = exchange::take(node, now(), flash, incoming)?;
                if taken.offer.is_some() {
                    OFFERED.with(|offered| offered.set(taken.offer));
                }
            }
            Err(error) => {
                // Once is enough to be seen; the node waits before it tries again.
                eprintln!("no answer: {error}");
                return Ok(());
            }
        }
    }
    Ok(())
}
