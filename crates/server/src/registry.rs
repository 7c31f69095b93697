//! Which devices there are, and the keys of those that speak, in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Down, FrameRepr, ServerRun, ShortId, Suite, low4};
use kinglet_wire::join::JoinState;
use kinglet_wire::keys::{DeviceId, DeviceKey, GenerationSecret, LinkKey};
use kinglet_wire::lorawan;
use kinglet_wire::payload::{Ack, Command, Content, Millis};
use kinglet_wire::seal::{Binding, seal_content};
use kinglet_wire::{DOWN_HEADER_LEN, Fingerprint, TAG_LEN};

use crate::offers::{Reported, TELL_EVERY_MS};
use crate::pace::Meter;
use crate::store::{DeviceRow, JoinChange, KeyChange, NewDevice, Store, StoreError};
use crate::vault::{Vault, VaultError, random};

/// The devices of a store.
pub struct Registry {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    run: ServerRun,
    cached: RwLock<Cached>,
    /// Of devices that have spoken; they outlive what is remembered of a device's row.
    meters: Mutex<HashMap<u32, Arc<Meter>>>,
}

#[derive(Default)]
struct Cached {
    epoch: u64,
    devices: HashMap<u32, Arc<Device>>,
}

/// A device with the keys of the generations it may use.
pub struct Device {
    /// The id in its frames.
    pub short_id: u32,
    /// The id people use.
    pub id: DeviceId,
    /// True if nothing of it is taken any more.
    pub revoked: bool,
    /// Which bundle each slot means.
    pub slots: [Option<Fingerprint>; 16],
    /// How much of it was stored lately.
    pub(crate) meter: Arc<Meter>,
    /// What its last status says of its bundle.
    pub reported: Option<Reported>,
    /// When it was last told of an offer.
    told_at: AtomicI64,
    generations: Vec<Generation>,
    join_version: u64,
}

/// The keys of one generation.
pub struct Generation {
    /// Its number.
    pub number: u32,
    /// True if no frame has confirmed it yet.
    pub pending: bool,
    /// For each suite what opens the device's frames and seals the server's.
    keys: [Keys; 2],
    run: ServerRun,
    n_down: AtomicU32,
    // Highest counter + 1, 0 for none.
    highest: AtomicU64,
}

/// Keys of one suite.
struct Keys {
    up: LinkKey,
    down: LinkKey,
}

