//! Reads the golden vectors on a chip and says whether every byte is the one written on the host.
//!
//! Prints `ok NAME` or `FAILED NAME: why` per check and figures as `figure NAME VALUE`; leaves with 0 only if
//! all passed. Vectors are compiled in; `build.rs` says where from.
#![no_std]
#![no_main]

mod chip;
mod codec;
mod report;
mod vectors;
mod wire;

use report::Report;

#[chip::entry]
fn main() -> ! {
    chip::start();
    let mut report = Report::default();
    wire::check(&mut report);
    codec::check(&mut report);
    chip::leave(report.passed())
}
