//! Another bundle over the air: fetched in pieces, tried, and given up again if nobody takes what is made with it.
//!
//! ```text
//! offered ──▶ fetched ──▶ whole ──restart──▶ on trial ──a window is acked──▶ accepted
//!    │            │                              │
//!    ▼            ▼                              ▼
//! refused     begun anew                  refused, restart: the bundle before
//! ```
//!
//! Two slots of a flash region of its own hold the bundle in use and the next one; the one a board was provisioned with lies
//! elsewhere and is what remains when both are gone. A signature is checked before anything is erased, the identity before
//! anything is used, and a restart is all it takes to change: [`Updates::open`] then says which bundle to read.
//!
//! What the caller does, at each start and in its loop:
//!
//! 1. [`Updates::open`], then [`Updates::load`]: the model to use, and [`Updates::state`] for [`crate::Config::update`].
//! 2. [`crate::Downlink::Offered`] → [`Updates::handle_offer`].
//! 3. [`Updates::wanted`] → asks the server for those bytes → [`Updates::handle_bytes`] or [`Updates::handle_nothing`].
//! 4. [`crate::Node::trial`] has a verdict → [`Updates::handle_verdict`].
//! 5. [`Updates::is_restart_due`] → [`crate::Node::flush`], and begin again at 1.

mod slot;

use kinglet_codec::Model;
use kinglet_wire::Fingerprint;
use kinglet_wire::payload::{UpdateRefused, UpdateState};
use kinglet_wire::update::{SignedUpdate, Update, UpdateKey};

use crate::flash::{Flash, FlashError};
use crate::trial::Verdict;
use slot::{Mark, Slot};

/// Bytes asked for at once.
pub const PIECE_LEN_MAX: usize = 1024;
/// Starts of a bundle on trial before it is given up.
pub const BOOTS_MAX: u32 = 8;
/// Wait after a piece that did not come; it doubles up to [`RETRY_MAX_MS`].
const RETRY_MIN_MS: u64 = 5_000;
/// Longest wait before a piece is asked for again, and the wait after a model that was damaged on its way.
const RETRY_MAX_MS: u64 = 3600 * 1000;

/// The updates of one device.
pub struct Updates {
    key: UpdateKey,
    /// The bundle the device was provisioned with: slots of another belong to a device before it.
    base: Fingerprint,
    slots: [Option<Slot>; 2],
    /// The slot in use; `None` for the provisioned bundle.
    current: Option<usize>,
    fetching: Option<Fetching>,
    refused: Option<(u32, UpdateRefused)>,
    retry_at: u64,
    n_failed: u8,
    restart_due: bool,
}

#[derive(Clone, Copy)]
struct Fetching {
    idx: usize,
    update: Update,
    writer: slot::Writer,
}

/// The next piece to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of which bundle's model.
    pub fingerprint: Fingerprint,
    /// From which byte on.
    pub from: u32,
    /// How many bytes.
    pub len: u32,
}

impl Updates {
    /// Finds what an earlier start has left in `flash`, and counts a start of a bundle on trial.
    ///
    /// `base` is the fingerprint of the bundle the device was provisioned with.
    pub fn open(flash: &mut dyn Flash, key: UpdateKey, base: &Fingerprint) -> Result<Self, FlashError> {
        let mut slots = [slot::find(flash, 0)?, slot::find(flash, 1)?];
        for slot in &mut slots {
            *slot = slot.filter(|slot| slot.base == *base);
        }
        let mut this = Self {
            key,
            base: *base,
            slots,
            current: None,
            fetching: None,
            refused: None,
            retry_at: 0,
            n_failed: 0,
            restart_due: false,
        };
        let refused = slots.iter().flatten().filter_map(|slot| Some((slot.update.serial, slot.refused?)));
        this.refused = refused.max_by_key(|(serial, _)| *serial);
        this.choose(flash)?;
        this.resume(flash)?;
        Ok(this)
    }