/// Why a device cannot be had or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The text is no device id.
    #[error("`{0}` is no device id: 1 to 32 of A–Z a–z 0–9 . _ : -, the first a letter or digit")]
    BadId(String),
    /// The name is too long or has control characters.
    #[error("a device's name has at most 64 characters and none of them is a control character")]
    BadName,
    /// There is no such device.
    #[error("there is no device `{0}`: see `kinglet device list`, or add it with `kinglet device add {0}`")]
    Unknown(String),
    /// A join state cannot be read.
    #[error("the join state of device `{0}` is damaged")]
    Damaged(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key cannot be wrapped or unwrapped.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Registry {
    /// The devices of `store`, their keys wrapped under the master key of `vault`.
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>) -> Result<Self, VaultError> {
        let mut run = ServerRun::default();
        random(&mut run)?;
        Ok(Self { store, vault, run, cached: RwLock::default(), meters: Mutex::default() })
    }

    /// Adds a device with a new key, and gives both. The key is not shown again by anything but this.
    pub async fn add(
        &self,
        id: &str,
        name: &str,
        now_ms: i64,
    ) -> Result<(DeviceRow, DeviceKey), RegistryError> {
        let key = Vault::new_device_key()?;
        Ok((self.add_with_key(id, name, &key, now_ms).await?, key))
    }

    /// Adds a device that has its key already.
    pub async fn add_with_key(
        &self,
        id: &str,
        name: &str,
        key: &DeviceKey,
        now_ms: i64,
    ) -> Result<DeviceRow, RegistryError> {
        let shown = || id.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let id = DeviceId::new(id).ok_or_else(|| RegistryError::BadId(shown()))?;
        if name.chars().count() > 64 || name.chars().any(char::is_control) {
            return Err(RegistryError::BadName);
        }
        let wrapped_key = self.vault.wrap(id.as_str(), key)?;
        let new = NewDevice {
            id: id.as_str().into(),
            name: name.into(),
            wrapped_key,
            join_state: emit(&JoinState::new()),
            t_created: now_ms,
        };
        Ok(self.store.add_device(new).await?)
    }

    /// Revokes a device for good. Its readings stay.
    pub async fn revoke(&self, id: &str, now_ms: i64) -> Result<(), RegistryError> {
        if !self.store.revoke_device(id, now_ms).await? {
            return Err(RegistryError::Unknown(id.chars().take(64).filter(|c| !c.is_control()).collect()));
        }
        self.forget_all();
        Ok(())
    }

    /// Refuses a master key that is not the one the devices' keys are kept under: a server with another would turn
    /// every frame away, and wrap what is added so that the others cannot read it.
    pub async fn check_master_key(&self) -> Result<(), RegistryError> {
        if let Some(row) = self.store.devices(0, 1).await?.first() {
            self.key_of(row)?;
        }
        Ok(())
    }

    /// Wraps every device key under a new master key; gives how many there are. Servers that run go on, and a
    /// rotation that is cut short is taken up by the next.
    pub async fn rotate_master_key(&self) -> Result<usize, RegistryError> {
        self.vault.begin_rotation()?;
        self.rewrap_all().await?;
        self.vault.end_rotation()?;
        // A device that was added while this went on may still be wrapped under the old one.
        self.rewrap_all().await
    }

    async fn rewrap_all(&self) -> Result<usize, RegistryError> {
        let (mut after, mut n) = (0, 0);
        loop {
            let rows = self.store.devices(after, 1000).await?;
            let Some(last) = rows.last() else { return Ok(n) };
            after = last.short_id;
            n += rows.len();
            let mut changes = Vec::new();
            for row in rows {
                if let Some(wrapped) = self.vault.rewrap(&row.id, &row.wrapped_key)? {
                    changes.push(KeyChange {
                        device: row.short_id,
                        wrapped_before: row.wrapped_key,
                        wrapped,
                    });
                }
            }
            self.store.replace_keys(changes).await?;
        }
    }

    /// The key of a device.
    pub fn key_of(&self, row: &DeviceRow) -> Result<DeviceKey, RegistryError> {
        Ok(self.vault.unwrap(&row.id, &row.wrapped_key)?)
    }

    /// The device of this short id, from memory or from the store.
    pub(crate) async fn find(&self, short_id: u32) -> Result<Option<Arc<Device>>, RegistryError> {
        let epoch = self.store.registry_epoch();
        {
            let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
            if cached.epoch == epoch
                && let Some(device) = cached.devices.get(&short_id)
            {
                return Ok(Some(Arc::clone(device)));
            }
        }
        let Some(row) = self.store.device_by_short_id(short_id).await? else { return Ok(None) };
        let device = Arc::new(self.load(&row)?);
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        if cached.epoch != epoch {
            *cached = Cached { epoch, devices: HashMap::new() };
        }
        // Somebody else may have been quicker: all must count downlinks in one place.
        let device = cached.devices.entry(short_id).or_insert(device);
        Ok(Some(Arc::clone(device)))
    }

    /// The device as the store has it now, if that differs from what `stale` was made of.
    pub(crate) async fn refresh(&self, stale: &Device) -> Result<Option<Arc<Device>>, RegistryError> {
        let Some(row) = self.store.device_by_short_id(stale.short_id).await? else { return Ok(None) };
        let revoked = row.t_revoked.is_some();
        if row.join_version == stale.join_version && slots_of(&row) == stale.slots && revoked == stale.revoked
        {
            return Ok(None);
        }
        self.forget(stale.short_id);
        self.find(stale.short_id).await
    }

    /// To be called when a device's row has changed.
    pub(crate) fn forget(&self, short_id: u32) {
        self.cached.write().unwrap_or_else(PoisonError::into_inner).devices.remove(&short_id);
    }

    fn forget_all(&self) {
        self.cached.write().unwrap_or_else(PoisonError::into_inner).devices.clear();
    }

    /// The join state after the first frame of a pending generation.
    pub(crate) async fn confirm(
        &self,
        device: &Device,
        generation: u32,
    ) -> Result<Option<JoinChange>, RegistryError> {
        let Some(row) = self.store.device_by_short_id(device.short_id).await? else { return Ok(None) };
        let mut state = join_state(&row)?;
        Ok(state.confirm(generation).then(|| JoinChange {
            device: device.short_id,
            expected: row.join_version,
            state: emit(&state),
        }))
    }

    fn load(&self, row: &DeviceRow) -> Result<Device, RegistryError> {
        let id = DeviceId::new(&row.id).ok_or_else(|| RegistryError::BadId(row.id.clone()))?;
        let key = self.key_of(row)?;
        let state = join_state(row)?;
        let pending = state.pending().iter().map(|grant| (grant, true));
        let generations = state.confirmed().map(|grant| (grant, false)).into_iter().chain(pending);
        let mut generations: Vec<Generation> = generations
            .map(|(grant, pending)| self.keys(row, grant.generation, &grant.secret(&key, &id), pending))
            .collect();
        if generations.is_empty() {
            // Of a device on a link too narrow for joins, until it joins all the same.
            generations.push(self.keys(row, 0, &key.static_secret(&id), false));
        }
        Ok(Device {
            short_id: row.short_id,
            id,
            revoked: row.t_revoked.is_some(),
            slots: slots_of(row),
            meter: self.meter(row.short_id),
            reported: Reported::of(row.status.as_deref()),
            told_at: AtomicI64::new(i64::MIN),
            generations,
            join_version: row.join_version,
        })
    }

    fn meter(&self, short_id: u32) -> Arc<Meter> {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(meters.entry(short_id).or_default())
    }

    fn keys(&self, row: &DeviceRow, number: u32, secret: &GenerationSecret, pending: bool) -> Generation {
        // A run of its own for each time the keys are loaded: the downlink counter starts at 0 with it.
        let mut run = self.run;
        let n = N_LOADS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        run.iter_mut().zip(n).for_each(|(byte, n)| *byte ^= n);
        let highest = row.highest.iter().find(|id| id.generation == number);
        let of = |suite| Keys { up: secret.up(suite), down: secret.down(suite, &run) };
        Generation {
            number,
            pending,
            keys: [Suite::AesCcm16, Suite::AesCcm8].map(of),
            run,
            n_down: AtomicU32::new(0),
            highest: AtomicU64::new(highest.map_or(0, |id| id.counter + 1)),
        }
    }
}

