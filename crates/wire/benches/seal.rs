//! What sealing, opening and deriving keys cost on this machine: `cargo bench -p kinglet-wire`.
//!
//! Prints the median of 31 rounds, in nanoseconds for one call.

// A bench is there to print.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{FrameRepr, ShortId, Slot, Suite, Up};
use kinglet_wire::join::{Joining, REQUEST_LEN_MAX, RequestFrame};
use kinglet_wire::keys::{DeviceId, DeviceKey};
use kinglet_wire::payload::{Content, Data, Quality, Time};
use kinglet_wire::ranges::ReceivedRanges;
use kinglet_wire::seal::{Binding, open, seal_content};

const ROUNDS: usize = 31;
const CALLS: u32 = 2000;

fn main() {
    let id = DeviceId::new("bench-1").unwrap();
    let device = DeviceKey::from_bytes([7; 32]);
    let secret = device.generation_secret(&id, 1, &[1; 16], &[2; 16]);
    let up = secret.up(Suite::AesCcm16);
    let counter = Counter::from(300);
    let fingerprint = [9; 16];
    let bound = Binding { id: &id, counter, bundle: Some(&fingerprint) };
    let header = FrameRepr::Data {
        slot: Slot::default(),
        up: Up::new(Suite::AesCcm16, 1, ShortId(1), counter, false),
    };

    for code_len in [8, 32, 128, 1024] {
        let code = vec![0x5a; code_len];
        let data = Data::new(Time::unix(1_790_000_000_000), Quality::Synced, &code);
        let mut sealed = vec![0; header.header_len() + data.len() + kinglet_wire::TAG_LEN];
        seal_content(&up, &header, &bound, &data, &mut sealed).unwrap();
        let mut buf = sealed.clone();
        measure(&format!("seal, code of {code_len} bytes"), || {
            seal_content(&up, &header, black_box(&bound), &data, &mut buf).unwrap();
        });
        measure(&format!("open, code of {code_len} bytes"), || {
            buf.copy_from_slice(&sealed);
            black_box(open(&up, black_box(&bound), &mut buf).unwrap());
        });
    }
    measure("generation secret from the device key", || {
        black_box(device.generation_secret(&id, black_box(1), &[1; 16], &[2; 16]));
    });
    measure("link key from the generation secret", || {
        black_box(secret.up(black_box(Suite::AesCcm16)));
    });
    let join_key = device.join_key(&id);
    let mut request = [0; REQUEST_LEN_MAX];
    let len = Joining::new(id, [3; 16], 0, fingerprint).emit(&join_key, &mut request).unwrap();
    measure("check the MAC of a join request", || {
        black_box(RequestFrame::parse(black_box(&request[..len])).unwrap().open(&join_key).unwrap());
    });
    let mut next = 0;
    let mut ranges = ReceivedRanges::new();
    measure("insert the next counter", || {
        black_box(ranges.insert(Counter::from(next)));
        next += 1;
    });
}

fn measure(what: &str, mut call: impl FnMut()) {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            start.elapsed().as_nanos() / u128::from(CALLS)
        })
        .collect();
    rounds.sort_unstable();
    println!("{:>8} ns  {what}", rounds[ROUNDS / 2]);
}
