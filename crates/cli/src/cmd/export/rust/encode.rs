//! Readings to codes and back, on a computer: one line of standard input is a sample, a number for each channel with
//! commas between, nothing where a reading is missing. Each full window is a line of hexadecimal.
//!
//! `printf '21.4,45.2\n%.0s' {1..64} | cargo run --example encode`

use std::io::{BufRead, stdin};

use kinglet_bundle::codec::{Decimal, MISSING, Window, decode, encode};
use kinglet_bundle::{CHANNELS, CODE_LEN_MAX, SAMPLES, WORKSPACE_LEN, model};

fn main() {
    let model = model().expect("the model lacks no part that its bundle has");
    // On a device these are statics.
    let (mut steps, mut workspace) = ([MISSING; SAMPLES * CHANNELS], [0; WORKSPACE_LEN]);
    let (mut code, mut decoded) = ([0; CODE_LEN_MAX], [0; SAMPLES * CHANNELS]);
    let (mut n_values, mut off_grid) = (0, false);
    for line in stdin().lock().lines() {
        let line = line.expect("standard input can be read");
        for (channel, reading) in line.split(',').enumerate() {
            steps[n_values] = MISSING;
            if let Ok(reading) = reading.parse::<Decimal>() {
                let quantised = model.channel(channel).grid.quantise(reading);
                steps[n_values] = quantised.step;
                off_grid |= !quantised.exact;
            }
            n_values += 1;
        }
        assert_eq!(n_values % CHANNELS, 0, "{CHANNELS} channels are wanted: {line}");
        if n_values < steps.len() {
            continue;
        }
        let window = Window { steps: &steps, off_grid };
        let made = encode(&model, window, &mut workspace, &mut code).expect("every window has a code");
        let code = &code[..made.code_len];
        decode(&model, code, &mut workspace, &mut decoded).expect("and is read again");
        // A bundle with a fixed number of bytes a window keeps no bound.
        for (idx, (sent, read)) in steps.iter().zip(&decoded).enumerate() {
            let bound = model.channel(idx % CHANNELS).grid.bound_steps;
            assert!(model.fixed_code_len().is_some() || sent.abs_diff(*read) <= bound, "value {idx}: {sent}, {read}");
        }
        println!("{}", code.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        (n_values, off_grid) = (0, false);
    }
}
