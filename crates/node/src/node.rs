//! The node: everything a device decides, and nothing it does itself.

mod config;
mod receive;
mod said;
mod sample;
mod transmit;

use kinglet_codec::{Filling, Model};
use kinglet_wire::frame::ShortId;
use kinglet_wire::keys::{DeviceKey, JoinKey, LinkKey};
use kinglet_wire::payload::UpdateState;

use crate::backoff::Random;
use crate::clock::Clock;
use crate::error::{NodeError, OpenError};
use crate::flash::Flash;
use crate::join::Join;
use crate::outbox::Outbox;
use crate::status::StatusDue;
use crate::tail::Tail;
use crate::trial::{Trial, Verdict};
use crate::window::{Reading, SampleTime, Window};
pub use config::{BufferLens, Buffers, Config, Identity, Link};
pub use said::{Downlink, Ignored, Stats, Transmit, What};

/// How long the node waits before it uses flash again that has just failed.
const FLASH_PAUSE_MS: u64 = 1000;
/// Without any authentic answer for this long, or for twice the longest wait, the node asks for new keys.
const SILENCE_MS: u64 = 3600 * 1000;

/// A device: takes samples and downlinks, gives frames, keeps everything that must last in flash.
///
/// It reads no clock, owns no radio and draws no randomness. `now` is always milliseconds since the device (or
/// its process) started, on a clock that only runs forward; a `now` before an earlier one counts as that.
/// `flash` must be the same region in every call.
///
/// 1. [`Node::open`] once.
/// 2. [`Node::handle_sample`] at every sampling period.
/// 3. [`Node::poll_transmit`] until it gives nothing, while the link is up: after every other call, and when
///    [`Node::poll_at`] says so.
/// 4. [`Node::handle_downlink`] with whatever arrives.
/// 5. [`Node::flush`] before a shutdown.
///
/// To use another bundle: `flush`, drop, and `open` with the new model. Waiting windows keep theirs. Over the air that is
/// [`crate::update::Updates`]' business.
pub struct Node<'a> {
    model: Model<'a>,
    buffers: Buffers<'a>,
    config: Config,
    identity: Identity,
    join_key: JoinKey,
    /// Key of what is sent under the present generation.
    up: Option<LinkKey>,
    outbox: Outbox,
    window: Window,
    tail: Tail,
    filling: Filling,
    clock: Clock,
    join: Join,
    status: StatusDue,
    now: u64,
    /// Nothing was sealed yet in this boot.
    is_fresh: bool,
    /// When something was first sent that no authentic answer followed.
    unheard_since: Option<u64>,
    /// Flash has failed: not before then again.
    paused_until: u64,
    battery_mv: Option<u16>,
    heap_free: Option<u32>,
    trial: Option<Trial>,
    code_len_limit: usize,
}

impl<'a> Node<'a> {
    /// Boots: finds what an earlier boot left in `flash`, or begins anew.
    pub fn open(
        flash: &mut dyn Flash,
        identity: Identity,
        model: Model<'a>,
        buffers: Buffers<'a>,
        config: Config,
    ) -> Result<Self, OpenError> {
        let need = BufferLens::of(&model);
        let fits = buffers.steps.len() >= need.steps
            && buffers.workspace.len() >= need.workspace
            && buffers.code.len() >= need.code;
        if !fits {
            return Err(OpenError::BuffersTooSmall);
        }
        if config.fill_len > 0 && config.fill_len < crate::fill_len_min(config.link) {
            return Err(OpenError::FillTooSmall);
        }
        let mut outbox = Outbox::open(flash, &model.fingerprint())?;
        if config.link == Link::LorawanStatic {
            outbox.use_static_keys(&identity.key, &identity.id);
        }
        outbox.give_up(config.given_up);
        let state = outbox.state();
        let is_joined = state.generation > 0 || config.link == Link::LorawanStatic;
        let clock = Clock::new(model.period_ms());
        Ok(Self {
            join_key: identity.key.join_key(&identity.id),
            up: is_joined.then(|| state.secret.up(config.link.suite())),
            code_len_limit: config.code_len_max.min(crate::CODE_LEN_MAX).min(outbox.code_len_max()),
            join: if is_joined { Join::idle() } else { Join::wanted() },
            model,
            buffers,
            config,
            identity,
            outbox,
            window: Window::default(),
            tail: Tail::default(),
            filling: Filling::default(),
            clock,
            status: StatusDue::at_boot(),
            now: 0,
            is_fresh: true,
            unheard_since: None,
            paused_until: 0,
            battery_mv: None,
            heap_free: None,
            trial: config.update.filter(|update| update.is_trial).map(|_| Trial::default()),
        })
    }

    /// Starts again with another model, as after a reboot: same flash, same identity. [`Node::flush`] before.
    pub fn restart(
        &mut self,
        flash: &mut dyn Flash,
        model: Model<'a>,
        buffers: Buffers<'a>,
        config: Config,
    ) -> Result<(), OpenError> {
        let key = DeviceKey::from_bytes(*self.identity.key.expose_secret());
        let (identity, now) = (Identity { id: self.identity.id, key }, self.now);
        *self = Self { now, ..Self::open(flash, identity, model, buffers, config)? };
        Ok(())
    }

    /// Takes one sample: a reading for each of the model's channels. May cut a window.
    ///
    /// After an error of flash the sample is kept if there was room for it, and the window is tried again with
    /// the next call; [`NodeError::SampleRefused`] says that there was none.
    pub fn handle_sample(
        &mut self,
        now: u64,
        flash: &mut dyn Flash,
        at: SampleTime,
        readings: &[Reading],
    ) -> Result<(), NodeError> {
        self.set_now(now);
        self.take_sample(flash, at, readings)
    }

