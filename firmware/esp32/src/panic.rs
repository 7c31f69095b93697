//! Where the firmware finds a mistake of its own, it says at which addresses it was and starts again.
//!
//! Addresses, because messages, file names and line numbers of all places that may panic take 69 kB of the image, a
//! tenth of it. `espflash monitor --elf …` writes the names of functions beside them, as does `addr2line -pfe`.

use core::panic::PanicInfo;

/// Flash that code runs from, of the RISC-V chips.
const CODE: core::ops::Range<u32> = 0x4200_0000..0x4300_0000;
/// How far up the stack return addresses are looked for, in words.
const DEPTH: u32 = 256;
/// RAM of every chip ends at a multiple of this.
const RAM_END: u32 = 0x2_0000;
/// Addresses said.
const ADDRESSES_MAX: usize = 16;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    esp_println::println!("\npanic");
    #[cfg(target_arch = "riscv32")]
    exception();
    esp_println::println!("on the stack, newest first, some of them stale:");
    let here = 0_u32;
    let mut at = &raw const here as u32;
    let end = (at + 4 * DEPTH).min((at | (RAM_END - 1)) & !3);
    let mut n_said = 0;
    while at < end && n_said < ADDRESSES_MAX {
        // SAFETY: aligned, and between a variable on the stack and the end of RAM: a plain word, whatever it means.
        let word = unsafe { core::ptr::read_volatile(at as *const u32) };
        if CODE.contains(&word) {
            esp_println::println!("0x{word:x}");
            n_said += 1;
        }
        at += 4;
    }
    esp_hal::system::software_reset()
}

/// An exception of the chip's is a panic too: says which, and where.
#[cfg(target_arch = "riscv32")]
fn exception() {
    let (cause, at, value): (u32, u32, u32);
    // SAFETY: reads registers of the trap before, changes nothing.
    unsafe {
        core::arch::asm!(
            "csrr {0}, mcause", "csrr {1}, mepc", "csrr {2}, mtval",
            out(reg) cause, out(reg) at, out(reg) value, options(nomem, nostack)
        );
    }
    // The uppermost bit marks an interrupt.
    if cause >> 31 == 0 {
        esp_println::println!("exception {} at 0x{at:x}, value 0x{value:x}", cause & 31);
    }
}
