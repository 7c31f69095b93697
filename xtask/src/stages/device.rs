//! The golden bytes again on chips.

use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::device::{self, CHIPS, Chip};

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let mut tally = Tally::default();
    for &chip in CHIPS {
        match golden(context, chip) {
            Ok(more) => tally.add(more),
            Err(why) => {
                context.say(&why);
                tally.add(Tally::one(false));
            }
        }
    }
    Ok(tally)
}

fn golden(context: &Context, chip: Chip) -> Result<Tally> {
    let program = device::build(context, chip, "release", "golden")?;
    let ran = device::emulate(context, chip, &program)?;
    let tally = count(&ran.text);
    if ran.ok != (tally.failed == 0) || tally.passed == 0 {
        return Err(format!("{} ended without a verdict", chip.name));
    }
    Ok(tally)
}

/// One line per check: `ok NAME` or `FAILED NAME: …`.
fn count(text: &str) -> Tally {
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
    fn checks_are_counted() {
        let got = count("ok wire/a\nfigure x 3\nFAILED wire/b: byte 3\nok c\n");
        assert_eq!(got, Tally { passed: 2, failed: 1, skipped: 0 });
    }
}
