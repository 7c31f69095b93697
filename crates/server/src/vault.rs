//! Secrets at rest: device keys wrapped under a master key, and the token for management calls.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use kinglet_wire::keys::{DeviceKey, SECRET_LEN};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

const NONCE_LEN: usize = 24;
const MASTER_KEY: &str = "master.key";
const TOKEN: &str = "token";

/// Wraps and unwraps device keys (XChaCha20-Poly1305, random nonce, device id as associated data) and knows
/// the management token. Both secrets lie in files that only their owner can read: the token in the data directory, the
/// master key there too unless another file is named, which many servers on one store must share.
pub struct Vault {
    master: PathBuf,
    /// The master key in use, then the next one while a rotation is under way.
    ciphers: RwLock<Vec<XChaCha20Poly1305>>,
    token: Zeroizing<String>,
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A file cannot be read or made.
    #[error(
        "cannot use {path}: {why}; check the owner and mode of the data directory, or choose another with --data DIR"
    )]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// A file has the wrong content.
    #[error("{0} is damaged: restore it from a backup; without it the device keys cannot be read")]
    Damaged(PathBuf),
    /// Others may read a secret.
    #[error("{path} can be read by others (mode {mode:o}): run `chmod 600 {path}`")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    NoRandom(String),
    /// The wrapped key is damaged or was wrapped under another master key.
    #[error(
        "the key of device `{0}` does not unwrap: {1} is not the master key it was stored under; bring that one \
         here, or name its file with master_key_file"
    )]
    WrongMasterKey(String, PathBuf),
}

impl Vault {
    /// Opens the vault of a data directory, making both secrets at the first start. A master key that is named is
    /// never made: it is the one the other servers have.
    pub fn open(data: &Path, master_key_file: Option<&Path>) -> Result<Self, VaultError> {
        fs::create_dir_all(data).map_err(|why| VaultError::File { path: data.into(), why })?;
        let master = master_key_file.map_or_else(|| data.join(MASTER_KEY), Path::to_path_buf);
        if master_key_file.is_none() {
            hex_secret(&master)?.zeroize();
        }
        let ciphers = RwLock::new(read_ciphers(&master)?);
        let mut token = hex_secret(&data.join(TOKEN))?;
        let vault = Self { master, ciphers, token: Zeroizing::new(to_hex(&token)) };
        token.zeroize();
        Ok(vault)
    }

    /// A new device key.
    pub fn new_device_key() -> Result<DeviceKey, VaultError> {
        let mut key = Zeroizing::new([0; SECRET_LEN]);
        random(key.as_mut_slice())?;
        Ok(DeviceKey::from_bytes(*key))
    }

    /// Wraps a device's key.
    pub fn wrap(&self, device_id: &str, key: &DeviceKey) -> Result<Vec<u8>, VaultError> {
        // Rare enough to read the file each time: a rotation may have put another there.
        self.reload()?;
        let ciphers = self.ciphers.read().unwrap_or_else(PoisonError::into_inner);
        let cipher = ciphers.first().ok_or_else(|| VaultError::Damaged(self.master.clone()))?;
        wrap_with(cipher, device_id, key)
    }

    /// Unwraps a device's key.
    pub fn unwrap(&self, device_id: &str, wrapped: &[u8]) -> Result<DeviceKey, VaultError> {
        match self.unwrap_known(device_id, wrapped) {
            Some(key) => Ok(key),
            None => {
                self.reload()?;
                self.unwrap_known(device_id, wrapped)
                    .ok_or_else(|| VaultError::WrongMasterKey(device_id.into(), self.master.clone()))
            }
        }
    }

    fn unwrap_known(&self, device_id: &str, wrapped: &[u8]) -> Option<DeviceKey> {
        let ciphers = self.ciphers.read().unwrap_or_else(PoisonError::into_inner);
        ciphers.iter().find_map(|cipher| unwrap_with(cipher, device_id, wrapped))
    }

    fn reload(&self) -> Result<(), VaultError> {
        let ciphers = read_ciphers(&self.master)?;
        *self.ciphers.write().unwrap_or_else(PoisonError::into_inner) = ciphers;
        Ok(())
    }

    /// Begins a rotation: makes the next master key, or takes the one that a rotation which was cut short has
    /// left. It lies beside the present one, and whatever is wrapped under either unwraps.
    pub fn begin_rotation(&self) -> Result<(), VaultError> {
        hex_secret(&next_path(&self.master))?.zeroize();
        self.reload()
    }

