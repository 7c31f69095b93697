//! The frame around the programs whose size is measured: as little as there can be.

#[cfg(target_arch = "arm")]
use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
use riscv_rt::entry;

#[entry]
fn main() -> ! {
    // Nothing is known about these bytes, so that nothing is computed at compile time.
    let mut bytes = core::hint::black_box([0_u8; 2048]);
    super::uses(&mut bytes);
    core::hint::black_box(&bytes);
    semihosting::process::exit(0)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    semihosting::process::exit(1)
}