    /// Cuts the window being filled, if it has samples: before a shutdown, or because somebody waits for it.
    pub fn flush(&mut self, now: u64, flash: &mut dyn Flash) -> Result<(), NodeError> {
        self.set_now(now);
        self.cut(flash)
    }

    /// Takes what arrived from the server. Opening it changes `bytes`. Whoever sent it, this is safe to call.
    pub fn handle_downlink(
        &mut self,
        now: u64,
        flash: &mut dyn Flash,
        bytes: &mut [u8],
    ) -> Result<Downlink, NodeError> {
        self.set_now(now);
        self.receive(flash, bytes)
    }

    /// The link says that it delivered `what` (HTTP 200, PUBACK). Anyone in the path can say so: it only puts off
    /// the repeat, by [`Config::receipt_retry_ms`]; the sealed ack alone lets go of a window.
    pub fn handle_receipt(&mut self, now: u64, what: What) {
        self.set_now(now);
        self.put_off(what);
    }

    /// The server says that it cannot open the frames and a join is needed. Anyone in the path can say so: the
    /// node asks for a join, not too often, and keeps its keys and windows until the answer verifies.
    pub fn handle_join_hint(&mut self, now: u64) {
        self.set_now(now);
        self.want_join();
    }

    /// The link is up again: everything due is sent at once instead of after its back-off.
    pub fn handle_link_up(&mut self, now: u64) {
        self.set_now(now);
        self.hurry();
    }

    /// Writes the next frame that is due into `buf`, of at least [`Node::frame_len_max`] bytes. Sends nothing
    /// itself: from then on the frame counts as sent.
    ///
    /// Everything a repeat or a reboot must know of the frame is in flash when this returns.
    pub fn poll_transmit(
        &mut self,
        now: u64,
        flash: &mut dyn Flash,
        random: &mut Random<'_>,
        buf: &mut [u8],
    ) -> Result<Option<Transmit>, NodeError> {
        self.set_now(now);
        let transmit = self.transmit(flash, random, buf);
        if let Err(NodeError::Flash(_)) = transmit {
            self.paused_until = self.now.saturating_add(FLASH_PAUSE_MS);
        }
        transmit
    }

    /// When [`Node::poll_transmit`] shall be called next, if nothing happens before. May lie in the past.
    pub fn poll_at(&self) -> Option<u64> {
        let deadline = self.window.deadline(&self.model);
        let at = deadline.into_iter().chain(self.transmit_at()).min()?;
        Some(at.max(self.paused_until))
    }

    /// The host knows the time: it is `unix_ms` now.
    pub fn set_unix_time(&mut self, now: u64, flash: &mut dyn Flash, unix_ms: i64) -> Result<(), NodeError> {
        self.set_now(now);
        let was_set = self.clock.offset().is_some();
        self.clock.set(self.now, unix_ms);
        self.clock_learned(flash, was_set)
    }

    /// The device's clock: unix milliseconds at `now`, if known.
    pub fn unix_time(&self, now: u64) -> Option<i64> {
        self.clock.unix(now.max(self.now))
    }

    /// Battery voltage for the next status frames.
    pub fn set_battery_mv(&mut self, battery_mv: Option<u16>) {
        self.battery_mv = battery_mv;
    }

    /// Bytes of heap that are free, for the next status frames.
    pub fn set_heap_free(&mut self, heap_free: Option<u32>) {
        self.heap_free = heap_free;
    }

    /// What became of the bundle, if it is on trial and that is known: for [`crate::update::Updates::handle_verdict`].
    pub fn trial(&self) -> Option<Verdict> {
        self.trial.and_then(|trial| trial.verdict())
    }

    /// Where the device stands with updates; if that has changed, the server shall hear it now.
    pub fn set_update(&mut self, update: UpdateState) {
        if self.config.update != Some(update) {
            self.config.update = Some(update);
            if !update.is_trial {
                self.trial = None;
            }
            self.status.want_now(self.now);
        }
    }

    /// The server shall hear a status frame soon.
    pub fn request_status(&mut self) {
        self.status.want(self.now);
    }

    /// Where the node stands.
    pub fn stats(&self) -> Stats {
        Stats {
            n_samples_open: self.window.n_samples(),
            n_windows_waiting: self.outbox.n_waiting(),
            n_in_flight: self.outbox.in_flight().count(),
            windows_lost: self.outbox.lost(),
            generation: self.outbox.state().generation,
            boot: self.outbox.state().boot,
        }
    }

    /// Bytes of the longest frame [`Node::poll_transmit`] can write.
    pub fn frame_len_max(&self) -> usize {
        crate::FRAME_ROOM
            + self.code_len_limit.min(self.model.code_len_max())
            + usize::from(self.config.padding_class)
    }

    /// The device's number on its server, 0 before the first join: what a LoRaWAN host puts back into a downlink.
    pub fn short_id(&self) -> ShortId {
        self.outbox.state().short_id
    }

    /// The model in use.
    pub fn model(&self) -> &Model<'a> {
        &self.model
    }

    /// Asks for a join, where there are any.
    fn want_join(&mut self) {
        if self.config.link != Link::LorawanStatic {
            self.join.hint(self.now);
        }
    }

    fn set_now(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// To be called after the clock was set: windows of this boot get their dates, here and on the server.
    fn clock_learned(&mut self, flash: &mut dyn Flash, was_set: bool) -> Result<(), NodeError> {
        if let (false, Some(offset)) = (was_set, self.clock.offset()) {
            self.status.clock_was_set(self.now);
            self.outbox.set_dated(flash, offset)?;
        }
        Ok(())
    }
}
