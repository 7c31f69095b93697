//! Which device is offered which bundle.
//!
//! An offer is for one device, or for a share of all whose bundle has the same channels. What is offered was signed
//! elsewhere: this server can pass it on and withhold it, and that is all.

use std::sync::{Arc, PoisonError, RwLock};

use kinglet_codec::bundle::Bundle;
use kinglet_wire::payload::{Command, UpdateRefused, UpdateState};
use kinglet_wire::update::{SignedUpdate, UPDATE_LEN};

use crate::bundles::{AddBundleError, Bundles};
use crate::registry::Registry;
use crate::store::{Fingerprint, OfferRow, Store, StoreError};

/// A device is told again after so long, as long as it does not do what is offered.
pub(crate) const TELL_EVERY_MS: i64 = 60_000;
/// A command is worth something for so long.
const VALID_MS: i64 = 24 * 3600 * 1000;

/// The offers of a store.
pub struct Offers {
    store: Arc<dyn Store>,
    known: RwLock<Option<(u64, Arc<[Offer]>)>>,
}

/// What is offered, and to whom.
#[derive(Clone, Debug)]
pub struct Offer {
    /// As it is kept.
    pub row: OfferRow,
    /// What was signed.
    pub signed: SignedUpdate,
}

/// To whom something is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The device of this short id.
    Device(u32),
    /// So many in a hundred of all devices whose bundle has the same channels.
    Percent(u8),
}

/// What a device says of its bundle in its last status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The bundle it uses.
    pub fingerprint: Fingerprint,
    /// Where it stands with updates; `None` if it takes none.
    pub update: Option<UpdateState>,
}

/// Why a bundle was not offered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Nobody has signed it.
    #[error("the bundle is not signed: `kinglet bundle sign` does that")]
    NotSigned,
    /// What was signed is another bundle.
    #[error("the signature in the file is not for the model in it: sign it again")]
    OtherModel,
    /// The bundle was not taken.
    #[error(transparent)]
    Bundle(#[from] AddBundleError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Reported {
    /// Reads the last status of a device.
    pub fn of(status: Option<&[u8]>) -> Option<Self> {
        let status = kinglet_wire::payload::Status::parse(status?).ok()?;
        Some(Self { fingerprint: status.fingerprint, update: status.update })
    }
}

impl Offers {
    /// The offers of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: RwLock::default() }
    }

    /// Offers a signed bundle file; an offer of the same bundle to the same audience is replaced.
    pub async fn add(
        &self,
        bundles: &Bundles,
        file: Vec<u8>,
        to: Audience,
        now_ms: i64,
    ) -> Result<Offer, OfferError> {
        let (bundle, _) = bundles.add(file, now_ms).await?;
        let signed = signature_of(&bundle)?;
        let (device, percent) = match to {
            Audience::Device(short_id) => (short_id, 100),
            Audience::Percent(percent) => (0, percent.min(100)),
        };
        let row = OfferRow {
            device,
            fingerprint: bundle.fingerprint(),
            percent,
            update: signed.to_bytes().to_vec(),
            t_offered: now_ms,
        };
        self.store.set_offer(row.clone()).await?;
        self.forget();
        Ok(Offer { row, signed })
    }

    /// Withdraws a bundle from one device, or (`None`) from everybody; gives how many offers there were.
    pub async fn withdraw(&self, fingerprint: Fingerprint, device: Option<u32>) -> Result<u64, StoreError> {
        let n = self.store.withdraw_offers(fingerprint, device).await?;
        self.forget();
        Ok(n)
    }

    /// All offers, as the store has them now or had them when the registry last changed.
    pub async fn all(&self) -> Result<Arc<[Offer]>, StoreError> {
        let epoch = self.store.registry_epoch();
        if let Some((of, offers)) = &*self.known.read().unwrap_or_else(PoisonError::into_inner)
            && *of == epoch
        {
            return Ok(Arc::clone(offers));
        }
        let rows = self.store.offers().await?;
        // What was checked when it came and does not read now is no offer.
        let read = |row: OfferRow| Some(Offer { signed: SignedUpdate::parse(&row.update).ok()?, row });
        let offers: Arc<[Offer]> = rows.into_iter().filter_map(read).collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some((epoch, Arc::clone(&offers)));
        Ok(offers)
    }

    /// What a device is offered: of several the one with the highest serial.
    pub async fn of(
        &self,
        bundles: &Bundles,
        short_id: u32,
        id: &str,
        uses: &Fingerprint,
    ) -> Result<Option<Offer>, StoreError> {
        let mut best: Option<Offer> = None;
        for offer in self.all().await?.iter() {
            let serial = offer.signed.unverified().serial;
            let is_newer = best.as_ref().is_none_or(|best| best.signed.unverified().serial < serial);
            let is_for_it = match offer.row.device {
                0 => {
                    offer.is_in_stage(id) && has_same_channels(bundles, uses, &offer.row.fingerprint).await?
                }
                device => device == short_id,
            };
            if is_newer && is_for_it {
                best = Some(offer.clone());
            }
        }
        Ok(best)
    }

    fn forget(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Offer {
    /// What the device is told: a command's code and body, and how long it is worth something.
    pub(crate) fn command(&self, now_ms: i64) -> (u8, [u8; UPDATE_LEN], i64) {
        (Command::UPDATE, self.signed.to_bytes(), now_ms.saturating_add(VALID_MS))
    }

    /// True if a device that says this of itself is still to be told.
    pub fn is_open_for(&self, reported: &Reported) -> bool {
        let Some(update) = reported.update else { return false };
        let serial = self.signed.unverified().serial;
        let is_refused = update.refused.is_some_and(|(refused, _)| refused == serial);
        reported.fingerprint != self.row.fingerprint && serial > update.serial && !is_refused
    }

    /// Devices of a stage stay in it when it grows; which they are differs from bundle to bundle.
    fn is_in_stage(&self, id: &str) -> bool {
        let place = crc32c::crc32c_append(crc32c::crc32c(&self.row.fingerprint), id.as_bytes());
        place % 100 < self.row.percent.into()
    }
}

/// The signed update in a bundle file.
pub fn signature_of(bundle: &Bundle) -> Result<SignedUpdate, OfferError> {
    let signed = bundle.signature().and_then(|bytes| SignedUpdate::parse(bytes).ok());
    let signed = signed.ok_or(OfferError::NotSigned)?;
    let said = signed.unverified();
    let fits = said.identity == bundle.identity() && said.model_len as usize == bundle.device().len();
    if fits { Ok(signed) } else { Err(OfferError::OtherModel) }
}

/// Why an update was refused, in one short word.
pub fn refusal_word(why: UpdateRefused) -> &'static str {
    match why {
        UpdateRefused::Signature => "signature",
        UpdateRefused::Older => "older",
        UpdateRefused::TooLong => "too_long",
        UpdateRefused::Model => "model",
        UpdateRefused::Channels => "channels",
        UpdateRefused::NotAccepted => "not_accepted",
        UpdateRefused::Boots => "boots",
    }
}