    /// Reads the model in use into the front of `out`, and gives its length; `None` for the provisioned one.
    ///
    /// A model that cannot be used is given up here, and the one before it is read instead. `provisioned` says which
    /// channels there are.
    pub fn load(
        &mut self,
        flash: &mut dyn Flash,
        provisioned: &Model<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, FlashError> {
        // Each round uses a slot or gives one up.
        while let Some(idx) = self.current {
            let Some(slot) = self.slots[idx] else { break };
            let len = slot.update.model_len as usize;
            let why = match out.get_mut(..len) {
                None => UpdateRefused::TooLong,
                Some(out) => {
                    slot.read(flash, out)?;
                    match Model::parse(out) {
                        Ok(model) if model.identity() != slot.update.identity => UpdateRefused::Model,
                        Ok(model) if has_channels_of(&model, provisioned) => return Ok(Some(len)),
                        Ok(_) => UpdateRefused::Channels,
                        Err(_) => UpdateRefused::Model,
                    }
                }
            };
            self.refuse_current(flash, why)?;
            self.choose(flash)?;
        }
        Ok(None)
    }

    /// Bytes [`Updates::load`] needs room for.
    pub fn model_len(&self) -> usize {
        let len = |slot: Slot| slot.update.model_len as usize;
        self.slots.into_iter().flatten().filter(|slot| slot.is_usable()).map(len).max().unwrap_or(0)
    }

    /// What a status frame says.
    pub fn state(&self) -> UpdateState {
        let current = self.current.and_then(|idx| self.slots[idx]);
        UpdateState {
            serial: current.map_or(0, |slot| slot.update.serial),
            is_trial: current.is_some_and(|slot| !slot.is_accepted),
            refused: self.refused,
        }
    }

    /// The bundles that were given up: windows made with them are for nobody.
    pub fn given_up(&self) -> [Option<Fingerprint>; 2] {
        let current =
            self.current.and_then(|idx| self.slots[idx]).map_or(self.base, |slot| slot.update.fingerprint());
        self.slots.map(|slot| {
            let slot = slot.filter(|slot| slot.refused.is_some())?;
            Some(slot.update.fingerprint()).filter(|fingerprint| *fingerprint != current)
        })
    }

    /// The server offers an update. True if that is news: it is being fetched now, or was refused, which a status frame
    /// shall say.
    pub fn handle_offer(&mut self, flash: &mut dyn Flash, offer: &SignedUpdate) -> Result<bool, FlashError> {
        let said = *offer.unverified();
        let is_known = self.refused.is_some_and(|(serial, _)| serial == said.serial)
            || self.fetching.is_some_and(|fetching| fetching.update == said)
            || self.restart_due;
        if is_known || self.state().serial == said.serial {
            return Ok(false);
        }
        let newest = self.slots.iter().flatten().filter(|slot| slot.refused.is_some() || slot.is_whole);
        let floor = newest.map(|slot| slot.update.serial).max().unwrap_or(0);
        let why = match offer.verify(&self.key) {
            Err(_) => UpdateRefused::Signature,
            Ok(update) if update.serial <= floor => UpdateRefused::Older,
            Ok(update) if update.model_len > slot::room(flash) => UpdateRefused::TooLong,
            Ok(update) => {
                // The bundle in use, tried or not, is never erased for the next.
                let idx = self.current.map_or(0, |idx| 1 - idx);
                self.begin(flash, idx, update)?;
                return Ok(true);
            }
        };
        self.refused = Some((said.serial, why));
        Ok(true)
    }

    /// The bytes to be asked for, if any are at this time.
    pub fn wanted(&self, now: u64) -> Option<Wanted> {
        let Fetching { update, writer, .. } = self.fetching?;
        let len = (update.model_len - writer.have()).min(PIECE_LEN_MAX as u32);
        (now >= self.retry_at).then_some(Wanted {
            fingerprint: update.fingerprint(),
            from: writer.have(),
            len,
        })
    }

    /// When [`Updates::wanted`] gives something.
    pub fn poll_at(&self) -> Option<u64> {
        self.fetching.map(|_| self.retry_at)
    }

    /// Bytes of the model that is being fetched, from `from` on. What was not asked for is passed over.
    pub fn handle_bytes(
        &mut self,
        now: u64,
        flash: &mut dyn Flash,
        from: u32,
        bytes: &[u8],
    ) -> Result<(), FlashError> {
        let Some(Fetching { idx, update, mut writer }) = self.fetching else { return Ok(()) };
        let fits = from == writer.have() && bytes.len() as u64 <= u64::from(update.model_len - from);
        if bytes.is_empty() || !fits {
            self.handle_nothing(now);
            return Ok(());
        }
        if let Err(error) = writer.push(flash, bytes) {
            // What is in flash is whole sectors and a doubtful one: found again at the next start, begun anew now.
            self.begin(flash, idx, update)?;
            self.handle_nothing(now);
            return Err(error);
        }
        self.n_failed = 0;
        self.fetching = Some(Fetching { idx, update, writer });
        if writer.have() < update.model_len {
            return Ok(());
        }
        self.finish(now, flash, idx, update)
    }

    /// What was asked for did not come.
    pub fn handle_nothing(&mut self, now: u64) {
        let wait = RETRY_MIN_MS << self.n_failed.min(12);
        self.n_failed = self.n_failed.saturating_add(1);
        self.retry_at = now.saturating_add(wait.min(RETRY_MAX_MS));
    }

    /// What became of the bundle on trial.
    pub fn handle_verdict(&mut self, flash: &mut dyn Flash, verdict: Verdict) -> Result<(), FlashError> {
        let Some(idx) = self.current else { return Ok(()) };
        let Some(slot) = self.slots[idx].filter(|slot| !slot.is_accepted) else { return Ok(()) };
        match verdict {
            Verdict::Accepted => {
                self.slots[idx] = Some(slot.mark(flash, Mark::Accepted)?);
            }
            Verdict::NotAccepted => {
                self.refuse_current(flash, UpdateRefused::NotAccepted)?;
                self.restart_due = true;
            }
        }
        Ok(())
    }

    /// Another bundle is to be used: flush the node and start again.
    pub fn is_restart_due(&self) -> bool {
        self.restart_due
    }

    /// The slot to be used: the newest whole one that was not given up. A start on trial is counted.
    fn choose(&mut self, flash: &mut dyn Flash) -> Result<(), FlashError> {
        loop {
            let usable = (0..2).filter_map(|idx| Some((idx, self.slots[idx].filter(Slot::is_usable)?)));
            let newest = usable.max_by_key(|(_, slot)| slot.update.serial);
            self.current = newest.map(|(idx, _)| idx);
            let Some((idx, slot)) = newest.filter(|(_, slot)| !slot.is_accepted) else { return Ok(()) };
            if slot.n_boots < BOOTS_MAX {
                self.slots[idx] = Some(slot.mark(flash, Mark::Boot(slot.n_boots))?);
                return Ok(());
            }
            self.refuse_current(flash, UpdateRefused::Boots)?;
        }
    }

    fn refuse_current(&mut self, flash: &mut dyn Flash, why: UpdateRefused) -> Result<(), FlashError> {
        let Some(idx) = self.current else { return Ok(()) };
        if let Some(slot) = self.slots[idx] {
            // One that was accepted and has rotted since has its verdict; this one weighs more.
            self.slots[idx] = Some(slot.mark(flash, Mark::Refused(why))?);
            self.refused = Some((slot.update.serial, why));
        }
        Ok(())
    }

    /// Takes up a model of which a part has come.
    fn resume(&mut self, flash: &mut dyn Flash) -> Result<(), FlashError> {
        let partial = (0..2).filter_map(|idx| Some((idx, self.slots[idx].filter(|slot| !slot.is_whole)?)));
        let Some((idx, slot)) = partial.max_by_key(|(_, slot)| slot.update.serial) else { return Ok(()) };
        if self.current.is_some_and(|current| current == idx) || slot.refused.is_some() {
            return Ok(());
        }
        self.fetching = Some(Fetching { idx, update: slot.update, writer: slot.resume(flash)? });
        Ok(())
    }

    fn begin(&mut self, flash: &mut dyn Flash, idx: usize, update: Update) -> Result<(), FlashError> {
        (self.fetching, self.slots[idx]) = (None, None);
        let slot = slot::begin(flash, idx, &self.base, update)?;
        self.slots[idx] = Some(slot);
        self.fetching = Some(Fetching { idx, update, writer: slot.resume(flash)? });
        (self.n_failed, self.retry_at) = (0, 0);
        Ok(())
    }

    /// All bytes are there: are they those that were signed?
    fn finish(
        &mut self,
        now: u64,
        flash: &mut dyn Flash,
        idx: usize,
        update: Update,
    ) -> Result<(), FlashError> {
        let Some(slot) = self.slots[idx] else { return Ok(()) };
        if slot.identity(flash)? == update.identity {
            self.slots[idx] = Some(slot.mark(flash, Mark::Whole)?);
            self.fetching = None;
            self.restart_due = true;
            return Ok(());
        }
        // Somebody on the way has changed them. They are fetched again, but not in a circle.
        self.begin(flash, idx, update)?;
        self.retry_at = now.saturating_add(RETRY_MAX_MS);
        Ok(())
    }
}

/// Samples are taken for the provisioned channels: an update may say everything else anew.
fn has_channels_of(model: &Model<'_>, provisioned: &Model<'_>) -> bool {
    let same = |idx| {
        let (new, old) = (model.channel(idx), provisioned.channel(idx));
        (new.name, new.unit) == (old.name, old.unit)
    };
    model.channels() == provisioned.channels() && (0..model.channels()).all(same)
}
