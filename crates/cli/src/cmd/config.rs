//! `kinglet config`.

use kinglet_server::config::Config;

use crate::failure::Result;
use crate::term::Out;

pub(crate) fn run() -> Result {
    Ok(Out::new(false).raw(&Config::commented_default())?)
}
