//! The loop: sample, hand over, post what is due, take what comes back.

use embassy_futures::select::select;
use embassy_time::{Duration, Instant, Timer};
use esp_hal::rng::Rng;
use kinglet_codec::Model;
use kinglet_esp32_parts::{exchange, owner, sensor};
use kinglet_node::{BufferLens, Buffers, Config, Identity, Node, SampleTime};

use crate::flash::Region;
use crate::radio::{ANSWERS, REQUESTS};
use crate::{Board, adopt, reset};

/// The loop comes round at least this often: the watchdog wants to be fed, Wi-Fi to be looked at.
const TURN_MS: u64 = 1_000;
/// A line about where things stand.
const REPORT_MS: u64 = 60_000;

/// Runs as long as the board does; gives the reason if it cannot begin.
pub async fn run(board: Board) -> &'static str {
    let Board { given, mut driver, sensor, stack, mut watchdog, chip } = board;
    let (Some(id), Some(key)) = (given.id, given.key) else {
        return "no device id or key was given: `kinglet device flash-config --key FILE`";
    };
    let Ok(model) = Model::parse(given.model) else {
        return "no bundle was given, or one of another version: `kinglet device flash-config --bundle FILE`";
    };
    let fed = match sensor::channels(sensor, &model) {
        Ok(fed) => fed,
        Err(why) => {
            log::error!("{why}");
            return "sensor and bundle do not fit";
        }
    };
    if model.period_ms() < sensor.pause_ms() {
        return "the bundle wants samples faster than this sensor takes them";
    }
    let (Some(owned), Some(mut outbox)) = (Region::find(chip, "owner"), Region::find(chip, "outbox")) else {
        return "flash has no partition `owner` or `outbox`: flash the image with partitions.csv";
    };
    let identity = Identity { id, key };
    if adopt(owned, outbox, &owner::tag(&identity)).is_err() {
        return "flash does not take what is written to it";
    }
    let lens = BufferLens::of(&model);
    let (mut steps, mut workspace) = (alloc::vec![0; lens.steps], alloc::vec![0; lens.workspace]);
    let mut code = alloc::vec![0; lens.code];
    let buffers = Buffers { steps: &mut steps, workspace: &mut workspace, code: &mut code };
    let config = Config { reset: reset(), ..Config::default() };
    let mut node = match Node::open(&mut outbox, identity, model, buffers, config) {
        Ok(node) => node,
        Err(error) => {
            log::error!("{error}");
            return "the outbox cannot be used";
        }
    };
    let mut frame = alloc::vec![0; node.frame_len_max()];
    let mut random = |out: &mut [u8]| Rng::new().read(out);
    let now = || Instant::now().as_millis();
    let period_ms = u64::from(model.period_ms());
    let (mut sample_at, mut report_at) = (now(), now());
    let (mut was_up, mut waiting_for_answer) = (false, false);
    loop {
        watchdog.feed();
        if now() >= sample_at {
            let sample = driver.measure().await;
            let taken = node.handle_sample(now(), &mut outbox, SampleTime::Now, &sample.readings(&fed));
            if let Err(error) = taken {
                log::warn!("{error}");
            }
            // A beat that was missed is missed: later samples keep theirs.
            sample_at += ((now() - sample_at) / period_ms + 1) * period_ms;
        }
        let is_up = stack.is_config_up();
        if is_up && !was_up {
            node.handle_link_up(now());
        }
        was_up = is_up;
        if is_up && !waiting_for_answer && node.poll_at().is_some_and(|at| at <= now()) {
            match exchange::gather(&mut node, now(), &mut outbox, &mut random, &mut frame) {
                Ok(Some(outgoing)) => {
                    waiting_for_answer = true;
                    REQUESTS.send(outgoing).await;
                }
                Ok(None) => {}
                Err(error) => log::warn!("{error}"),
            }
        }
        if now() >= report_at {
            let stats = node.stats();
            log::info!(
                "boot {}, generation {}, {} windows wait, {} lost, heap {} B free",
                stats.boot,
                stats.generation,
                stats.n_windows_waiting,
                stats.windows_lost,
                esp_alloc::HEAP.free()
            );
            report_at += REPORT_MS;
        }
        let due = node.poll_at().filter(|_| is_up && !waiting_for_answer).unwrap_or(u64::MAX);
        let wake = due.min(sample_at).min(now() + TURN_MS);
        let woken = select(Timer::at(Instant::from_millis(wake.max(now()))), ANSWERS.receive()).await;
        if let embassy_futures::select::Either::Second(answer) = woken {
            waiting_for_answer = false;
            let Some(incoming) = answer else { continue };
            let status = incoming.status;
            match exchange::take(&mut node, now(), &mut outbox, incoming) {
                Ok(taken) if taken.joined => log::info!("joined"),
                Ok(taken) if taken.n_acked > 0 => log::info!("{} windows stored", taken.n_acked),
                Ok(_) if status >= 400 => log::warn!("the server refuses: HTTP {status}"),
                Ok(_) => {}
                Err(error) => log::warn!("{error}"),
            }
            // Where flash fails, the node asks for a pause; this keeps a fast server from making the loop spin.
            Timer::after(Duration::from_millis(10)).await;
        }
    }
}
