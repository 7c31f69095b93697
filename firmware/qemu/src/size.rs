//! The frame around the programs whose size is measured: as little as there can be.

#[cfg(target_arch = "arm")]
use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
use riscv_rt::entry;

/// What the programs work on. It lies here as it would in a device's statics: in the frame of a function that is measured it
/// would make the way to everything else in there longer.
#[allow(dead_code, reason = "each program uses its own part")]
pub struct Memory {
    pub bytes: [u8; 2048],
    pub steps: [i32; 64],
    pub workspace: [i32; 1024],
}

#[entry]
fn main() -> ! {
    let mut memory = Memory { bytes: [0; 2048], steps: [0; 64], workspace: [0; 1024] };
    // Nothing is known about these bytes, so that nothing is computed at compile time.
    let memory = core::hint::black_box(&mut memory);
    super::uses(memory);
    core::hint::black_box(memory);
    semihosting::process::exit(0)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    semihosting::process::exit(1)
}
