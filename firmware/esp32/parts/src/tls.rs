//! TLS 1.3 to the one server whose certificate is pinned: no certificate authority, no names, no clock.
//!
//! The certificate must be the very one whose SHA-256 the board was given, and the server must have signed the handshake with
//! its key. The library lets a server leave both of these messages out; [`open`] does not.

use alloc::vec::Vec;

use embedded_io_async::{Read, Write};
use embedded_tls::{
    Aes128GcmSha256, CertificateEntryRef, CertificateRef, CertificateVerifyRef, CryptoProvider, CryptoRng,
    CryptoRngCore, SignatureScheme, TlsConfig, TlsConnection, TlsContext, TlsError, TlsVerifier,
};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use rand_core::RngCore;
use sha2::{Digest, Sha256};

/// Room for a record of the server's: its certificate is the longest, its answers have some hundred bytes.
pub const READ_LEN: usize = 8 * 1024;
/// Room for a record of ours.
pub const WRITE_LEN: usize = 2 * 1024;

/// A connection that has shown the pinned certificate.
pub type Tls<'a, S> = TlsConnection<'a, S, Aes128GcmSha256>;

/// Shakes hands over `io`. `random` must give numbers nobody can foresee.
pub async fn open<'a, S: Read + Write + 'a>(
    io: S,
    pin: [u8; 32],
    random: &mut dyn FnMut(&mut [u8]),
    read: &'a mut [u8],
    write: &'a mut [u8],
) -> Result<Tls<'a, S>, TlsError> {
    let mut tls = TlsConnection::new(io, read, write);
    let mut provider =
        Provider { random: Random(random), pinned: Pinned { pin, shown: None, is_verified: false } };
    let config = TlsConfig::new();
    tls.open(TlsContext::new(&config, &mut provider)).await?;
    // Nothing has been said yet that is not for everybody to know.
    if provider.pinned.is_verified { Ok(tls) } else { Err(TlsError::InvalidCertificate) }
}

struct Provider<'a> {
    random: Random<'a>,
    pinned: Pinned,
}

impl CryptoProvider for Provider<'_> {
    type CipherSuite = Aes128GcmSha256;
    type Signature = &'static [u8];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.random
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Self::CipherSuite>, TlsError> {
        Ok(&mut self.pinned)
    }
}

struct Pinned {
    pin: [u8; 32],
    /// The certificate's key, and the handshake up to the certificate.
    shown: Option<(VerifyingKey, Sha256)>,
    is_verified: bool,
}

impl TlsVerifier<Aes128GcmSha256> for Pinned {
    fn set_hostname_verification(&mut self, _: &str) -> Result<(), TlsError> {
        Ok(())
    }

    fn verify_certificate(&mut self, transcript: &Sha256, cert: CertificateRef<'_>) -> Result<(), TlsError> {
        self.is_verified = false;
        let Some(CertificateEntryRef::X509(der)) = cert.entries.first() else {
            return Err(TlsError::InvalidCertificate);
        };
        if Sha256::digest(der)[..] != self.pin {
            return Err(TlsError::InvalidCertificate);
        }
        let key = p256_key(der).ok_or(TlsError::InvalidCertificate)?;
        self.shown = Some((key, transcript.clone()));
        Ok(())
    }

    fn verify_signature(&mut self, verify: CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        let (key, transcript) = self.shown.take().ok_or(TlsError::InvalidSignature)?;
        if verify.signature_scheme != SignatureScheme::EcdsaSecp256r1Sha256 {
            return Err(TlsError::InvalidSignatureScheme);
        }
        let mut signed = Vec::from([b' '; 64]);
        signed.extend_from_slice(b"TLS 1.3, server CertificateVerify\0");
        signed.extend_from_slice(&transcript.finalize());
        let signature = Signature::from_der(verify.signature).map_err(|_| TlsError::InvalidSignature)?;
        key.verify(&signed, &signature).map_err(|_| TlsError::InvalidSignature)?;
        self.is_verified = true;
        Ok(())
    }
}

/// The certificate's public key, if it is one on P-256, as `kinglet serve` makes them: the point behind the identifiers of
/// algorithm and curve. The bytes are those that were pinned, so nobody can have put another key there.
fn p256_key(der: &[u8]) -> Option<VerifyingKey> {
    const HEAD: &[u8] =
        b"\x30\x13\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01\x06\x08\x2A\x86\x48\xCE\x3D\x03\x01\x07\x03\x42\0";
    let at = der.windows(HEAD.len()).position(|window| window == HEAD)? + HEAD.len();
    VerifyingKey::from_sec1_bytes(der.get(at..at + 65)?).ok()
}

struct Random<'a>(&'a mut dyn FnMut(&mut [u8]));

impl RngCore for Random<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }
    fn fill_bytes(&mut self, out: &mut [u8]) {
        (self.0)(out);
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl CryptoRng for Random<'_> {}
