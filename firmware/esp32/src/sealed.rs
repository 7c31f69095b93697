//! The loop: sample, hand over, post what is due, take what comes back.

use embassy_futures::select::select;
use embassy_time::{Duration, Instant, Timer};
use esp_hal::rng::Rng;
use kinglet_codec::Model;
use kinglet_esp32_parts::sleep::Session;
use kinglet_esp32_parts::{exchange, owner, sensor};
use kinglet_node::update::{Updates, Wanted};
use kinglet_node::{BufferLens, Buffers, Config, FlashError, Node, SampleTime};
use kinglet_wire::update::UpdateKey;

use crate::flash::Region;
use crate::radio::{ANSWERS, REQUESTS};
use crate::say;
use crate::{Board, adopt, reset};

/// The loop comes round at least this often: the watchdog wants to be fed, Wi-Fi to be looked at.
const TURN_MS: u64 = 1_000;
/// A line about where things stand.
const REPORT_MS: u64 = 60_000;

/// Runs as long as the board does; gives the reason if it cannot begin.
pub async fn run(board: Board) -> &'static str {
    let Board { given, mut driver, sensor, stack, mut sleeper, mut watchdog, chip } = board;
    let Some(identity) = given.identity() else {
        return "no device id or key was given: `kinglet device flash-config --key FILE`";
    };
    let Ok(provisioned) = Model::parse(given.model) else {
        return "no bundle was given, or one of another version: `kinglet device flash-config --bundle FILE`";
    };
    let mut bundles = Region::find(chip, "bundles");
    let mut updates = None;
    let mut model = provisioned;
    if let (Some(key), Some(region)) = (given.update_key, &mut bundles) {
        match start(region, key, &provisioned) {
            Ok((started, changed)) => {
                model = changed.unwrap_or(provisioned);
                updates = Some(started);
            }
            Err(error) => say::warning!("no bundles over the air: {error}"),
        }
    }
    let fed = match sensor::channels(sensor, &model) {
        Ok(fed) => fed,
        Err(why) => {
            say::error!("{why}");
            return "sensor and bundle do not fit";
        }
    };
    if model.period_ms() < sensor.pause_ms() {
        return "the bundle wants samples faster than this sensor takes them";
    }
    let (Some(owned), Some(mut outbox)) = (Region::find(chip, "owner"), Region::find(chip, "outbox")) else {
        return "flash has no partition `owner` or `outbox`: flash the image with partitions.csv";
    };
    if adopt(owned, outbox, &owner::tag(&identity)).is_err() {
        return "flash does not take what is written to it";
    }
    let lens = BufferLens::of(&model);
    let (mut steps, mut workspace) = (alloc::vec![0; lens.steps], alloc::vec![0; lens.workspace]);
    let mut code = alloc::vec![0; lens.code];
    let buffers = Buffers { steps: &mut steps, workspace: &mut workspace, code: &mut code };
    let given_up = updates.as_ref().map(Updates::given_up).unwrap_or_default();
    let config = Config {
        reset: reset(),
        update: updates.as_ref().map(Updates::state),
        given_up,
        ..Config::default()
    };
    let mut node = match Node::open(&mut outbox, identity, model, buffers, config) {
        Ok(node) => node,
        Err(error) => {
            say::error!("{error}");
            return "the outbox cannot be used";
        }
    };
    let mut frame = alloc::vec![0; node.frame_len_max()];
    let mut random = |out: &mut [u8]| Rng::new().read(out);
    // A board that sleeps has one uptime through all its starts.
    let base_ms =
        sleeper.as_ref().map_or(0, |sleeper| sleeper.now().saturating_sub(Instant::now().as_millis()));
    let now = || base_ms + Instant::now().as_millis();
    let period_ms = u64::from(model.period_ms());
    let (mut sample_at, mut report_at) = (now(), now());
    let (mut was_up, mut waiting_for_answer) = (false, false);
    if let Some(sleeper) = &mut sleeper {
        sleeper.kept.fit(model.period_ms(), model.samples());
        let done = exchange::give(&mut node, now(), &mut outbox, &mut sleeper.kept, &fed);
        if let Err(error) = done {
            say::warning!("{error}");
        }
    }
    let (began, mut heard) = (now(), now());
    // The piece of a bundle that was asked for.
    let mut asked: Option<Wanted> = None;
    loop {
        watchdog.feed();
        if let Some(sleeper) = &mut sleeper {
            sleeper.sample(&mut driver).await;
            sample_at = sleeper.kept.due_at();
        } else if now() >= sample_at {
            let sample = driver.measure().await;
            let taken = node.handle_sample(now(), &mut outbox, SampleTime::Now, &sample.readings(&fed));
            if let Err(error) = taken {
                say::warning!("{error}");
            }
            // A beat that was missed is missed: later samples keep theirs.
            sample_at += ((now() - sample_at) / period_ms + 1) * period_ms;
        }
        let is_up = stack.is_some_and(|stack| stack.is_config_up());
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
                Err(error) => say::warning!("{error}"),
            }
        }
        if let (Some(updates), Some(region)) = (&mut updates, &mut bundles) {
            if let Some(verdict) = node.trial()
                && let Err(error) = updates.handle_verdict(region, verdict)
            {
                say::warning!("{error}");
            }
            node.set_update(updates.state());
            if updates.is_restart_due() && !waiting_for_answer {
                say::info!("another bundle: starting again");
                if node.flush(now(), &mut outbox).is_ok() {
                    match &sleeper {
                        Some(sleeper) => sleeper.end(),
                        None => esp_hal::system::software_reset(),
                    }
                }
            }
            if let (true, false, Some(wanted)) = (is_up, waiting_for_answer, updates.wanted(now())) {
                waiting_for_answer = true;
                asked = Some(wanted);
                REQUESTS.send(exchange::fetch(&wanted)).await;
            }
        }
        if let Some(sleeper) = &mut sleeper {
            let session = Session {
                began,
                heard,
                is_busy: waiting_for_answer
                    || updates.as_ref().is_some_and(|updates| updates.poll_at().is_some()),
                n_waiting: node.stats().n_windows_waiting,
                is_due: node.poll_at().is_some_and(|at| at <= now()),
                has_radio: stack.is_some(),
                by_hand: sleeper.by_hand,
            };
            if sleeper.kept.is_over(now(), &session) {
                sleeper.kept.ended(now(), &session, node.unix_time(now()), Rng::new().random());
                if session.has_radio {
                    sleeper.end();
                }
                sleeper.go_on().await;
                // The time to send has come meanwhile: a start that knows it has a radio.
                sleeper.end();
            }
        }
        if now() >= report_at {
            let stats = node.stats();
            node.set_heap_free(Some(esp_alloc::HEAP.free() as u32));
            say::info!(
                "boot {}, generation {}, {} windows wait, {} lost, heap {} B free",
                stats.boot,
                stats.generation,
                stats.n_windows_waiting,
                stats.windows_lost,
                esp_alloc::HEAP.free()
            );
            report_at += REPORT_MS;
        }
        let due = node.poll_at().into_iter().chain(updates.as_ref().and_then(Updates::poll_at)).min();
        let due = due.filter(|_| is_up && !waiting_for_answer).unwrap_or(u64::MAX);
        let wake = due.min(sample_at).min(now() + TURN_MS);
        let woken =
            select(Timer::at(Instant::from_millis(wake.max(now()) - base_ms)), ANSWERS.receive()).await;
        if let embassy_futures::select::Either::Second(answer) = woken {
            waiting_for_answer = false;
            if let (Some(wanted), Some(updates), Some(region)) = (asked.take(), &mut updates, &mut bundles) {
                match answer.filter(|answer| answer.status == 200) {
                    Some(piece) => {
                        if let Err(error) = updates.handle_bytes(now(), region, wanted.from, &piece.body) {
                            say::warning!("{error}");
                        }
                    }
                    None => updates.handle_nothing(now()),
                }
                continue;
            }
            let Some(incoming) = answer else { continue };
            heard = now();
            let status = incoming.status;
            match exchange::take(&mut node, now(), &mut outbox, incoming) {
                Ok(exchange::Taken { offer: Some(offer), .. }) => {
                    if let (Some(updates), Some(region)) = (&mut updates, &mut bundles)
                        && updates.handle_offer(region, &offer).unwrap_or(false)
                    {
                        say::info!("update {} is offered", offer.unverified().serial);
                    }
                }
                Ok(taken) if taken.joined => say::info!("joined"),
                Ok(taken) if taken.n_acked > 0 => say::info!("{} windows stored", taken.n_acked),
                Ok(_) if status >= 400 => say::warning!("the server refuses: HTTP {status}"),
                Ok(_) => {}
                Err(error) => say::warning!("{error}"),
            }
            // Where flash fails, the node asks for a pause; this keeps a fast server from making the loop spin.
            Timer::after(Duration::from_millis(10)).await;
        }
    }
}

/// What came over the air before, and the model to use if it is one of that.
fn start(
    region: &mut Region,
    key: UpdateKey,
    provisioned: &Model<'_>,
) -> Result<(Updates, Option<Model<'static>>), FlashError> {
    let mut updates = Updates::open(region, key, &provisioned.fingerprint())?;
    let bytes: &'static mut [u8] = alloc::vec![0; updates.model_len()].leak();
    let len = updates.load(region, provisioned, bytes)?;
    // It stays in memory from now on; `load` has read it once already.
    let model = len.and_then(|len| Model::parse(bytes.get(..len)?).ok());
    Ok((updates, model))
}
