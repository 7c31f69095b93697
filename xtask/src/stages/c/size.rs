//! How much flash the C library takes on a Cortex-M4: linked programs, less one that uses nothing of it.

use std::path::Path;

use object::{Object, ObjectSection, SectionFlags, SectionKind, elf};

use super::{compiler, library, must};
use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::need::{self, Need};

const NEEDS: &[Need] = &[
    Need::Program { name: "arm-none-eabi-gcc", package: "gcc-arm-none-eabi" },
    Need::File { path: "/usr/lib/picolibc/arm-none-eabi/picolibc.specs", package: "picolibc-arm-none-eabi" },
];
const COMPILER: &[&str] = &[
    "arm-none-eabi-gcc",
    "-std=c99",
    "-Os",
    "-mcpu=cortex-m4",
    "-mthumb",
    "-ffunction-sections",
    "-fdata-sections",
    "--specs=picolibc.specs",
];
/// What `size.c` is told to use, and what that is.
const PARTS: &[(&str, &str)] = &[
    ("SIZE_CODEC", "codec: model and encoder"),
    ("SIZE_WIRE", "wire: keys, joins, seal and open"),
    ("SIZE_ALL", "codec and wire"),
    ("SIZE_NODE", "everything, outbox and clock included"),
];
/// The part that has a budget.
const BUDGETED: &str = "SIZE_ALL";
/// Which bundles the library reads, how it is told so, and the most that codec and wire may take then.
const LIBRARIES: &[(&str, &[&str], u64)] = &[
    // Counts and the search for whole bytes take 3,600 of it, references, budgets and LoRaWAN 1,800 more.
    ("every bundle", &[], 25_650),
    // As `kinglet export` writes it beside them.
    ("the starter for a DHT22", &["-DKGL_PARTS=0x0430"], 18_000),
    ("the starter for a BME280", &["-DKGL_PARTS=0x0410"], 16_000),
];

pub(super) fn stage(context: &Context, dir: &Path) -> Result<Tally> {
    if let Err(why) = need::meet(context, NEEDS) {
        context.say(&format!("size: skipped. {why}"));
        return Ok(Tally { skipped: 1, ..Tally::default() });
    }
    let built = dir.join("cortex-m4");
    let mut tally = Tally::default();
    for (reads, flags, most) in LIBRARIES {
        let objects = library(context, COMPILER, &built, flags)?;
        let measure = |part: &str| -> Result<u64> {
            let program = built.join(part);
            let mut compile = compiler(context, COMPILER);
            compile.arg(format!("-D{part}")).arg(context.root.join("arduino/test/size.c")).args(&objects);
            compile
                .args(*flags)
                .args(["-nostartfiles", "-Wl,--entry=main,--gc-sections", "-o"])
                .arg(&program);
            must(context, &mut compile)?;
            flash(&program)
        };
        let none = measure("SIZE_NONE")?;
        context.say(&format!(
            "bytes of flash on a Cortex-M4, -Os, code and tables without weights, for {reads}"
        ));
        for (part, what) in PARTS {
            let bytes = measure(part)? - none;
            context.say(&format!("  {what:<40} {bytes:>7}"));
            if *part == BUDGETED {
                tally.add(Tally::one(bytes <= *most));
            }
        }
    }
    Ok(tally)
}

fn flash(program: &Path) -> Result<u64> {
    let bytes = std::fs::read(program).map_err(|e| format!("{}: {e}", program.display()))?;
    let file = object::File::parse(&*bytes).map_err(|e| format!("{}: {e}", program.display()))?;
    let is_kept = |flags: SectionFlags| match flags {
        SectionFlags::Elf { sh_flags, .. } => sh_flags & elf::SHF_ALLOC != elf::SectionFlags(0),
        _ => false,
    };
    let kept = file.sections().filter(|s| is_kept(s.flags()) && s.kind() != SectionKind::UninitializedData);
    Ok(kept.map(|section| section.size()).sum())
}
