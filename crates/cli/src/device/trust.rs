//! Whom a device believes: the certificate it was given the fingerprint of, an authority of the user's, or the public ones.

use std::path::Path;
use std::sync::Arc;

use kinglet_server::tls::Pin;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::args::TrustArgs;
use crate::failure::{Failure, Result};
use crate::files;

/// What every connection by TLS is made with.
#[derive(Clone, Debug)]
pub(crate) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// As the flags say, else the pin of the provisioning, else the public authorities.
    pub(crate) fn new(args: &TrustArgs, provisioned: Option<Pin>) -> Result<Self> {
        match (&args.ca, args.pin.or(provisioned)) {
            (Some(path), _) => Self::by_authority(path),
            (None, Some(pin)) => Self::by_pin(pin),
            (None, None) => Self::public(),
        }
    }

    /// The authorities browsers know.
    pub(crate) fn public() -> Result<Self> {
        Self::by_roots(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    fn by_authority(path: &Path) -> Result<Self> {
        let none = |why: String| {
            Failure::input(format_args!("{} holds no certificates", path.display()))
                .why(why)
                .next("name a PEM file of the authority that signed the server's certificate")
        };
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(&files::read(path)?) {
            roots.add(cert.map_err(|e| none(e.to_string()))?).map_err(|e| none(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(none("there is none in it".into()));
        }
        Self::by_roots(roots)
    }

    fn by_roots(roots: RootCertStore) -> Result<Self> {
        let (provider, versions) = (Arc::new(ring::default_provider()), rustls::ALL_VERSIONS);
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        Ok(Self(Arc::new(builder.map_err(unusable)?.with_root_certificates(roots).with_no_client_auth())))
    }

    pub(crate) fn by_pin(pin: Pin) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Pinned { pin, provider: Arc::clone(&provider) });
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(rustls::ALL_VERSIONS);
        let builder = builder.map_err(unusable)?.dangerous().with_custom_certificate_verifier(verifier);
        Ok(Self(Arc::new(builder.with_no_client_auth())))
    }
}

fn unusable(error: Error) -> Failure {
    Failure::new(crate::failure::Kind::Failure, "TLS cannot be used").why(error)
}

/// Believes one certificate, whatever names and dates it has. That the server holds its key is checked as ever.
#[derive(Debug)]
struct Pinned {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match Pin::of(cert) == self.pin {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
