//! TLS: the user's certificate, read again when it changes, or a self-made one that devices pin.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::config::{Config, TlsFiles};
use crate::vault::{self, VaultError};

/// How often the files of a certificate are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const OWN_CERT: &str = "tls.crt";
const OWN_KEY: &str = "tls.key";

/// What is needed to serve by TLS 1.2 and 1.3.
pub struct Tls {
    files: TlsFiles,
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
    seen: Mutex<Stamp>,
}

/// SHA-256 of a certificate's DER form, as `openssl x509 -fingerprint -sha256` computes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

/// Why nothing can be served by TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "cannot read {path} as PEM: {why}; name your certificate and its key with --tls-cert and --tls-key"
    )]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key cannot be used together.
    #[error(
        "{cert} and {key} cannot be used together: {why}; the key must be the one the certificate was made for"
    )]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        why: String,
    },
    /// The self-made certificate cannot be made.
    #[error("no certificate can be made: {0}")]
    Made(String),
    /// The self-made certificate cannot be kept, or its key can be read by others.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Tls {
    /// Opens the certificate that was named, else the self-made one of the data directory, making it at the first start.
    pub fn open(config: &Config) -> Result<Self, TlsError> {
        let files = files_of(config);
        if config.tls_files.is_none() {
            make(&files, config)?;
        }
        let provider = Arc::new(ring::default_provider());
        let stamp = Stamp::of(&files);
        let shown = Arc::new(Shown(RwLock::new(load(&files, &provider)?)));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| TlsError::Made(why.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        // Devices that come back often need no full handshake.
        server.send_tls13_tickets = 1;
        Ok(Self { files, acceptor: TlsAcceptor::from(Arc::new(server)), shown, seen: Mutex::new(stamp) })
    }

    /// What devices compare the certificate with.
    pub fn pin(&self) -> Pin {
        // `load` has seen that there is one.
        Pin::of(self.shown.now().cert.first().map_or(&[], |cert| cert.as_ref()))
    }

    /// Where the certificate lies.
    pub fn cert_path(&self) -> &Path {
        &self.files.cert
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Shows a new certificate if the files have changed; true if it does. On an error the old one stays.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let stamp = Stamp::of(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp == *seen {
            return Ok(false);
        }
        *seen = stamp;
        let new = load(&self.files, &ring::default_provider())?;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }

    /// Looks at the files now and then, until the server stops.
    pub(crate) async fn follow(&self, mut stopping: watch::Receiver<bool>) {
        while !*stopping.borrow() {
            if tokio::time::timeout(LOOK_EVERY, stopping.changed()).await.is_ok() {
                return;
            }
            match self.refresh() {
                Ok(false) => {}
                Ok(true) => tracing::info!(pin = %self.pin(), "the certificate is a new one"),
                // Half of a renewal, most likely: the other file changes the stamp again.
                Err(error) => tracing::warn!(%error, "the old certificate stays"),
            }
        }
    }
}

impl Pin {
    /// The pin of a certificate in DER form.
    pub fn of(cert: &[u8]) -> Self {
        Self(Sha256::digest(cert).into())
    }

    /// The pin of what a server of this configuration shows. Makes no certificate and needs no key.
    pub fn configured(config: &Config) -> Result<Self, TlsError> {
        // `read_chain` has seen that there is one.
        Ok(Self::of(read_chain(&files_of(config).cert)?.first().map_or(&[], |cert| cert.as_ref())))
    }

    /// Reads `sha256:` and 64 hex digits; colons between them, as openssl prints them, are fine too.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, digits) = text.trim().split_once(':')?;
        if !kind.eq_ignore_ascii_case("sha256") {
            return None;
        }
        let digits: String = digits.chars().filter(|c| *c != ':').collect();
        vault::from_hex(&digits).map(Self)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", vault::to_hex(&self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).field("pin", &self.pin()).finish_non_exhaustive()
    }
}

