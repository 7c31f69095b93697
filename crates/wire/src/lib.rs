//! How a payload is framed, sealed, opened and accepted once.
//!
//! A device seals a *content* (a coded window, a status) into a *frame* under keys made by a *join*; the server
//! opens it, and answers with a sealed ack. `spec/wire.md` says the format in bytes. Nothing here allocates,
//! reads a clock, draws random numbers or looks inside a code.
//!
//! | step | device | server |
//! |---|---|---|
//! | keys | [`keys::DeviceKey::join_key`], [`join::Joining`] | [`join::RequestFrame::parse`], [`join::JoinState`] |
//! | header | [`frame::FrameRepr`] | [`frame::Frame::new_checked`], then a look-up by [`frame::ShortId`] |
//! | counter | [`counter::Counter::next`] | [`counter::ShortCounter::rebuild`] |
//! | content | [`payload::Content::emit`] | [`payload::Data::parse`] |
//! | seal, open | [`seal::seal`] | [`seal::open`] |
//! | once | | [`ranges::ReceivedRanges`] |
//! | in a LoRaWAN payload | [`lorawan::Packer`] | [`lorawan::Uplink`] |
//! | answer | [`seal::open`], [`payload::Ack::covers`] | [`payload::Ack`], [`seal::seal`] |
//! | another bundle | [`update::SignedUpdate::verify`] | [`payload::Command`] |
//!
//! Sealing a window and opening it again:
//!
//! ```
//! use kinglet_wire::{FRAME_OVERHEAD, counter::*, frame::*, keys::*, payload::*, seal::*};
//!
//! let id = DeviceId::new("cellar").unwrap();
//! let device = DeviceKey::from_bytes([7; 32]);
//! let up = device.generation_secret(&id, 1, &[1; 16], &[2; 16]).up(Suite::AesCcm16);
//! let counter = Counter::new(300).unwrap();
//! let fingerprint = [9; 16];
//! let bound = Binding { id: &id, counter, bundle: Some(&fingerprint) };
//!
//! // On the device: content behind the room for the header, then seal in place.
//! let header = FrameRepr::Data {
//!     slot: Slot::new(3).unwrap(),
//!     up: Up::new(Suite::AesCcm16, 1, ShortId(0xc0ffee), counter, false),
//! };
//! let data = Data::new(Time::unix(1_790_000_000_000), Quality::Synced, b"code");
//! let mut frame = [0; 128];
//! let frame_len = seal_content(&up, &header, &bound, &data, &mut frame).unwrap();
//! assert_eq!(frame_len, FRAME_OVERHEAD + data.len());
//! assert_eq!(FRAME_OVERHEAD, 26);
//!
//! // On the server.
//! let bytes = &mut frame[..frame_len];
//! let header = Frame::new_checked(&*bytes).unwrap();
//! assert_eq!(header.short_id(), ShortId(0xc0ffee));
//! let content = open(&up, &bound, bytes).unwrap();
//! assert_eq!(Data::parse(content), Ok(data));
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod cipher;
#[cfg(any(test, feature = "cose"))]
pub mod cose;
pub mod counter;
mod cursor;
mod error;
pub mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod header;
pub mod join;
pub mod keys;
pub mod lorawan;
pub mod payload;
pub mod piece;
pub mod ranges;
pub mod seal;
#[cfg(test)]
mod tests;
pub mod update;

pub use error::{BufferTooSmall, Field, OpenError, ParseError, SealError};

/// Version of the format this crate speaks; others are refused.
pub const VERSION: u8 = 1;

/// Bytes of the authentication tag at the end of a sealed frame, and of the MAC at the end of a join.
pub const TAG_LEN: usize = 16;
/// Bytes of an uplink header with a short counter.
pub const UP_HEADER_LEN: usize = 10;
/// Bytes of an uplink header with a full counter.
pub const UP_HEADER_WIDE_LEN: usize = 12;
/// Bytes of a downlink header.
pub const DOWN_HEADER_LEN: usize = 22;
/// Most bytes a header has.
pub const HEADER_LEN_MAX: usize = DOWN_HEADER_LEN;
/// Bytes an uplink frame adds to its content: header and tag.
pub const FRAME_OVERHEAD: usize = UP_HEADER_LEN + TAG_LEN;
/// Most bytes a data frame's content has before its code: flags, time, origin.
pub const DATA_HEAD_LEN_MAX: usize = 1 + 8 + 10;
/// Most bytes of content in one frame.
pub const CONTENT_LEN_MAX: usize = 8192;
/// Most bytes of a frame.
pub const FRAME_LEN_MAX: usize = HEADER_LEN_MAX + CONTENT_LEN_MAX + TAG_LEN;

const _: () = assert!(FRAME_OVERHEAD <= 26);
// CCM with a 13-byte nonce counts content in two bytes.
const _: () = assert!(CONTENT_LEN_MAX <= u16::MAX as usize);
const _: () = assert!(UP_HEADER_WIDE_LEN <= HEADER_LEN_MAX);

/// The first 16 bytes of a bundle's identity. A data frame is bound to it without carrying it.
pub type Fingerprint = [u8; 16];
