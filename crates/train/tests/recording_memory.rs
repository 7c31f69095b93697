//! A million rows of four channels, unordered, fit in little memory. Alone in its file, because the peak is
//! that of the whole process.

// Helpers of tests may do what tests may do.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::{self, Read, Write};

use kinglet_train::recording::{ReadOptions, read};

/// Rows made as they are read; the file never exists.
struct Rows {
    next: u32,
    buffer: Vec<u8>,
    at: usize,
}

const N_ROWS: u32 = 1_000_000;

impl Read for Rows {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            self.at = 0;
            self.buffer.clear();
            for row in self.next..(self.next + 1000).min(N_ROWS) {
                // Every second pair is swapped, so that the whole has to be sorted.
                let t_s = 1_700_000_000 + u64::from(row ^ (row >> 1 & 1)) * 60;
                let v = row % 977;
                writeln!(self.buffer, "{t_s},{}.{},{},{}.5,{}", v / 10, v % 10, v, v, 1000 + v)?;
            }
            self.next = (self.next + 1000).min(N_ROWS);
        }
        let n = (&self.buffer[self.at..]).read(out)?;
        self.at += n;
        Ok(n)
    }
}

#[test]
fn a_million_rows_of_four_channels_stay_below_150_mb() {
    let source = Rows { next: 0, buffer: b"time,a,b,c,d\n".to_vec(), at: 0 };
    let (recording, understood) = read(source, &ReadOptions::default()).unwrap();
    assert_eq!((recording.len(), recording.channels().len()), (N_ROWS as usize, 4));
    assert_eq!((recording.period_ms(), understood.time.out_of_order), (60_000, u64::from(N_ROWS) / 4));
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        println!("peak {peak_kb} kB");
        assert!(peak_kb < 150_000, "{peak_kb} kB");
    } else {
        println!("skipped: this system has no /proc to ask for the peak");
    }
}
