//! Joins: a device without usable keys gets new ones.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kinglet_wire::frame::ShortId;
use kinglet_wire::join::{ACCEPT_LEN, Accept, JoinError, Joined, RequestFrame};
use kinglet_wire::keys::JoinNonce;
use kinglet_wire::payload::Millis;

use crate::core::Core;
use crate::limits::TooFast;
use crate::registry::{RegistryError, emit, join_state};
use crate::store::{DeviceRow, JoinChange, StoreError};
use crate::vault::{VaultError, random};

/// New generations a device may ask for within [`LIMIT_MS`]; repeats of a request are free.
const NEW_JOINS_MAX: u32 = 20;
const LIMIT_MS: i64 = 60_000;
/// How often a join that another one overtook is tried.
const ATTEMPTS: usize = 8;

/// Why a join is not granted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinRefused {
    /// No join request.
    #[error("the bytes are no join request of a version this server speaks")]
    Malformed,
    /// No such device.
    #[error(
        "no device of this id is registered: add it with `kinglet device add ID` in the data directory of this server (--data), and give it the key"
    )]
    UnknownDevice,
    /// The device was revoked.
    #[error("the device was revoked: give it a new id and key with `kinglet device add`")]
    Revoked,
    /// The MAC is wrong.
    #[error("the request does not verify: the device holds another key than the one registered here")]
    NotVerified,
    /// More joins come than the server may take in.
    #[error(transparent)]
    TooFast(#[from] TooFast),
    /// Too many new joins.
    #[error("too many joins of this device: try again in a minute")]
    TooMany,
    /// The device is at its last generation.
    #[error("all generations of this device are used up: give it a new key")]
    Exhausted,
    /// The server could not decide.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl JoinRefused {
    /// One short word, for answers.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownDevice => "unknown_device",
            Self::Revoked => "revoked",
            Self::NotVerified => "not_verified",
            Self::TooMany | Self::TooFast(_) => "too_many_joins",
            Self::Exhausted => "generations_exhausted",
            Self::Registry(_) => "store_unavailable",
        }
    }
}

impl Core {
    /// Answers a join request with the bytes of an accept.
    pub async fn join(&self, bytes: &[u8]) -> Result<Vec<u8>, JoinRefused> {
        let request = RequestFrame::parse(bytes).map_err(|_| JoinRefused::Malformed)?;
        self.limits.join()?;
        for _ in 0..ATTEMPTS {
            let row = self.device_to_join(&request).await?;
            let device_key = self.registry.key_of(&row)?;
            let join_key = device_key.join_key(request.id());
            let wanted = request.open(&join_key).map_err(|_| JoinRefused::NotVerified)?;
            let mut server_nonce = JoinNonce::default();
            random(&mut server_nonce).map_err(RegistryError::from)?;
            let now_ms = self.clock.now_ms();
            let mut state = join_state(&row)?;
            let joined = state
                .handle_request(&wanted, &server_nonce, Millis::saturating(now_ms))
                .map_err(|_: JoinError| JoinRefused::Exhausted)?;
            if let Joined::New(_) = joined
                && !self.keep_join(&row, emit(&state), now_ms).await?
            {
                continue;
            }
            let accept =
                Accept { suite: wanted.suite, short_id: ShortId(row.short_id), grant: joined.grant() };
            let mut answer = vec![0; ACCEPT_LEN];
            // The buffer has the length an accept has.
            let _ = accept.emit(&join_key, &mut answer);
            tracing::info!(device = %request.id(), generation = joined.grant().generation, "join answered");
            return Ok(answer);
        }
        Err(JoinRefused::TooMany)
    }

    async fn device_to_join(&self, request: &RequestFrame<'_>) -> Result<DeviceRow, JoinRefused> {
        let row = self.store.device(request.id().as_str()).await.map_err(RegistryError::from)?;
        let row = row.ok_or(JoinRefused::UnknownDevice)?;
        if row.t_revoked.is_some() { Err(JoinRefused::Revoked) } else { Ok(row) }
    }

    /// False if another join was quicker.
    async fn keep_join(&self, row: &DeviceRow, state: Vec<u8>, now_ms: i64) -> Result<bool, JoinRefused> {
        if !self.joins.allows(row.short_id, now_ms) {
            return Err(JoinRefused::TooMany);
        }
        let change = JoinChange { device: row.short_id, expected: row.join_version, state };
        let kept = self.store.set_join_state(change).await.map_err(RegistryError::from)?;
        self.registry.forget(row.short_id);
        Ok(kept)
    }
}

impl From<StoreError> for JoinRefused {
    fn from(error: StoreError) -> Self {
        Self::Registry(error.into())
    }
}

impl From<VaultError> for JoinRefused {
    fn from(error: VaultError) -> Self {
        Self::Registry(error.into())
    }
}

/// Counts new joins per device. Only requests that verified are counted: nobody else can use up a device's share.
#[derive(Default)]
pub(crate) struct JoinLimit {
    counts: Mutex<HashMap<u32, (i64, u32)>>,
}

impl JoinLimit {
    fn allows(&self, device: u32, now_ms: i64) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, n) = counts.entry(device).or_insert((now_ms, 0));
        if now_ms.saturating_sub(*since) >= LIMIT_MS || now_ms < *since {
            (*since, *n) = (now_ms, 0);
        }
        *n += 1;
        *n <= NEW_JOINS_MAX
    }
}
