//! What a device has, encoder and wire: see `cargo xtask sizes`.
#![no_std]
#![no_main]

#[path = "../size.rs"]
mod size;
#[path = "../uses.rs"]
mod uses;

fn uses(bytes: &mut [u8]) {
    uses::encode(bytes);
    uses::wire(bytes);
}
