//! What a device has, encoder and wire: see `cargo xtask sizes`.
#![no_std]
#![no_main]

#[path = "../size.rs"]
mod size;
#[path = "../uses.rs"]
mod uses;

fn uses(memory: &mut size::Memory) {
    uses::encode(memory);
    uses::wire(memory);
}
