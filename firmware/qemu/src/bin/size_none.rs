//! Nothing of ours: what `cargo xtask sizes` subtracts.
#![no_std]
#![no_main]

#[path = "../size.rs"]
mod size;

fn uses(bytes: &mut [u8]) {
    core::hint::black_box(bytes);
}
