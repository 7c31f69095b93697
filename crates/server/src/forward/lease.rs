//! Work that one server at a time does, and the place in the order of storing that it has come to.

use std::time::{Duration, Instant};

use crate::config::StoreChoice;
use crate::core::Core;
use crate::store::{LogPlace, StoreError, TargetClaim};
use crate::vault::VaultError;

/// Nobody else gets the work for so long after its holder has last asked. The embedded store has one server; what died
/// there is not waited for.
const LEASE: Duration = Duration::from_secs(30);
const LEASE_EMBEDDED: Duration = Duration::from_secs(1);
/// How often the holder looks for losses in the embedded store, where it need not ask for the work again.
const LOOK: Duration = Duration::from_secs(60);

pub(crate) struct Lease {
    name: String,
    from_start: bool,
    owner: i64,
    /// Where it stands, while it is held, and when it was last asked for.
    held: Option<(LogPlace, Instant)>,
    n_lost: u64,
    n_lost_said: u64,
}

impl Lease {
    /// Work of this name; new work begins with what comes, or with what is stored already.
    pub(crate) fn new(name: &str, from_start: bool) -> Result<Self, VaultError> {
        let mut drawn = [0; 8];
        crate::vault::random(&mut drawn)?;
        let owner = i64::from_be_bytes(drawn) & i64::MAX | 1;
        Ok(Self { name: name.into(), from_start, owner, held: None, n_lost: 0, n_lost_said: 0 })
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The place it stands at, if it is held or can be had now.
    pub(crate) async fn hold(&mut self, core: &Core) -> Result<Option<LogPlace>, StoreError> {
        let is_shared = core.config.store != StoreChoice::Sqlite;
        if let Some((at, since)) = self.held {
            let is_due = since.elapsed() > if is_shared { LEASE / 3 } else { LOOK };
            if is_due && !is_shared {
                let rows = core.store.targets().await?;
                self.n_lost = rows.iter().find(|row| row.target == self.name).map_or(0, |row| row.n_lost);
                self.held = Some((at, Instant::now()));
            }
            if !is_due || !is_shared {
                return Ok(Some(at));
            }
        }
        let lease = if is_shared { LEASE } else { LEASE_EMBEDDED };
        let claim = TargetClaim {
            target: self.name.clone(),
            owner: self.owner,
            lease_ms: lease.as_millis() as i64,
            from_start: self.from_start,
        };
        let row = core.store.claim_target(claim).await?;
        self.held = row.as_ref().map(|row| (row.at, Instant::now()));
        self.n_lost = row.as_ref().map_or(self.n_lost, |row| row.n_lost);
        Ok(row.map(|row| row.at))
    }

    /// Moves on; false if another server has taken the work meanwhile.
    pub(crate) async fn pass(&mut self, core: &Core, to: LogPlace) -> Result<bool, StoreError> {
        let is_mine = core.store.pass_target(&self.name, self.owner, to).await?;
        self.held = self.held.filter(|_| is_mine).map(|(_, since)| (to, since));
        Ok(is_mine)
    }

    /// Windows that retention has deleted before this work came to them, if there are more than when last asked.
    pub(crate) fn lost(&mut self) -> Option<u64> {
        let is_more = self.n_lost > self.n_lost_said;
        self.n_lost_said = self.n_lost;
        is_more.then_some(self.n_lost)
    }

    /// Lets another server have it.
    pub(crate) async fn release(&mut self, core: &Core) {
        self.held = None;
        // If that fails the lease ends by itself.
        let _ = core.store.release_target(&self.name, self.owner).await;
    }
}
