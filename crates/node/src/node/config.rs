//! What a node is made with: link, waits, identity, memory.

use kinglet_codec::Model;
use kinglet_wire::Fingerprint;
use kinglet_wire::frame::Suite;
use kinglet_wire::keys::{DeviceId, DeviceKey};
use kinglet_wire::lorawan;
use kinglet_wire::payload::{Reset, UpdateState};

use crate::outbox::CODE_OVERHEAD;
use crate::tail::Tail;

/// What carries the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Anything that takes whole frames: HTTP, MQTT, CoAP.
    #[default]
    Ip,
    /// LoRaWAN, with keys made by joins. The host packs what the node gives and expands what arrives
    /// ([`kinglet_wire::lorawan`]). A join takes 54 bytes and the id up, 64 down: more than the slowest data rates carry.
    Lorawan,
    /// LoRaWAN with the static keys of generation 0: nothing is ever joined. A device that loses its flash must be given a
    /// new key, for it would count from 0 again under the old one.
    LorawanStatic,
}

impl Link {
    pub(crate) fn suite(self) -> Suite {
        if self == Self::Ip { Suite::AesCcm16 } else { lorawan::SUITE }
    }

    /// What an uplink may add to its content on this link, whenever it is repeated. `may_be_wide`: see the outbox.
    pub(crate) fn overhead(self, may_be_wide: bool) -> usize {
        let wide = if may_be_wide { 2 } else { 0 };
        wide + if self == Self::Ip { kinglet_wire::FRAME_OVERHEAD } else { lorawan::OVERHEAD_LONG }
    }
}

/// What is set once, when a node starts. The defaults suit Wi-Fi.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What carries the frames. With LoRaWAN, waits are to be hours, and acks come once in several frames.
    pub link: Link,
    /// Wait before the first repeat; it doubles with every further one.
    pub retry_min_ms: u32,
    /// Longest wait before a repeat.
    pub retry_max_ms: u32,
    /// Wait before the repeat of something the link says it delivered ([`crate::Node::handle_receipt`]).
    pub receipt_retry_ms: u32,
    /// Longest code in one frame: a window that needs more is cut into shorter ones. Flash sets a limit too.
    pub code_len_max: usize,
    /// Data frames are filled: a window is cut when one more sample would make its frame longer than this, header,
    /// time, padding and tag included (on LoRaWAN: its payload), and never waits longer than the bundle says. 0: as long as the bundle's
    /// windows are. The encoder then runs on some samples instead of on the last of a window alone, 6 to 9 times as
    /// much in all ([`kinglet_codec::Filling`]). A window sealed again after a join says where it was sealed first, and is 10 bytes longer.
    pub fill_len: usize,
    /// Contents are padded to a multiple of this many bytes, so that lengths say less; 0 pads nothing.
    pub padding_class: u8,
    /// Why the device booted, for the status frame.
    pub reset: Reset,
    /// Where it stands with updates ([`crate::update::Updates::state`]); `None` if it takes none.
    pub update: Option<UpdateState>,
    /// Bundles that were given up ([`crate::update::Updates::given_up`]): windows made with them count as lost.
    pub given_up: [Option<Fingerprint>; 2],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            link: Link::Ip,
            retry_min_ms: 2_000,
            retry_max_ms: 15 * 60 * 1000,
            receipt_retry_ms: 10 * 60 * 1000,
            code_len_max: crate::CODE_LEN_MAX,
            fill_len: 0,
            padding_class: 0,
            reset: Reset::Unknown,
            update: None,
            given_up: [None; 2],
        }
    }
}

/// Who the device is: its full id, and the key it was provisioned with.
pub struct Identity {
    /// The id.
    pub id: DeviceId,
    /// The key.
    pub key: DeviceKey,
}

/// Lengths of [`Buffers`] for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferLens {
    /// Words for the window being filled, and for the end of the one before if windows may be coded after that.
    pub steps: usize,
    /// Words for the encoder.
    pub workspace: usize,
    /// Bytes for a code on its way to flash.
    pub code: usize,
}

impl BufferLens {
    /// What `model` needs.
    pub fn of(model: &Model<'_>) -> Self {
        Self {
            steps: model.samples() * model.channels() + Tail::len_max(model),
            workspace: model.workspace_len(),
            // A code that refers is kept beside the one that stands alone.
            code: model.code_len_max() * if model.has_references() { 2 } else { 1 } + CODE_OVERHEAD,
        }
    }
}

/// Memory the node works in; at least [`BufferLens::of`] its model. Contents are ignored.
pub struct Buffers<'a> {
    /// The window being filled, then the end of the one before.
    pub steps: &'a mut [i32],
    /// The encoder's.
    pub workspace: &'a mut [i32],
    /// A code on its way to or from flash.
    pub code: &'a mut [u8],
}