/// The certificate that is shown at this time.
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    fn now(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

/// When and how long: what differs after a renewal.
#[derive(PartialEq)]
struct Stamp([Option<(SystemTime, u64)>; 2]);

impl Stamp {
    fn of(files: &TlsFiles) -> Self {
        let stamp = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Self([stamp(&files.cert), stamp(&files.key)])
    }
}

fn load(files: &TlsFiles, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = read_chain(&files.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|e| unreadable(&files.key, e.to_string()))?;
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(|why| TlsError::Pair {
        cert: files.cert.clone(),
        key: files.key.clone(),
        why: why.to_string(),
    })?;
    Ok(Arc::new(pair))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let chain = chain.map_err(|e| unreadable(path, e.to_string()))?;
    if chain.is_empty() {
        return Err(unreadable(path, "there is no certificate in it".into()));
    }
    Ok(chain)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    fs::read(path).map(Zeroizing::new).map_err(|e| unreadable(path, e.to_string()))
}

fn unreadable(path: &Path, why: String) -> TlsError {
    TlsError::File { path: path.into(), why }
}

/// The certificate that was named, else the one of the data directory, whether it is there yet or not.
fn files_of(config: &Config) -> TlsFiles {
    let own = || TlsFiles { cert: config.data.join(OWN_CERT), key: config.data.join(OWN_KEY) };
    config.tls_files.clone().unwrap_or_else(own)
}

/// Makes the self-made certificate if it is not there: ECDSA on P-256, which every TLS library of a microcontroller speaks, and without an
/// end that a device without a clock could miss. Who pins it needs no name in it; the names are for browsers and curl.
fn make(files: &TlsFiles, config: &Config) -> Result<(), TlsError> {
    let failed = |why: rcgen::Error| TlsError::Made(why.to_string());
    let file_failed = |path: &Path, why| VaultError::File { path: path.into(), why };
    fs::create_dir_all(&config.data).map_err(|why| file_failed(&config.data, why))?;
    // Two processes that start at once agree on the key first, and then on a certificate of it.
    if !files.key.try_exists().map_err(|why| file_failed(&files.key, why))? {
        let key = Zeroizing::new(KeyPair::generate().map_err(failed)?.serialize_pem());
        vault::place(&files.key, key.as_bytes(), 0o600)?;
    }
    vault::check_mode(&files.key)?;
    if !files.cert.try_exists().map_err(|why| file_failed(&files.cert, why))? {
        let pem = fs::read_to_string(&files.key).map_err(|why| file_failed(&files.key, why))?;
        let key = KeyPair::from_pem(&Zeroizing::new(pem)).map_err(failed)?;
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
        names.extend(config.hosts.iter().cloned());
        let bound = config.https.map(|addr| addr.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
        names.extend(bound.map(|ip| ip.to_string()));
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "kinglet");
        let cert = params.self_signed(&key).map_err(failed)?;
        vault::place(&files.cert, cert.pem().as_bytes(), 0o644)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_self_made_certificate_is_made_once_and_its_key_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path());
        assert!(matches!(Pin::configured(&config), Err(TlsError::File { .. })), "asking makes none");
        let pin = Tls::open(&config).unwrap().pin();
        assert_eq!(Tls::open(&config).unwrap().pin(), pin);
        assert_eq!(Pin::configured(&config).unwrap(), pin);
        assert_eq!(Pin::parse(&pin.to_string()), Some(pin));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let key = dir.path().join(OWN_KEY);
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(Tls::open(&config), Err(TlsError::Vault(VaultError::Exposed { .. }))));
        }
    }

    #[test]
    fn processes_that_start_at_once_show_one_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path());
        let open = || Tls::open(&config).map(|tls| tls.pin());
        let pins: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // Threads of one process share the name of the file aside, so one of them may fail; never do two differ.
        let pins: Vec<_> = pins.into_iter().flatten().chain(open()).collect();
        assert!(pins.windows(2).all(|two| two[0] == two[1]), "{pins:?}");
    }

    #[test]
    fn a_changed_certificate_is_shown_and_a_broken_one_is_not() {
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut config = Config::new(other.path());
        let renewed = Tls::open(&config).unwrap();
        let files = TlsFiles { cert: ours.path().join("a.pem"), key: ours.path().join("a.key") };
        let copy = |from: &Path| {
            fs::copy(from.join(OWN_CERT), &files.cert).unwrap();
            fs::copy(from.join(OWN_KEY), &files.key).unwrap();
        };
        let first = tempfile::tempdir().unwrap();
        drop(Tls::open(&Config::new(first.path())).unwrap());
        copy(first.path());
        config.tls_files = Some(files.clone());
        let tls = Tls::open(&config).unwrap();
        let old = tls.pin();
        assert!(!tls.refresh().unwrap());
        fs::write(&files.key, "half").unwrap();
        assert!(matches!(tls.refresh(), Err(TlsError::File { .. })));
        assert_eq!(tls.pin(), old);
        fs::copy(other.path().join(OWN_KEY), &files.key).unwrap();
        assert!(matches!(tls.refresh(), Err(TlsError::Pair { .. })));
        copy(other.path());
        assert!(tls.refresh().unwrap());
        assert!(tls.pin() == renewed.pin() && tls.pin() != old);
    }

    #[test]
    fn pins_are_read_as_openssl_prints_them() {
        let pin = Pin([0xab; 32]);
        let colons = format!("sha256:{}", ["AB"; 32].join(":"));
        assert_eq!(Pin::parse(&colons), Some(pin));
        for text in ["", "sha256", "sha256:ab", "md5:ab", &"ab".repeat(32)] {
            assert_eq!(Pin::parse(text), None, "{text}");
        }
    }
}
