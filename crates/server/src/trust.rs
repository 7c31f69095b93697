//! Whom we believe when we reach others by TLS.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

/// Why there is no TLS: a file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Distrust(String);

/// The certificates in a PEM file.
pub(crate) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Distrust> {
    let wrong = |why: String| Distrust(format!("cannot read authorities in {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match all.map_err(|e| wrong(e.to_string()))? {
        all if all.is_empty() => Err(wrong("there is no certificate in it".into())),
        all => Ok(all),
    }
}

/// TLS that believes the certificates in this file, without one the public authorities.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Distrust> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        roots = RootCertStore::empty();
        for cert in authorities(path)? {
            roots.add(cert).map_err(unusable)?;
        }
    }
    Ok(Arc::new(builder()?.with_root_certificates(roots).with_no_client_auth()))
}

/// TLS as this program speaks it, before it is said whom it believes.
pub(crate) fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Distrust> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_protocol_versions(ALL_VERSIONS).map_err(unusable)
}

fn unusable(error: tokio_rustls::rustls::Error) -> Distrust {
    Distrust(format!("TLS cannot be used: {error}"))
}
