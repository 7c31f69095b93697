//! rv32imc on QEMU's `virt` board. Under `-icount shift=0` the CSR `minstret` counts instructions exactly.

pub use riscv_rt::entry;

/// Nothing to prepare.
pub fn start() {}

/// Instructions retired since reset.
pub fn now() -> u64 {
    riscv::register::minstret::read64()
}

/// Instructions from `from` to `to`.
pub fn instructions_between(from: u64, to: u64) -> u64 {
    to - from
}

/// Where the stack ends now.
#[inline(always)]
pub fn stack_pointer() -> *mut u32 {
    let sp;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mv {sp}, sp", sp = out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}
