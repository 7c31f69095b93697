//! What store tests put into a store.

use kinglet_server::store::*;

pub(crate) const T0: i64 = 1_790_000_000_000;

/// A window sealed once, with bytes and a time that follow from its counter.
pub(crate) fn window(device: u32, counter: u64) -> Arrival {
    let id = FrameId { generation: 1, counter };
    Arrival {
        device,
        sealed_as: id,
        origin: id,
        tag: counter.to_be_bytes().to_vec(),
        frame_len: 60,
        t_arrival: T0,
        content: Content::Window {
            t_first: T0 + counter as i64 * 1000,
            t_quality: TimeQuality::Clock,
            uptime: None,
            bundle: [7; 16],
            code: vec![counter as u8; 5],
        },
        confirm: None,
    }
}
