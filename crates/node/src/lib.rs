//! What a device does, without IO: windows, outbox, retries, counters, join.
//!
//! [`Node`] takes samples, downlinks and the time, and gives frames to send; flash and randomness are lent to it
//! for each call. It knows no pins, no sockets and no clock, and allocates nothing.
//!
//! | step | file |
//! |---|---|
//! | sample → window | `window.rs`, `node/sample.rs` |
//! | window → code → outbox | `node/sample.rs`, `outbox.rs`, on flash through `log.rs` |
//! | outbox → sealed frame | `node/transmit.rs`; counters in `outbox.rs`; first words in `status.rs` |
//! | sealed ack → let go | `node/receive.rs` |
//! | keys | `join.rs` |
//! | after a reboot | `outbox/recover.rs` |
//! | another bundle over the air | `update/mod.rs`, its trial in `trial.rs` |
//! | what a board is given over its serial port | `provision/mod.rs` |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "fuzz"))]
extern crate std;

mod backoff;
mod clock;
mod error;
pub mod flash;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod join;
mod log;
mod node;
mod outbox;
pub mod provision;
mod record;
mod status;
mod tail;
#[cfg(test)]
mod tests;
mod trial;
pub mod update;
mod window;

pub use backoff::Random;
pub use error::{NodeError, OpenError};
pub use flash::{Flash, FlashError, MemFlash};
pub use node::{BufferLens, Buffers, Config, Downlink, Identity, Ignored, Link, Node, Stats, Transmit, What};
pub use trial::Verdict;
pub use window::{Reading, SampleTime};

/// Largest unit of programming a flash may have, in bytes.
pub const WRITE_LEN_MAX: usize = 32;
/// Shortest sector that is used, in bytes.
pub const SECTOR_LEN_MIN: u32 = 512;
/// Fewest sectors that make a ring: the one being written, an older one, the one kept for seals and marks, and
/// the spare.
pub const SECTORS_MIN: u32 = 4;
/// Most frames that wait for their ack at once.
pub const IN_FLIGHT_MAX: usize = 32;
/// Longest code a frame takes, whatever flash and link would allow.
pub const CODE_LEN_MAX: usize = 7 * 1024;
/// Least [`Config::fill_len`], of frames: header, flags and time of a data frame, its tag, and something of a code.
pub const FILL_LEN_MIN: usize = kinglet_wire::UP_HEADER_WIDE_LEN + 1 + 8 + kinglet_wire::TAG_LEN + 1;
/// The same on this link.
pub(crate) fn fill_len_min(link: Link) -> usize {
    match link {
        Link::Ip => FILL_LEN_MIN,
        _ => link.overhead(true) + 1 + 8 + RESEALED_LEN + 1,
    }
}

/// Bytes a window says more that is sealed again after a join.
pub(crate) const RESEALED_LEN: usize = 10;
/// Most windows from the oldest in flight to the newest; the bits of a mark.
pub(crate) const SPAN: u32 = 64;
/// Windows that may be done with before a mark says so in flash; a power cut has them sent once more.
pub(crate) const MARK_EVERY: u32 = 8;
/// Counters that are reserved in flash at once.
pub(crate) const COUNTERS_RESERVED: u64 = 64;
/// Counters that are passed over when flash may have forgotten some.
pub(crate) const COUNTERS_SKIPPED: u64 = 1 << 20;
/// Bytes of a data frame beside its code and padding: header, flags, time, origin, tag.
pub(crate) const DATA_OVERHEAD: usize = kinglet_wire::UP_HEADER_WIDE_LEN + 1 + 8 + 10 + kinglet_wire::TAG_LEN;
/// Bytes of the longest status frame: 31 fixed, 21 optional.
pub(crate) const STATUS_LEN_MAX: usize = kinglet_wire::UP_HEADER_WIDE_LEN + 31 + 21 + kinglet_wire::TAG_LEN;
/// Room for any frame but for its code and padding.
pub(crate) const FRAME_ROOM: usize = {
    let sealed = if STATUS_LEN_MAX > DATA_OVERHEAD { STATUS_LEN_MAX } else { DATA_OVERHEAD };
    let join = kinglet_wire::join::REQUEST_LEN_MAX;
    if join > sealed { join } else { sealed }
};

const _: () = assert!(IN_FLIGHT_MAX <= SPAN as usize && SPAN <= u64::BITS);
const _: () = assert!(CODE_LEN_MAX + u8::MAX as usize + DATA_OVERHEAD <= kinglet_wire::CONTENT_LEN_MAX);
// One jump keeps a short counter unambiguous.
const _: () = assert!(COUNTERS_SKIPPED + COUNTERS_RESERVED < 1 << 31);
// A new sector has room for its header and for any record that is not a window.
const _: () = assert!(
    log::SNAPSHOT_LEN_MAX + 8 + record::STATE_LEN + record::SEAL_LEN_MAX + 3 * log::RECORD_OVERHEAD
        <= SECTOR_LEN_MIN as usize
);