    /// Wraps a key anew, under the next master key; `None` if it is already.
    pub fn rewrap(&self, device_id: &str, wrapped: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        let wrong = || VaultError::WrongMasterKey(device_id.into(), self.master.clone());
        let ciphers = self.ciphers.read().unwrap_or_else(PoisonError::into_inner);
        let [present, next] = ciphers.as_slice() else { return Err(wrong()) };
        if unwrap_with(next, device_id, wrapped).is_some() {
            return Ok(None);
        }
        let key = unwrap_with(present, device_id, wrapped).ok_or_else(wrong)?;
        wrap_with(next, device_id, &key).map(Some)
    }

    /// Ends a rotation: the next master key takes the place of the present one, which is kept beside it with the
    /// ending `.old`, for backups made before. This vault still unwraps under both, for what another server has
    /// wrapped in the meantime.
    pub fn end_rotation(&self) -> Result<(), VaultError> {
        let failed = |why| VaultError::File { path: self.master.clone(), why };
        let old = with_ending(&self.master, ".old");
        match fs::remove_file(&old) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(failed(why)),
            _ => fs::hard_link(&self.master, &old).map_err(failed)?,
        }
        fs::rename(next_path(&self.master), &self.master).map_err(failed)?;
        let dir = self.master.parent().filter(|dir| !dir.as_os_str().is_empty());
        fs::File::open(dir.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).map_err(failed)
    }

    /// True if `token` is the management token; takes the same time whatever it is.
    pub fn is_token(&self, token: &[u8]) -> bool {
        self.token.as_bytes().ct_eq(token).into()
    }

    /// The management token, for the one who owns the data directory.
    pub fn token(&self) -> &str {
        &self.token
    }
}

fn wrap_with(cipher: &XChaCha20Poly1305, device_id: &str, key: &DeviceKey) -> Result<Vec<u8>, VaultError> {
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce)?;
    let payload = Payload { msg: key.expose_secret(), aad: device_id.as_bytes() };
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| VaultError::NoRandom("the key cannot be wrapped".into()))?;
    Ok([&nonce[..], &sealed].concat())
}

fn unwrap_with(cipher: &XChaCha20Poly1305, device_id: &str, wrapped: &[u8]) -> Option<DeviceKey> {
    let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_LEN>()?;
    let payload = Payload { msg: sealed, aad: device_id.as_bytes() };
    let plain = Zeroizing::new(cipher.decrypt(&XNonce::from(*nonce), payload).ok()?);
    let key = Zeroizing::new(<[u8; SECRET_LEN]>::try_from(plain.as_slice()).ok()?);
    Some(DeviceKey::from_bytes(*key))
}

/// The master key, and the next one if there is one.
fn read_ciphers(master: &Path) -> Result<Vec<XChaCha20Poly1305>, VaultError> {
    // The next one first: if it takes the other's place in between, it is there twice instead of not at all.
    let next = next_path(master);
    let next = if next.exists() { read_secret(&next).map(Some) } else { Ok(None) };
    let keys = [Some(read_secret(master)?), next.or_else(gone)?].into_iter().flatten();
    Ok(keys.map(|key| XChaCha20Poly1305::new(&(*key).into())).collect())
}

fn gone(error: VaultError) -> Result<Option<Zeroizing<[u8; SECRET_LEN]>>, VaultError> {
    match error {
        VaultError::File { why, .. } if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => Err(other),
    }
}

fn next_path(master: &Path) -> PathBuf {
    with_ending(master, ".next")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Where the management token of a data directory lies.
pub fn token_path(data: &Path) -> PathBuf {
    data.join(TOKEN)
}

/// Fills `out` with random bytes of the system.
pub(crate) fn random(out: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(out).map_err(|e| VaultError::NoRandom(e.to_string()))
}

/// Reads 32 bytes of hex from a file only its owner can read; makes it with random ones if there is none.
fn hex_secret(path: &Path) -> Result<[u8; SECRET_LEN], VaultError> {
    let failed = |why| VaultError::File { path: path.into(), why };
    if !path.try_exists().map_err(failed)? {
        make_secret(path)?;
    }
    Ok(*read_secret(path)?)
}

fn read_secret(path: &Path) -> Result<Zeroizing<[u8; SECRET_LEN]>, VaultError> {
    let failed = |why| VaultError::File { path: path.into(), why };
    check_mode(path)?;
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    from_hex(text.trim_end()).map(Zeroizing::new).ok_or_else(|| VaultError::Damaged(path.into()))
}

fn make_secret(path: &Path) -> Result<(), VaultError> {
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    random(secret.as_mut_slice())?;
    let text = Zeroizing::new(to_hex(secret.as_slice()) + "\n");
    place(path, text.as_bytes(), 0o600)
}

/// Writes aside, then links into place unless there is one: two processes starting at once agree on one file.
pub(crate) fn place(path: &Path, content: &[u8], mode: u32) -> Result<(), VaultError> {
    let failed = |why| VaultError::File { path: path.into(), why };
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&aside).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside).map_err(failed)?;
    match linked {
        Err(why) if why.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(why)),
        _ => Ok(()),
    }
}

