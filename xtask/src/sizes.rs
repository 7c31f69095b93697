//! How many bytes of a chip's memory the codec and the wire format take.
//!
//! Measured as the difference between linked programs: one that uses nothing of ours, and others that use one
//! part each. That is what a firmware pays, compiler helpers and unrolling included.

use std::path::Path;

use object::{Object, ObjectSection, SectionFlags, SectionKind, elf};
use serde_json::json;

use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::device::{self, CHIPS, Chip};
use crate::need::{self, Need};
use crate::stages::{M4, RV32};

/// Program, and what it has more than the first.
const PROGRAMS: &[(&str, &str)] = &[
    ("size_none", "nothing of ours (start code, exit)"),
    ("size_encode", "codec: encode"),
    ("size_codec", "codec: encode and decode"),
    ("size_wire", "wire: keys, seal and open"),
    ("size_all", "codec and wire"),
    SMALL,
];

/// What a device has, built as the ESP32 firmware is: for size above all, AES and SHA-256 in their small variants.
const SMALL: (&str, &str) = ("size_device", "device: encode, keys, seal and open");
pub(crate) const SMALL_FLAGS: &str = r#"--cfg sha2_backend_soft="compact" --cfg aes_backend_soft="compact""#;

/// Name, what it is, which parts of the codec it has, and the most bytes of flash it may take on rv32imc.
const SMALLEST: &[(&str, &str, &[&str], u64)] = &[
    ("size_device_small", "the same at opt-level \"z\", small ciphers", &[], 54_400),
    (
        "size_device_starter",
        "and of the codec only what the DHT22 starter has",
        &["--no-default-features", "--features", "starter"],
        37_800,
    ),
];

/// Bytes of one linked program.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Code and constants: flash.
    pub(crate) flash: u64,
    /// Statics: RAM before any stack.
    pub(crate) ram: u64,
}

pub(crate) fn print(context: &Context) -> Result<bool> {
    need::meet(context, &[Need::Target(RV32), Need::Target(M4)])?;
    let mut all = Vec::new();
    for &chip in CHIPS {
        let mut base = None;
        for (program, what) in PROGRAMS {
            let size = measure(context, chip, program)?;
            let base = *base.get_or_insert(size);
            let flash = size.flash - base.flash.min(size.flash);
            let ram = size.ram - base.ram.min(size.ram);
            all.push((chip.name, *program, *what, size, flash, ram));
        }
    }
    for &chip in CHIPS {
        for &(program, what, features, _) in SMALLEST {
            let (base, size) = smallest(context, chip, features)?;
            let (flash, ram) = (size.flash - base.flash.min(size.flash), size.ram - base.ram.min(size.ram));
            all.push((chip.name, program, what, size, flash, ram));
        }
    }
    if context.options.json {
        let rows = all.iter().map(|(chip, program, what, size, flash, ram)| {
            json!({ "chip": chip, "program": program, "what": what, "flash_total": size.flash, "flash_more": flash, "ram_more": ram })
        });
        println!("{}", json!(rows.collect::<Vec<_>>()));
        return Ok(true);
    }
    context.say("\nbytes more than a program without us, opt-level \"s\", linked");
    for (chip, _, what, size, flash, ram) in all {
        context
            .say(&format!("{chip:<10} {what:<48} {flash:>7} flash {ram:>5} RAM   ({} in all)", size.flash));
    }
    Ok(true)
}

/// Whether what a device has keeps to its budget on `chip`.
pub(crate) fn check(context: &Context, chip: Chip) -> Result<Tally> {
    let mut tally = Tally::default();
    for &(program, _, features, most) in SMALLEST {
        let (base, size) = smallest(context, chip, features)?;
        let flash = size.flash.saturating_sub(base.flash);
        context.say(&format!("{program}: {flash} bytes of flash, at most {most}"));
        tally.add(Tally::one((1..=most).contains(&flash)));
    }
    Ok(tally)
}

/// What a program without us takes, and what one that has all a device has.
fn smallest(context: &Context, chip: Chip, features: &[&str]) -> Result<(Size, Size)> {
    let of = |program| -> Result<Size> {
        size_of(&device::build_with(context, chip, "small", program, SMALL_FLAGS, features)?)
    };
    Ok((of("size_none")?, of(SMALL.0)?))
}

pub(crate) fn measure(context: &Context, chip: Chip, program: &str) -> Result<Size> {
    size_of(&device::build(context, chip, "size", program)?)
}

fn size_of(path: &Path) -> Result<Size> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file = object::File::parse(&*bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut size = Size { flash: 0, ram: 0 };
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        // Linker scripts also reserve the heap and the stack as sections: they are not ours.
        let reserved = matches!(section.name(), Ok(".heap" | ".stack" | ".uninit"));
        if sh_flags & elf::SHF_ALLOC == elf::SectionFlags(0) || reserved {
            continue;
        }
        match section.kind() {
            SectionKind::UninitializedData => size.ram += section.size(),
            SectionKind::Data => {
                size.ram += section.size();
                size.flash += section.size();
            }
            _ => size.flash += section.size(),
        }
    }
    Ok(size)
}
