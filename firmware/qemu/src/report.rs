//! What is said to the host.

use semihosting::println;

/// How it goes so far.
#[derive(Default)]
pub struct Report {
    ok: u32,
    failed: u32,
}

impl Report {
    /// One check of one group.
    pub fn check(&mut self, group: &str, name: &str, is: Result<(), &'static str>) {
        match is {
            Ok(()) => {
                self.ok += 1;
                println!("ok {group}/{name}");
            }
            Err(why) => {
                self.failed += 1;
                println!("FAILED {group}/{name}: {why}");
            }
        }
    }

    /// A number worth keeping.
    pub fn figure(&self, name: &str, value: impl core::fmt::Display) {
        println!("figure {name} {value}");
    }

    /// True if something was checked and nothing failed.
    pub fn passed(&self) -> bool {
        self.failed == 0 && self.ok > 0
    }
}
