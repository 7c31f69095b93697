//! Nothing of ours: what `cargo xtask sizes` subtracts.
#![no_std]
#![no_main]

#[path = "../size.rs"]
mod size;

fn uses(memory: &mut size::Memory) {
    core::hint::black_box(memory);
}