async fn has_same_channels(bundles: &Bundles, a: &Fingerprint, b: &Fingerprint) -> Result<bool, StoreError> {
    let (Some(a), Some(b)) = (bundles.get(a).await?, bundles.get(b).await?) else { return Ok(false) };
    Ok(same_channels(&a, &b))
}

/// True if both bundles have the same channels: names and units, in the same order.
pub fn same_channels(a: &Bundle, b: &Bundle) -> bool {
    let (a, b) = (a.model(), b.model());
    let name = |model: &kinglet_codec::Model<'_>, idx| {
        let channel = model.channel(idx);
        (channel.name.to_owned(), channel.unit.to_owned())
    };
    a.channels() == b.channels() && (0..a.channels()).all(|idx| name(&a, idx) == name(&b, idx))
}

impl Registry {
    /// A command for a device, sealed under the newest generation it has confirmed; `None` if it has none.
    pub(crate) async fn seal_offer(
        &self,
        short_id: u32,
        offer: &Offer,
        now_ms: i64,
    ) -> Result<Option<Vec<u8>>, crate::registry::RegistryError> {
        let Some(device) = self.find(short_id).await? else { return Ok(None) };
        let (code, body, expires_ms) = offer.command(now_ms);
        Ok(device.seal_command(code, &body, expires_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_wire::update::{SigningKey, Update};

    fn offer(serial: u32, percent: u8) -> Offer {
        let signed =
            SigningKey::from_bytes([1; 32]).sign(&Update { serial, model_len: 1, identity: [7; 32] });
        let row = OfferRow {
            device: 0,
            fingerprint: [7; 16],
            percent,
            update: signed.to_bytes().to_vec(),
            t_offered: 0,
        };
        Offer { row, signed }
    }

    #[test]
    fn a_stage_is_as_large_as_it_says_and_grows_by_adding() {
        let ids: Vec<String> = (0..10_000).map(|n| format!("dev-{n}")).collect();
        let of = |percent| ids.iter().filter(|id| offer(1, percent).is_in_stage(id)).collect::<Vec<_>>();
        assert_eq!((of(0).len(), of(100).len()), (0, ids.len()));
        let (few, more) = (of(10), of(25));
        assert!((850..1150).contains(&few.len()) && (2300..2700).contains(&more.len()), "{}", few.len());
        assert!(few.iter().all(|id| more.contains(id)));
    }

    #[test]
    fn a_device_is_told_until_it_uses_it_or_says_why_not() {
        let reported = |fingerprint, update| Reported { fingerprint, update };
        let state = |serial, refused| Some(UpdateState { serial, is_trial: false, refused });
        let why = UpdateRefused::Channels;
        for (said, open) in [
            (reported([1; 16], None), false),
            (reported([1; 16], state(0, None)), true),
            (reported([1; 16], state(2, Some((3, why)))), true),
            (reported([1; 16], state(2, Some((4, why)))), false),
            (reported([1; 16], state(4, None)), false),
            (reported([7; 16], state(0, None)), false),
        ] {
            assert_eq!(offer(4, 100).is_open_for(&said), open, "{said:?}");
        }
    }
}