/// Counts how often keys were loaded in this process: with the random run it makes each downlink key one of a kind.
static N_LOADS: AtomicU64 = AtomicU64::new(0);

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Device {
    /// The generation that a header's four bits mean, on a link of this suite. Static keys are for LoRaWAN alone.
    pub(crate) fn generation(&self, low: u8, suite: Suite) -> Option<&Generation> {
        let is_it = |g: &&Generation| low4(g.number) == low && (g.number > 0 || suite == lorawan::SUITE);
        self.generations.iter().find(is_it)
    }
}

impl Device {
    /// True if it is time to tell the device of an offer; then it is told now.
    pub(crate) fn may_tell(&self, now_ms: i64) -> bool {
        let since = |at: i64| (now_ms.saturating_sub(at) >= TELL_EVERY_MS || now_ms < at).then_some(now_ms);
        self.told_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, since).is_ok()
    }

    /// Seals a command under the generation in use; `None` if no frame of it was ever stored.
    pub(crate) fn seal_command(&self, code: u8, body: &[u8], expires_ms: i64) -> Option<Vec<u8>> {
        let generation = self.generations.iter().find(|generation| !generation.pending)?;
        let last_uplink = generation.highest()?;
        let command = Command { expires: Millis::saturating(expires_ms), last_uplink, code, body };
        generation.seal(self, Suite::AesCcm16, &command, |down| FrameRepr::Command { down })
    }
}

impl Generation {
    /// What opens the device's frames.
    pub(crate) fn up(&self, suite: Suite) -> &LinkKey {
        &self.keys[suite as usize].up
    }

    /// What the device takes for its short id: without a join it knows none.
    pub(crate) fn short_id(&self, device: &Device) -> ShortId {
        if self.number == 0 { lorawan::STATIC_SHORT_ID } else { ShortId(device.short_id) }
    }

    /// The highest counter opened so far.
    pub(crate) fn highest(&self) -> Option<Counter> {
        self.highest.load(Ordering::Relaxed).checked_sub(1).and_then(Counter::new)
    }

    /// To be told of each counter that was stored.
    pub(crate) fn saw(&self, counter: u64) {
        self.highest.fetch_max(counter + 1, Ordering::Relaxed);
    }

    /// Seals an ack. `None` once 2^32 downlinks went out under one key: the device then asks again, and the
    /// next load of its keys starts anew.
    pub(crate) fn seal_ack(&self, device: &Device, suite: Suite, ack: &Ack) -> Option<Vec<u8>> {
        self.seal(device, suite, ack, |down| FrameRepr::Ack { down })
    }

    fn seal(
        &self,
        device: &Device,
        suite: Suite,
        content: &impl Content,
        header: impl FnOnce(Down) -> FrameRepr,
    ) -> Option<Vec<u8>> {
        let n = self.n_down.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1)).ok()?;
        let down = Down::new(suite, self.number, self.short_id(device), self.run, n);
        let bound = Binding { id: &device.id, counter: Counter::from(n), bundle: None };
        let mut frame = vec![0; DOWN_HEADER_LEN + content.len() + TAG_LEN];
        let key = &self.keys[suite as usize].down;
        let len = seal_content(key, &header(down), &bound, content, &mut frame).ok()?;
        frame.truncate(len);
        Some(frame)
    }
}

fn slots_of(row: &DeviceRow) -> [Option<Fingerprint>; 16] {
    let mut slots = [None; 16];
    for (slot, fingerprint) in &row.slots {
        if let Some(place) = slots.get_mut(usize::from(*slot)) {
            *place = Some(*fingerprint);
        }
    }
    slots
}

/// Reads the join state of a row.
pub(crate) fn join_state(row: &DeviceRow) -> Result<JoinState, RegistryError> {
    JoinState::parse(&row.join_state).map_err(|_| RegistryError::Damaged(row.id.clone()))
}

/// Writes a join state for the store.
pub(crate) fn emit(state: &JoinState) -> Vec<u8> {
    let mut bytes = vec![0; state.emit_len()];
    // The buffer has the length it asked for.
    let _ = state.emit(&mut bytes);
    bytes
}
