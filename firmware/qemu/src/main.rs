//! Reads the golden vectors on a chip and says whether every byte is the one written on the host.
//!
//! Prints one line per check, figures as `figure NAME VALUE`, and leaves with 0 only if all passed.
#![no_std]
#![no_main]

mod chip;

use semihosting::println;

#[chip::entry]
fn main() -> ! {
    chip::start();
    let a = chip::now();
    let mut x = 0u32;
    for i in 0..100000u32 {
        x = core::hint::black_box(x.wrapping_mul(3).wrapping_add(i));
    }
    let b = chip::now();
    let w = chip::watch_stack();
    f();
    println!("{} {x} stack {}", chip::instructions_between(a, b), w.used());
    chip::leave(true)
}
#[inline(never)]
fn f() {
    let a = core::hint::black_box([7u8; 10000]);
    core::hint::black_box(&a);
}
