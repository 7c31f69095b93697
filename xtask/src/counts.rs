//! How many tests passed, from what the runners print.

/// Tests of one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Tally {
    /// One check, passed or not.
    pub(crate) fn one(passed: bool) -> Self {
        Self { passed: passed.into(), failed: (!passed).into(), skipped: 0 }
    }

    /// The sum.
    pub(crate) fn add(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }

    /// The line every run ends with.
    pub(crate) fn line(self) -> String {
        let Self { passed, failed, skipped } = self;
        match skipped {
            0 => format!("{passed} passed, {failed} failed"),
            _ => format!("{passed} passed, {failed} failed, {skipped} skipped"),
        }
    }
}

/// The summary of `cargo nextest run`, `None` if it never came to one. Tests left out by a filter or by
/// `#[ignore]` are nextest's "skipped" and are not counted: nobody asked for them.
pub(crate) fn nextest(text: &str) -> Option<Tally> {
    let line = text.lines().rev().find(|l| l.contains("Summary [") && l.contains(" run: "))?;
    let (_, counts) = line.split_once(" run: ")?;
    let mut tally = Tally::default();
    for part in counts.split(',') {
        let (n, what) = part.trim().split_once(' ')?;
        let n: u32 = n.parse().ok()?;
        match what.split_whitespace().next()? {
            "passed" => tally.passed += n,
            "skipped" => {}
            // "failed", "exec failed", "timed out", "not run": none of them is a pass.
            _ => tally.failed += n,
        }
    }
    Some(tally)
}

/// The sum of libtest's "test result" lines, `None` if there is none.
pub(crate) fn libtest(text: &str) -> Option<Tally> {
    let mut tally = None;
    for line in text.lines().filter_map(|l| l.trim().strip_prefix("test result: ")) {
        let sum = tally.get_or_insert_with(Tally::default);
        let (_, counts) = line.split_once(". ")?;
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(n), Some(what)) = (words.next().and_then(|n| n.parse::<u32>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => sum.passed += n,
                "failed" => sum.failed += n,
                _ => {}
            }
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u32, failed: u32) -> Option<Tally> {
        Some(Tally { passed, failed, skipped: 0 })
    }

    #[test]
    fn nextest_lines() {
        let check = |line: &str, want| assert_eq!(nextest(line), want, "{line}");
        check("     Summary [   0.005s] 1 test run: 1 passed, 0 skipped", tally(1, 0));
        check(
            "     Summary [  12.005s] 30 tests run: 27 passed (2 slow), 2 failed, 1 timed out, 9 skipped",
            tally(27, 3),
        );
        check("     Summary [   0.1s] 3/9 tests run: 2 passed, 1 failed, 0 skipped", tally(2, 1));
        check("error: could not compile", None);
    }

    #[test]
    fn libtest_lines_add_up() {
        let ok =
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let bad = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(libtest(&format!("{ok}\nnoise\n{bad}\n")), tally(4, 2));
        assert_eq!(libtest("error[E0425]"), None);
    }

    #[test]
    fn the_last_line() {
        assert_eq!(Tally { passed: 3, failed: 0, skipped: 0 }.line(), "3 passed, 0 failed");
        assert_eq!(Tally { passed: 3, failed: 1, skipped: 2 }.line(), "3 passed, 1 failed, 2 skipped");
    }
}
