//! `kinglet certificate`: what devices pin.

use kinglet_server::{Tls, TlsError};
use serde_json::json;

use crate::args::CertificateArgs;
use crate::failure::{Failure, Kind, Result};
use crate::host;
use crate::term::Out;
use crate::term::style::BOLD;

pub(crate) fn run(args: &CertificateArgs) -> Result {
    let mut out = Out::new(args.common.json);
    let config = host::config(&args.common.overrides())?;
    let tls = Tls::open(&config).map_err(refused)?;
    let is_own = config.tls_files.is_none();
    let (pin, path) = (tls.pin().to_string(), tls.cert_path().display().to_string());
    out.result(&json!({ "pin": pin, "certificate": path, "self_made": is_own }))?;
    out.line(format_args!("{BOLD}{pin}{BOLD:#}"))?;
    out.line(format_args!("of the {} certificate {path}", if is_own { "self-made" } else { "configured" }))?;
    Ok(())
}

/// What is wrong with a certificate, for people.
pub(crate) fn refused(error: TlsError) -> Failure {
    let (kind, next) = match &error {
        TlsError::File { .. } | TlsError::Pair { .. } => {
            (Kind::Input, "leave --tls-cert and --tls-key out for a self-made one")
        }
        _ => (Kind::Failure, "check the data directory"),
    };
    Failure::new(kind, "there is no certificate to serve by").why(error).next(next)
}
