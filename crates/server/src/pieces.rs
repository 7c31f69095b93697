//! Pieces of bundles that are offered, whatever carries them. Who made a bundle has signed it, so anybody may bring its bytes.

use kinglet_wire::piece::{HEAD_LEN, PIECE_LEN_MAX, Piece, PieceRequest};

use crate::core::Core;
use crate::metrics;
use crate::store::{Fingerprint, StoreError};

/// Why a piece is not given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPiece {
    /// The request is none.
    #[error("no request for a piece")]
    Malformed,
    /// No bundle of this fingerprint is offered.
    #[error("no bundle of this fingerprint is offered to devices")]
    NotOffered,
    /// It would begin behind the last byte.
    #[error("the model has {0} bytes")]
    BeyondTheEnd(usize),
    /// The store could not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NoPiece {
    /// In one short word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotOffered => "not_offered",
            Self::BeyondTheEnd(_) => "beyond_the_end",
            Self::Store(_) => "store",
        }
    }
}

impl Core {
    /// At most `len` bytes of a model, from a byte on.
    pub(crate) async fn piece(
        &self,
        fingerprint: &Fingerprint,
        from: usize,
        len: usize,
    ) -> Result<Vec<u8>, NoPiece> {
        if !self.offers.all().await?.iter().any(|offer| offer.row.fingerprint == *fingerprint) {
            return Err(NoPiece::NotOffered);
        }
        let bundle = self.bundles.get(fingerprint).await?.ok_or(NoPiece::NotOffered)?;
        let model = bundle.device();
        let rest = model.get(from..).filter(|rest| !rest.is_empty());
        let rest = rest.ok_or(NoPiece::BeyondTheEnd(model.len()))?;
        metrics::add(&self.metrics.pieces, 1);
        Ok(rest[..rest.len().min(len)].to_vec())
    }

    /// The answer to a request for a piece, where both are messages of their own.
    pub(crate) async fn answer_piece(&self, request: &[u8]) -> Result<Vec<u8>, NoPiece> {
        let PieceRequest { fingerprint, from, len } =
            PieceRequest::parse(request).map_err(|_| NoPiece::Malformed)?;
        let bytes = self.piece(&fingerprint, from as usize, len.min(PIECE_LEN_MAX).into()).await?;
        let mut out = vec![0; HEAD_LEN + bytes.len()];
        let written = Piece { fingerprint, from, bytes: &bytes }.emit(&mut out);
        // The buffer has the length it asks for.
        written.map(|_| out).map_err(|_| NoPiece::Malformed)
    }
}
