//! Another bundle over the air: what a device in this process keeps of it, and how it changes to it.

use kinglet_codec::Model;
use kinglet_node::update::{Updates, Wanted};
use kinglet_node::{Config, Downlink, Flash, FlashError, Verdict};
use kinglet_wire::update::UpdateKey;

/// The updates of one device, and the flash they lie in.
pub(crate) struct Air<'a> {
    updates: Updates,
    flash: Box<dyn Flash + Send>,
    key: UpdateKey,
    provisioned: Model<'a>,
}

impl<'a> Air<'a> {
    /// Starts with what lies in `flash`.
    pub(crate) fn open(
        mut flash: Box<dyn Flash + Send>,
        key: UpdateKey,
        provisioned: Model<'a>,
    ) -> Result<Self, FlashError> {
        let updates = Updates::open(&mut *flash, key, &provisioned.fingerprint())?;
        Ok(Self { updates, flash, key, provisioned })
    }

    /// Starts again, as a board does when another bundle is to be used.
    pub(super) fn reopen(&mut self) -> Result<(), FlashError> {
        self.updates = Updates::open(&mut *self.flash, self.key, &self.provisioned.fingerprint())?;
        Ok(())
    }

    /// The model to use. A process changes its bundle a few times in its life: what it has used stays in memory.
    pub(crate) fn model(&mut self) -> Result<Model<'a>, FlashError> {
        let mut bytes = vec![0; self.updates.model_len()];
        let len = self.updates.load(&mut *self.flash, &self.provisioned, &mut bytes)?;
        let Some(len) = len else { return Ok(self.provisioned) };
        bytes.truncate(len);
        // It was read a moment ago, when it was loaded.
        Ok(Model::parse(Vec::leak(bytes)).unwrap_or(self.provisioned))
    }

    /// `config` with what the node is to know of updates.
    pub(crate) fn config(&self, config: Config) -> Config {
        Config { update: Some(self.updates.state()), given_up: self.updates.given_up(), ..config }
    }

    pub(super) fn handle(&mut self, downlink: &Downlink) -> Result<Option<String>, FlashError> {
        let Downlink::Offered(offer) = downlink else { return Ok(None) };
        if !self.updates.handle_offer(&mut *self.flash, offer)? {
            return Ok(None);
        }
        let serial = offer.unverified().serial;
        Ok(Some(match self.updates.state().refused {
            Some((refused, why)) if refused == serial => {
                format!("update {serial} is refused: {}", words(why))
            }
            _ => format!("update {serial} is offered and being fetched"),
        }))
    }

    /// The piece to be asked for.
    pub(super) fn wanted(&self, now: u64) -> Option<Wanted> {
        self.updates.wanted(now)
    }

    /// True while a model is being fetched.
    pub(crate) fn is_fetching(&self) -> bool {
        self.updates.poll_at().is_some()
    }

    /// A piece that came, or none.
    pub(super) fn take(
        &mut self,
        now: u64,
        wanted: &Wanted,
        piece: Option<Vec<u8>>,
    ) -> Result<(), FlashError> {
        match piece {
            Some(bytes) => self.updates.handle_bytes(now, &mut *self.flash, wanted.from, &bytes),
            None => {
                self.updates.handle_nothing(now);
                Ok(())
            }
        }
    }

    pub(super) fn judge(&mut self, verdict: Verdict) -> Result<(), FlashError> {
        self.updates.handle_verdict(&mut *self.flash, verdict)
    }

    pub(super) fn updates(&self) -> &Updates {
        &self.updates
    }
}

/// Why an update was refused, for people.
pub(crate) fn words(why: kinglet_wire::payload::UpdateRefused) -> &'static str {
    use kinglet_wire::payload::UpdateRefused;
    match why {
        UpdateRefused::Signature => "its signature is not by the key this device was given",
        UpdateRefused::Older => "it is not newer than what this device has or has refused",
        UpdateRefused::TooLong => "there is no room for it",
        UpdateRefused::Model => "it is no model this version reads",
        UpdateRefused::Channels => "its channels are not those of the device's first bundle",
        UpdateRefused::NotAccepted => "the server took none of its frames",
        UpdateRefused::Boots => "it never came as far as a frame that was taken",
    }
}
