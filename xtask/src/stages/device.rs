//! The golden bytes again on chips, and how much flash it takes there to make them.

use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::device::{self, CHIPS, Chip};
use crate::sizes::{self, SMALL_FLAGS};
use crate::stages::RV32;

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let mut tally = Tally::default();
    for &chip in CHIPS {
        let mut count = |checked: Result<Tally>| match checked {
            Ok(more) => tally.add(more),
            Err(why) => {
                context.say(&why);
                tally.add(Tally::one(false));
            }
        };
        count(golden(context, chip, "release", ""));
        if chip.target == RV32 {
            // Where flash is scarce it is built otherwise: the same bytes.
            count(golden(context, chip, "small", SMALL_FLAGS));
            count(sizes::check(context, chip));
        }
    }
    Ok(tally)
}

fn golden(context: &Context, chip: Chip, profile: &str, flags: &str) -> Result<Tally> {
    let program = device::build_with(context, chip, profile, "golden", flags, &[])?;
    let ran = device::emulate(context, chip, &program)?;
    let mut tally = count(&ran.text);
    if ran.ok != (tally.failed == 0) || tally.passed == 0 {
        return Err(format!("{} ended without a verdict", chip.name));
    }
    if chip.target == RV32 {
        // No FPU: any float operation would be a call. On the other chip it would be an instruction.
        let floats: Vec<String> =
            device::symbols(&program)?.into_iter().filter(|s| is_soft_float(s)).collect();
        if !floats.is_empty() {
            context.say(&format!("the program computes with floats: {}", floats.join(", ")));
        }
        tally.add(Tally::one(floats.is_empty()));
    }
    Ok(tally)
}

/// Names the compiler gives its float routines: `__addsf3`, `__ltdf2`, `__floatsidf`, `__fixunsdfsi`, …
fn is_soft_float(symbol: &str) -> bool {
    let Some(name) = symbol.strip_prefix("__") else { return false };
    let of_float = name.contains("sf") || name.contains("df");
    let verbs = ["add", "sub", "mul", "div", "neg", "lt", "le", "gt", "ge", "eq", "ne", "cmp", "unord"];
    let operation =
        name.ends_with(['2', '3']) && (verbs.iter().any(|v| name.starts_with(v)) || name.starts_with("powi"));
    let conversion = ["fix", "float", "extend", "trunc"].iter().any(|v| name.starts_with(v));
    of_float && (operation || conversion)
}

/// One line per check: `ok NAME` or `FAILED NAME: …`.
pub(super) fn count(text: &str) -> Tally {
    let mut tally = Tally::default();
    for line in text.lines() {
        if line.starts_with("ok ") {
            tally.add(Tally::one(true));
        } else if line.starts_with("FAILED ") {
            tally.add(Tally::one(false));
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_routines_are_known_by_name() {
        for name in ["__addsf3", "__muldf3", "__ltdf2", "__floatsidf", "__fixunsdfsi", "__extendsfdf2"] {
            assert!(is_soft_float(name), "{name}");
        }
        for name in ["__udivdi3", "__muldi3", "__sdata", "memcpy", "__stack_df"] {
            assert!(!is_soft_float(name), "{name}");
        }
    }

    #[test]
    fn checks_are_counted() {
        let got = count("ok wire/a\nfigure x 3\nFAILED wire/b: byte 3\nok c\n");
        assert_eq!(got, Tally { passed: 2, failed: 1, skipped: 0 });
    }
}