pub(crate) fn check_mode(path: &Path) -> Result<(), VaultError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = fs::metadata(path).map_err(|why| VaultError::File { path: path.into(), why })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(VaultError::Exposed { path: path.into(), mode });
        }
    }
    Ok(())
}

/// Lower-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, b| text + &format!("{b:02x}"))
}

/// `N` bytes from `2 N` hex digits.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, i) in out.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(i..i + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_only_under_the_same_master_key_and_id() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let vault = Vault::open(a.path(), None).unwrap();
        let key = Vault::new_device_key().unwrap();
        let wrapped = vault.wrap("cellar", &key).unwrap();
        assert!(!wrapped.windows(8).any(|w| w == &key.expose_secret()[..8]));
        let again = Vault::open(a.path(), None).unwrap();
        assert_eq!(again.unwrap("cellar", &wrapped).unwrap().expose_secret(), key.expose_secret());
        assert!(again.unwrap("attic", &wrapped).is_err());
        assert!(Vault::open(b.path(), None).unwrap().unwrap("cellar", &wrapped).is_err());
        for len in 0..wrapped.len() {
            assert!(vault.unwrap("cellar", &wrapped[..len]).is_err());
        }
    }

    #[test]
    fn a_named_master_key_is_shared_and_never_made() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let wrapped =
            Vault::open(a.path(), None).unwrap().wrap("cellar", &DeviceKey::from_bytes([7; 32])).unwrap();
        let shared = a.path().join(MASTER_KEY);
        let other = Vault::open(b.path(), Some(&shared)).unwrap();
        assert_eq!(other.unwrap("cellar", &wrapped).unwrap().expose_secret(), &[7; 32]);
        assert!(!b.path().join(MASTER_KEY).exists());
        let refused = Vault::open(b.path(), Some(&b.path().join("none.key"))).err().unwrap().to_string();
        assert!(refused.contains("none.key"), "{refused}");
    }

    #[test]
    fn whenever_a_rotation_is_cut_short_every_key_unwraps() {
        let dir = tempfile::tempdir().unwrap();
        let (vault, running) =
            (Vault::open(dir.path(), None).unwrap(), Vault::open(dir.path(), None).unwrap());
        let key = DeviceKey::from_bytes([7; 32]);
        let before = vault.wrap("cellar", &key).unwrap();
        let good = |wrapped: &[u8]| {
            for vault in [&Vault::open(dir.path(), None).unwrap(), &running] {
                assert_eq!(vault.unwrap("cellar", wrapped).unwrap().expose_secret(), &[7; 32]);
            }
        };
        vault.begin_rotation().unwrap();
        let after = vault.rewrap("cellar", &before).unwrap().unwrap();
        good(&before);
        good(&after);
        // Begun again after a power cut: the same next key.
        let again = Vault::open(dir.path(), None).unwrap();
        again.begin_rotation().unwrap();
        assert!(again.rewrap("cellar", &after).unwrap().is_none());
        good(&after);
        again.end_rotation().unwrap();
        good(&after);
        assert!(again.unwrap("cellar", &before).is_ok(), "what came in between is still read by who rotates");
        assert!(Vault::open(dir.path(), None).unwrap().unwrap("cellar", &before).is_err());
        let old = Vault::open(dir.path(), Some(&dir.path().join("master.key.old"))).unwrap();
        assert!(old.unwrap("cellar", &before).is_ok() && old.unwrap("cellar", &after).is_err());
        let late = running.wrap("cellar", &key).unwrap();
        good(&late);
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), None).unwrap();
        assert!(vault.is_token(vault.token().as_bytes()));
        assert!(!vault.is_token(b"") && !vault.is_token(&[b'0'; 64]));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let path = token_path(dir.path());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(Vault::open(dir.path(), None), Err(VaultError::Exposed { .. })));
        }
    }

    #[test]
    fn a_damaged_secret_is_named() {
        let dir = tempfile::tempdir().unwrap();
        drop(Vault::open(dir.path(), None).unwrap());
        let path = dir.path().join(MASTER_KEY);
        for text in ["", "abc", &"g".repeat(64), &"0".repeat(63), "é".repeat(32).as_str()] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Vault::open(dir.path(), None), Err(VaultError::Damaged(_))), "{text}");
        }
    }
}
