//! Whom we believe when we pass on by TLS.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, RootCertStore};

use super::Trouble;

/// The certificates in a PEM file.
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let wrong =
        |why: String| Trouble::Target(format!("cannot read authorities in {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match all.map_err(|e| wrong(e.to_string()))? {
        all if all.is_empty() => Err(wrong("there is no certificate in it".into())),
        all => Ok(all),
    }
}

/// TLS that believes the certificates in this file, without one the public authorities.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Trouble> {
    let wrong = |e: tokio_rustls::rustls::Error| Trouble::Target(format!("TLS cannot be used: {e}"));
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        roots = RootCertStore::empty();
        for cert in authorities(path)? {
            roots.add(cert).map_err(wrong)?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(ALL_VERSIONS).map_err(wrong)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
