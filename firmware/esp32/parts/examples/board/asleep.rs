//! A board that sleeps between samples: each start begins with nothing but flash and the memory that stays on.

use std::time::{Duration, Instant};

use kinglet_codec::Model;
use kinglet_esp32_parts::sensor::{Sensor, channels};
use kinglet_esp32_parts::sleep::{KEPT_LEN, Kept, Next, Session};
use kinglet_esp32_parts::{exchange, owner};
use kinglet_node::provision::Given;
use kinglet_node::{BufferLens, Buffers, Config, MemFlash, Node};

use crate::net::Way;
use crate::{Result, SECTOR_LEN, exchange_all, measure};

/// What is still there after a start.
struct Lasting {
    flash: MemFlash<Vec<u8>>,
    memory: [u8; KEPT_LEN],
    started: Instant,
}

pub(crate) fn run(given: &Given<'_>, readings: &str) -> Result<()> {
    let flash = MemFlash::new(vec![0xFF; 64 * SECTOR_LEN as usize], SECTOR_LEN, 4);
    let mut board = Lasting { flash, memory: [0; KEPT_LEN], started: Instant::now() };
    let (mut lines, mut n_sessions) = (readings.lines().enumerate().peekable(), 0);
    while lines.peek().is_some() {
        n_sessions += u32::from(board.start(given, &mut || lines.next())?);
    }
    // Nobody samples any more; what is left goes out by hand.
    let tag = owner::tag(&given.identity().ok_or("no id or key")?);
    let mut kept = Kept::read(&board.memory, &tag, board.now()).ok_or("what was kept is lost")?;
    board.session(given, &mut kept, true)?;
    eprintln!("{n_sessions} sessions");
    Ok(())
}

impl Lasting {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What the firmware's `main` does; true if the radio was on.
    fn start<'l>(
        &mut self,
        given: &Given<'_>,
        next_line: &mut dyn FnMut() -> Option<(usize, &'l str)>,
    ) -> Result<bool> {
        let model = Model::parse(given.model)?;
        let tag = owner::tag(&given.identity().ok_or("no id or key")?);
        let kept = Kept::read(&self.memory, &tag, self.now());
        let by_hand = kept.is_none();
        let mut kept = kept.unwrap_or_else(|| Kept::new(tag));
        kept.fit(model.period_ms(), model.samples());
        if kept.is_due(self.now()) {
            let Some((n, line)) = next_line() else { return Ok(false) };
            let measured = measure(line, n);
            let [temperature, humidity] =
                [measured.temperature, measured.humidity].map(|r| r.map_or(String::new(), |v| v.to_string()));
            println!("{n},{temperature},{humidity}");
            kept.take(self.now(), measured);
        }
        let next = kept.next(self.now(), by_hand);
        if let Next::Sleep(until) = next {
            kept.slept();
            kept.write(&mut self.memory);
            std::thread::sleep(Duration::from_millis(until.saturating_sub(self.now())));
        } else {
            self.session(given, &mut kept, next == Next::Send)?;
            kept.write(&mut self.memory);
        }
        Ok(next == Next::Send)
    }

    fn session(&mut self, given: &Given<'_>, kept: &mut Kept, has_radio: bool) -> Result<()> {
        let model = Model::parse(given.model)?;
        let fed = channels(Sensor::parse(given.sensor)?, &model)?;
        let lens = BufferLens::of(&model);
        let (mut steps, mut workspace) = (vec![0; lens.steps], vec![0; lens.workspace]);
        let mut code = vec![0; lens.code];
        let buffers = Buffers { steps: &mut steps, workspace: &mut workspace, code: &mut code };
        let identity = given.identity().ok_or("no id or key")?;
        let mut way = Way::new(given)?;
        let started = self.started;
        let now = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut random = |out: &mut [u8]| getrandom::fill(out).expect("the system gives random numbers");
        let mut node = Node::open(&mut self.flash, identity, model, buffers, Config::default())?;
        let mut frame = vec![0; node.frame_len_max()];
        let began = now();
        exchange::give(&mut node, began, &mut self.flash, kept, &fed)?;
        loop {
            if has_radio {
                exchange_all(&mut node, &mut self.flash, &now, &mut random, &mut way, &mut frame)?;
            }
            let session = Session {
                began,
                heard: began,
                is_busy: false,
                n_waiting: node.stats().n_windows_waiting,
                is_due: node.poll_at().is_some_and(|at| at <= now()),
                has_radio,
                by_hand: false,
            };
            if kept.is_over(now(), &session) {
                kept.ended(now(), &session, node.unix_time(now()), 0);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
