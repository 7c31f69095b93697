//! The two chips behind one face: a counter of instructions, the stack, the way out.

#[cfg(target_arch = "arm")]
mod arm;
#[cfg(target_arch = "riscv32")]
mod riscv;

#[cfg(target_arch = "arm")]
pub use arm::{entry, instructions_between, now, stack_pointer, start};
#[cfg(target_arch = "riscv32")]
pub use riscv::{entry, instructions_between, now, stack_pointer, start};

/// What untouched stack holds.
const PAINT: u32 = 0x5afe_57ac;
/// How much of it is painted, in words: 64 KiB.
const PAINTED: usize = 16 << 10;
/// The painter's own frame is left alone.
const SPARE: usize = 64;

/// Stack whose use is being watched.
pub struct Watch {
    top: *mut u32,
}

/// Paints the stack below the caller.
#[inline(never)]
pub fn watch_stack() -> Watch {
    let top = stack_pointer();
    for word in SPARE..PAINTED {
        // SAFETY: below the stack pointer, inside the 4 MB of RAM whose lower end holds a few hundred KB of
        // statics at most; nothing lives there, and the only interrupt (SysTick) leaves nothing behind that
        // it would read again.
        unsafe { top.sub(word).write_volatile(PAINT) };
    }
    Watch { top }
}

impl Watch {
    /// Most bytes of stack in use since, counted from `watch_stack`'s frame.
    #[inline(never)]
    pub fn used(&self) -> usize {
        for word in (SPARE..PAINTED).rev() {
            // SAFETY: as above; only read.
            if unsafe { self.top.sub(word).read_volatile() } != PAINT {
                return word * 4;
            }
        }
        SPARE * 4
    }
}

/// Leaves the emulator.
pub fn leave(passed: bool) -> ! {
    semihosting::process::exit(i32::from(!passed))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    semihosting::println!("FAILED panic: {info}");
    semihosting::process::exit(101)
}
