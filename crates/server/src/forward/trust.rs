//! Whom we believe when we pass on by TLS.

use std::path::Path;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

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
