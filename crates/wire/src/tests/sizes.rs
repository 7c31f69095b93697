//! Bytes on air and in memory are what the specification and the device's budget say.

use core::mem::size_of;

use super::cases;
use crate::frame::FrameRepr;
use crate::join::{JoinState, Joining};
use crate::keys::{DeviceId, DeviceKey, GenerationSecret, LinkKey};
use crate::ranges::ReceivedRanges;
use crate::{FRAME_OVERHEAD, TAG_LEN};

#[test]
fn overhead_is_26_bytes_below_two_thousand_million_frames() {
    for case in cases() {
        let overhead = case.sealed().len() - case.content.len();
        let expected = match (case.header, case.counter.get() < 1 << 31) {
            (FrameRepr::Data { .. } | FrameRepr::Status { .. }, true) => FRAME_OVERHEAD,
            (FrameRepr::Data { .. } | FrameRepr::Status { .. }, false) => FRAME_OVERHEAD + 2,
            _ => 22 + TAG_LEN,
        };
        assert_eq!(overhead, expected, "{}", case.name);
    }
}

#[test]
fn a_device_keeps_little() {
    let check = |what: &str, len: usize, most: usize| assert!(len <= most, "{what}: {len} bytes");
    check("device key", size_of::<DeviceKey>(), 32);
    check("generation secret", size_of::<GenerationSecret>(), 32);
    check("link key", size_of::<LinkKey>(), 31);
    check("device id", size_of::<DeviceId>(), 33);
    check("a join under way", size_of::<Joining>(), 76);
    check("a header", size_of::<FrameRepr>(), 32);
    // Only servers have these, one device at a time.
    check("join state", size_of::<JoinState>(), 3200);
    check("ranges", size_of::<ReceivedRanges>(), 4112);
}
