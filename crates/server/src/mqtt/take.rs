//! From what a device has published to what it is told: its frames in one transaction, its joins, and pieces it asks for.

use std::num::NonZeroU16;

use bytes::Bytes;
use kinglet_wire::frame::{Frame, Kind, kind_of};
use kinglet_wire::join::RequestFrame;
use kinglet_wire::keys::DeviceId;

use super::conversation::Sent;
use super::speech::PublishAckReason;
use crate::core::Core;
use crate::ingest::{IngestError, Refusal};
use crate::join::JoinRefused;
use crate::pieces::NoPiece;

/// The id of a PUBACK, and what it is for.
pub(super) type Published = (Option<NonZeroU16>, Sent, Bytes);

/// What became of some frames.
#[derive(Default)]
pub(super) struct Taken {
    /// In the order they came. Empty if the store has failed: nothing is acked then.
    pub(super) acks: Vec<(NonZeroU16, Option<Refused>)>,
    /// Sealed acks, accepts, hints.
    pub(super) downlinks: Vec<Bytes>,
    /// What was asked for of bundles.
    pub(super) pieces: Vec<Bytes>,
    /// The words of refusals, each once.
    pub(super) words: Vec<&'static str>,
    /// The store could not decide.
    pub(super) has_failed: bool,
    /// The device was revoked.
    pub(super) is_revoked: bool,
}

/// The reason in a PUBACK of MQTT 5, and the word that says it.
pub(super) type Refused = (PublishAckReason, &'static str);

/// Takes what one device has published, as far as it is the device's own.
pub(super) async fn take(core: &Core, id: DeviceId, short_id: u32, batch: &[Published]) -> Taken {
    let mut taken = Taken::default();
    let mut fates: Vec<Option<Refused>> = vec![None; batch.len()];
    let (mut frames, mut at) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for (idx, (_, sent, bytes)) in batch.iter().enumerate() {
        if *sent == Sent::Want {
            match core.answer_piece(bytes).await {
                Ok(piece) => taken.pieces.push(piece.into()),
                Err(NoPiece::Store(error)) => {
                    tracing::error!(%error, "a piece of a bundle could not be read");
                    taken.has_failed = true;
                }
                Err(why) => fates[idx] = Some((reason_of_piece(&why), why.word())),
            }
            continue;
        }
        match kind_of(bytes) {
            Ok(Kind::JoinRequest) => match join(core, &id, bytes).await {
                Ok(accept) => taken.downlinks.push(accept.into()),
                Err(JoinRefused::Registry(error)) => {
                    tracing::error!(%error, "a join could not be decided");
                    taken.has_failed = true;
                }
                Err(refused) => fates[idx] = Some((reason_of_join(&refused), refused.word())),
            },
            // What is no frame at all is refused where all frames are; another device's is not even looked up.
            _ => match Frame::new_checked(&bytes[..]) {
                Ok(frame) if frame.short_id().0 != short_id => {
                    core.rejects.add(short_id, Some(Refusal::OtherDevice), core.clock.now_ms());
                    core.metrics.refused(Refusal::OtherDevice);
                    fates[idx] = Some((reason_of(Refusal::OtherDevice), Refusal::OtherDevice.word()));
                }
                _ => {
                    frames.push(&bytes[..]);
                    at.push(idx);
                }
            },
        }
    }
    if !frames.is_empty() {
        match core.ingest(&frames).await {
            Ok(answer) => {
                for (idx, refused) in at.into_iter().zip(&answer.fates) {
                    taken.is_revoked |= *refused == Some(Refusal::Revoked);
                    fates[idx] = refused.map(|why| (reason_of(why), why.word()));
                }
                taken.downlinks.extend(answer.downlinks.into_iter().map(Bytes::from));
            }
            Err(IngestError::TooFast(_)) => {
                let refused = (PublishAckReason::QuotaExceeded, Refusal::TooManyFrames.word());
                at.into_iter().for_each(|idx| fates[idx] = Some(refused));
            }
            Err(error) => {
                tracing::error!(%error, "frames could not be stored");
                taken.has_failed = true;
            }
        }
    }
    if !taken.has_failed {
        taken.acks = batch.iter().zip(&fates).filter_map(|((id, ..), fate)| Some(((*id)?, *fate))).collect();
    }
    taken.words = fates.iter().flatten().map(|(_, word)| *word).collect();
    taken.words.sort_unstable();
    taken.words.dedup();
    taken
}

async fn join(core: &Core, id: &DeviceId, bytes: &[u8]) -> Result<Vec<u8>, JoinRefused> {
    match RequestFrame::parse(bytes) {
        Ok(request) if request.id() == id => core.join(bytes).await,
        // No words about other devices.
        Ok(_) => Err(JoinRefused::NotVerified),
        Err(_) => Err(JoinRefused::Malformed),
    }
}

fn reason_of(why: Refusal) -> PublishAckReason {
    match why {
        Refusal::Malformed | Refusal::WrongDirection | Refusal::BadContent => {
            PublishAckReason::PayloadFormatInvalid
        }
        Refusal::UnknownDevice | Refusal::OtherDevice | Refusal::Revoked | Refusal::NotOpened => {
            PublishAckReason::NotAuthorized
        }
        Refusal::TooManyFrames => PublishAckReason::QuotaExceeded,
        _ => PublishAckReason::ImplementationSpecificError,
    }
}

fn reason_of_piece(why: &NoPiece) -> PublishAckReason {
    match why {
        NoPiece::Malformed => PublishAckReason::PayloadFormatInvalid,
        _ => PublishAckReason::ImplementationSpecificError,
    }
}

fn reason_of_join(why: &JoinRefused) -> PublishAckReason {
    match why {
        JoinRefused::Malformed => PublishAckReason::PayloadFormatInvalid,
        JoinRefused::TooMany | JoinRefused::TooFast(_) | JoinRefused::Exhausted => {
            PublishAckReason::QuotaExceeded
        }
        _ => PublishAckReason::NotAuthorized,
    }
}
