//! One call of each part, on bytes nobody knows.
#![allow(dead_code, reason = "each program uses its own part")]

use core::hint::black_box;

use kinglet_codec::{Model, Window};
use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Frame, FrameRepr, ShortId, Slot, Suite, Up};
use kinglet_wire::keys::{DeviceId, DeviceKey};
use kinglet_wire::seal::{Binding, open, seal};

use crate::size::Memory;

/// Reads a model and encodes a window.
#[inline(never)]
pub fn encode(Memory { bytes, steps, workspace }: &mut Memory) {
    let (model, out) = bytes.split_at_mut(1024);
    if let Ok(model) = Model::parse(model) {
        let window = Window { steps, off_grid: black_box(false) };
        let _ = black_box(kinglet_codec::encode(&model, window, workspace, out));
    }
}

/// Reads a model and decodes a code.
#[inline(never)]
pub fn decode(Memory { bytes, steps, workspace }: &mut Memory) {
    let (model, code) = bytes.split_at_mut(1024);
    if let Ok(model) = Model::parse(model) {
        let _ = black_box(kinglet_codec::decode(&model, code, workspace, steps));
    }
}

/// Derives keys, seals a frame and opens one.
#[inline(never)]
pub fn wire(Memory { bytes, .. }: &mut Memory) {
    let (nonce, fingerprint) = (black_box(&[1; 16]), black_box(&[3; 16]));
    let device_key = DeviceKey::from_bytes(*black_box(&[7; 32]));
    let (Some(id), Some(counter), Some(slot)) =
        (DeviceId::new(black_box("porch")), Counter::new(black_box(1)), Slot::new(0))
    else {
        return;
    };
    let secret = device_key.generation_secret(&id, 1, nonce, nonce);
    let up = secret.up(Suite::AesCcm16);
    let header = FrameRepr::Data { slot, up: Up::new(Suite::AesCcm16, 1, ShortId(1), counter, false) };
    let bound = Binding { id: &id, counter, bundle: Some(fingerprint) };
    let _ = black_box(seal(&up, &header, &bound, bytes, black_box(40)));
    if let Ok(frame) = Frame::new_checked(&*bytes)
        && let Some(run) = frame.run()
    {
        let down = secret.down(Suite::AesCcm16, &run);
        let bound = Binding { bundle: None, ..bound };
        let _ = black_box(open(&down, &bound, bytes));
    }
}
