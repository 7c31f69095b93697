//! Keys, seal and open: see `cargo xtask sizes`.
#![no_std]
#![no_main]

#[path = "../size.rs"]
mod size;
#[path = "../uses.rs"]
mod uses;

use uses::wire as uses;
