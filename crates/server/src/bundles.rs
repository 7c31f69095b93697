//! Bundles by fingerprint, parsed once.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use kinglet_codec::bundle::{Bundle, BundleError};

use crate::store::{BundleRow, Fingerprint, Store, StoreError};

/// Bundles kept parsed; more are read again from the store.
const PARSED_MAX: usize = 64;

/// The bundles of a store.
pub struct Bundles {
    store: Arc<dyn Store>,
    parsed: RwLock<HashMap<Fingerprint, Known>>,
}

/// A bundle, and what every frame asks of it: its model is parsed anew for each look.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) has_references: bool,
}

/// Why a bundle was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddBundleError {
    /// The bytes are no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Bundles {
    /// The bundles of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, parsed: RwLock::default() }
    }

    /// Checks and keeps a bundle file; gives the bundle, and whether it is new here.
    pub async fn add(&self, file: Vec<u8>, now_ms: i64) -> Result<(Arc<Bundle>, bool), AddBundleError> {
        let bundle = Arc::new(Bundle::parse(&file)?);
        let row = BundleRow {
            fingerprint: bundle.fingerprint(),
            name: bundle.name().chars().filter(|c| !c.is_control()).take(64).collect(),
            bytes: file,
            t_added: now_ms,
        };
        let is_new = self.store.add_bundle(row).await?;
        Ok((bundle, is_new))
    }

    /// The bundle of this fingerprint, if it is in the store and reads.
    pub async fn get(&self, fingerprint: &Fingerprint) -> Result<Option<Arc<Bundle>>, StoreError> {
        Ok(self.known(fingerprint).await?.map(|known| known.bundle))
    }

    pub(crate) async fn known(&self, fingerprint: &Fingerprint) -> Result<Option<Known>, StoreError> {
        if let Some(known) = self.parsed.read().unwrap_or_else(PoisonError::into_inner).get(fingerprint) {
            return Ok(Some(known.clone()));
        }
        let Some(row) = self.store.bundle(*fingerprint).await? else { return Ok(None) };
        // It was checked when it came; if the disk gave back other bytes it counts as missing.
        let Ok(bundle) = Bundle::parse(&row.bytes) else { return Ok(None) };
        if bundle.fingerprint() != *fingerprint {
            return Ok(None);
        }
        let has_references = bundle.model().has_references();
        let known = Known { bundle: Arc::new(bundle), has_references };
        let mut parsed = self.parsed.write().unwrap_or_else(PoisonError::into_inner);
        if parsed.len() >= PARSED_MAX {
            parsed.clear();
        }
        parsed.insert(*fingerprint, known.clone());
        Ok(Some(known))
    }
}
