//! Every door that takes bytes from outside, fed with seeded mutations of what it should see.
//!
//! The same functions run under cargo-fuzz (`fuzz/`), which searches deeper but wants a nightly compiler.
//! `cargo xtask fuzz` gives them 30 s together; a plain `cargo test` two.
#![allow(clippy::print_stdout, reason = "how much was tried belongs into the log")]

mod doors;
mod mutate;
mod seeds;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mutate::Mutator;

/// One input may take this long, though the machine be slow and busy.
const INPUT_LIMIT: Duration = Duration::from_secs(5);
/// More than this in one process means that some input decides how much is allocated.
const MEMORY_LIMIT_KB: u64 = 1 << 20;

/// Runs one door until its share of the time is spent.
fn run(name: &str, door: fn(&[u8])) {
    if let Some(path) = std::env::var_os("KINGLET_FUZZ_REPLAY") {
        let input = std::fs::read(&path).expect("the input to replay can be read");
        door(&input);
        println!("{name}: {} bytes went through", input.len());
        return;
    }
    let seeds = seeds::of(name);
    let journal = Journal::new(name);
    let end = Instant::now() + share();
    let mut mutator = Mutator::new(name, &seeds);
    let mut tried = 0_u64;
    let mut input = Vec::new();
    while tried < seeds.len() as u64 || Instant::now() < end {
        match seeds.get(tried as usize) {
            Some(seed) => input.clone_from(seed),
            None => mutator.next(&mut input),
        }
        journal.before(&input);
        let start = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| door(&input))).is_err() {
            journal.fail(&input, "panicked");
        }
        if start.elapsed() > INPUT_LIMIT {
            journal.fail(&input, "took too long");
        }
        tried += 1;
    }
    journal.done();
    println!("{name}: {tried} inputs from {} seeds", seeds.len());
    if let Some(kb) = peak_kb().filter(|&kb| kb > MEMORY_LIMIT_KB) {
        panic!("{name}: the process grew to {kb} kB; some input makes a door allocate by its word");
    }
}

/// This door's part of all the time there is: tests run side by side on every core.
fn share() -> Duration {
    let ms: u32 = std::env::var("KINGLET_FUZZ_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(2000);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get()).min(doors::COUNT);
    Duration::from_millis(ms.into()) * cores as u32 / doors::COUNT as u32
}

/// The most memory this process ever held.
fn peak_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The input at hand, on disk before it is tried: a crash that takes the process down leaves it there.
struct Journal {
    name: String,
    dir: PathBuf,
    current: PathBuf,
    file: File,
    /// Inputs begun; the watchdog wants to see it move.
    begun: Arc<AtomicU64>,
}

impl Journal {
    fn new(name: &str) -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let dir = target.unwrap_or_else(|| seeds::root().join("target")).join("fuzz-crashes");
        std::fs::create_dir_all(&dir).expect("target/fuzz-crashes can be made");
        let current = dir.join(format!("{name}.current"));
        let file = File::create(&current).expect("the journal can be written");
        let begun = Arc::new(AtomicU64::new(0));
        watch(name.into(), current.clone(), Arc::downgrade(&begun));
        Self { name: name.into(), dir, current, file, begun }
    }

    fn before(&self, input: &[u8]) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.file.set_len(input.len() as u64).expect("the journal can be cut");
        self.file.write_all_at(input, 0).expect("the journal can be written");
    }

    fn fail(&self, input: &[u8], what: &str) -> ! {
        let kept = self.dir.join(format!("{}-{:016x}.bin", self.name, mutate::hash(input)));
        std::fs::write(&kept, input).expect("the crash can be kept");
        self.done();
        panic!(
            "{} {what}; again with: cargo xtask fuzz --replay {} {}",
            self.name,
            self.name,
            kept.display()
        );
    }

    fn done(&self) {
        // Without its journal the next run only starts a fresh one.
        let _ = std::fs::remove_file(&self.current);
    }
}

/// An input that never comes back cannot be failed from within: say where it is and go down.
fn watch(name: String, current: PathBuf, begun: std::sync::Weak<AtomicU64>) {
    std::thread::spawn(move || {
        let mut last = (u64::MAX, Instant::now());
        while let Some(begun) = begun.upgrade().map(|b| b.load(Ordering::Relaxed)) {
            if begun != last.0 {
                last = (begun, Instant::now());
            } else if last.1.elapsed() > 6 * INPUT_LIMIT {
                let again = format!("cargo xtask fuzz --replay {name} {}", current.display());
                println!("{name} hangs; again with: {again}");
                std::process::abort();
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    });
}

/// The harness must see what it is there for.
#[test]
fn a_panic_is_caught_and_its_input_kept() {
    let failed = catch_unwind(|| run("selftest", |bytes| assert!(bytes.len() < 7, "seven bytes")));
    let why = *failed.expect_err("a long input comes soon").downcast::<String>().expect("a message");
    let path = why.rsplit(' ').next().expect("a path at the end");
    let input = std::fs::read(path).expect("the input was kept");
    assert!(input.len() >= 7);
    std::fs::remove_file(path).expect("it can be taken away");
}
