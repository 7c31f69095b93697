//! Secrets at rest: device keys wrapped under a master key, and the token for management calls.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use kinglet_wire::keys::{DeviceKey, SECRET_LEN};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

const NONCE_LEN: usize = 24;
const MASTER_KEY: &str = "master.key";
const TOKEN: &str = "token";

/// Wraps and unwraps device keys (XChaCha20-Poly1305, random nonce, device id as associated data) and knows
/// the management token. Both secrets lie in files of the data directory that only its owner can read.
pub struct Vault {
    cipher: XChaCha20Poly1305,
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
    #[error("the key of device `{0}` does not unwrap: master.key is not the one it was stored under")]
    WrongMasterKey(String),
}

impl Vault {
    /// Opens the vault of a data directory, making both secrets at the first start.
    pub fn open(data: &Path) -> Result<Self, VaultError> {
        fs::create_dir_all(data).map_err(|why| VaultError::File { path: data.into(), why })?;
        let master = Zeroizing::new(hex_secret(&data.join(MASTER_KEY))?);
        let mut token = hex_secret(&data.join(TOKEN))?;
        let vault =
            Self { cipher: XChaCha20Poly1305::new(&(*master).into()), token: Zeroizing::new(to_hex(&token)) };
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
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        let payload = Payload { msg: key.expose_secret(), aad: device_id.as_bytes() };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| VaultError::WrongMasterKey(device_id.into()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Unwraps a device's key.
    pub fn unwrap(&self, device_id: &str, wrapped: &[u8]) -> Result<DeviceKey, VaultError> {
        let wrong = || VaultError::WrongMasterKey(device_id.into());
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        let payload = Payload { msg: sealed, aad: device_id.as_bytes() };
        let plain = Zeroizing::new(self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| wrong())?);
        let key = Zeroizing::new(<[u8; SECRET_LEN]>::try_from(plain.as_slice()).map_err(|_| wrong())?);
        Ok(DeviceKey::from_bytes(*key))
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
    check_mode(path)?;
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    from_hex(text.trim_end()).ok_or_else(|| VaultError::Damaged(path.into()))
}

/// Writes aside, then links into place: two processes starting at once agree on one secret.
fn make_secret(path: &Path) -> Result<(), VaultError> {
    let failed = |why| VaultError::File { path: path.into(), why };
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    random(secret.as_mut_slice())?;
    let text = Zeroizing::new(to_hex(secret.as_slice()) + "\n");
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&aside).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside).map_err(failed)?;
    match linked {
        Err(why) if why.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(why)),
        _ => Ok(()),
    }
}

fn check_mode(path: &Path) -> Result<(), VaultError> {
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
        let vault = Vault::open(a.path()).unwrap();
        let key = Vault::new_device_key().unwrap();
        let wrapped = vault.wrap("cellar", &key).unwrap();
        assert!(!wrapped.windows(8).any(|w| w == &key.expose_secret()[..8]));
        let again = Vault::open(a.path()).unwrap();
        assert_eq!(again.unwrap("cellar", &wrapped).unwrap().expose_secret(), key.expose_secret());
        assert!(again.unwrap("attic", &wrapped).is_err());
        assert!(Vault::open(b.path()).unwrap().unwrap("cellar", &wrapped).is_err());
        for len in 0..wrapped.len() {
            assert!(vault.unwrap("cellar", &wrapped[..len]).is_err());
        }
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        assert!(vault.is_token(vault.token().as_bytes()));
        assert!(!vault.is_token(b"") && !vault.is_token(&[b'0'; 64]));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let path = token_path(dir.path());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(Vault::open(dir.path()), Err(VaultError::Exposed { .. })));
        }
    }

    #[test]
    fn a_damaged_secret_is_named() {
        let dir = tempfile::tempdir().unwrap();
        drop(Vault::open(dir.path()).unwrap());
        let path = dir.path().join(MASTER_KEY);
        for text in ["", "abc", &"g".repeat(64), &"0".repeat(63), "é".repeat(32).as_str()] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Vault::open(dir.path()), Err(VaultError::Damaged(_))), "{text}");
        }
    }
}
