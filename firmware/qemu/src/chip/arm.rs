//! Cortex-M4 on QEMU's `mps2-an386` board. Under `-icount shift=6` an instruction takes 64 ns of virtual time
//! and SysTick, clocked at 25 MHz, counts 1.6 ticks for it.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::syst::SystClkSource;
pub use cortex_m_rt::entry;
use cortex_m_rt::exception;

const RELOAD: u32 = 0x00ff_ffff;
static WRAPS: AtomicU32 = AtomicU32::new(0);

/// Starts the counter.
pub fn start() {
    let Some(core) = cortex_m::Peripherals::take() else { return };
    let mut tick = core.SYST;
    tick.set_clock_source(SystClkSource::Core);
    tick.set_reload(RELOAD);
    tick.clear_current();
    tick.enable_interrupt();
    tick.enable_counter();
}

/// Ticks since the start.
pub fn now() -> u64 {
    loop {
        let before = WRAPS.load(Ordering::Relaxed);
        let current = cortex_m::peripheral::SYST::get_current();
        if before == WRAPS.load(Ordering::Relaxed) {
            return u64::from(before) * (u64::from(RELOAD) + 1) + u64::from(RELOAD - current);
        }
    }
}

/// Instructions from `from` to `to`: 1.6 ticks each.
pub fn instructions_between(from: u64, to: u64) -> u64 {
    (to - from) * 5 / 8
}

/// Where the stack ends now.
#[inline(always)]
pub fn stack_pointer() -> *mut u32 {
    let sp;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {sp}, sp", sp = out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}

#[exception]
fn SysTick() {
    WRAPS.fetch_add(1, Ordering::Relaxed);
}
