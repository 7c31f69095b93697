//! What a node gives back: frames, what downlinks have done, and where it stands.

use kinglet_wire::update::SignedUpdate;

/// What [`crate::Node::poll_transmit`] has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Bytes of the buffer that are to be sent, as one frame.
    pub len: usize,
    /// What they are.
    pub what: What,
}

/// What a frame is, for links that have a door for each, and for [`crate::Node::handle_receipt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A join request.
    Join,
    /// A status frame.
    Status {
        /// Its counter.
        counter: u64,
    },
    /// A window.
    Data {
        /// Its counter.
        counter: u64,
    },
}

/// What a downlink has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Downlink {
    /// A sealed ack: this many windows are stored and were let go.
    Acked {
        /// Windows this ack was the first to name.
        n_windows: usize,
    },
    /// A join is done; frames are sealed under this generation from now on.
    Joined {
        /// The generation.
        generation: u32,
    },
    /// The server offers another bundle: for [`crate::update::Updates::handle_offer`].
    Offered(SignedUpdate),
    /// Nothing.
    Ignored(Ignored),
}

/// Why a downlink has done nothing. For counters and logs; never tell the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// Its bytes are no downlink this version knows.
    Malformed,
    /// It is for another device or generation, or the device never joined.
    NotForUs,
    /// It does not open: forged, damaged, or sealed under other keys.
    NotOpened,
    /// A join accept, and no join is under way.
    NotJoining,
    /// A command that is unknown, late, or not for a device like this.
    Command,
}

/// Where a node stands, for people and for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Samples in the window being filled.
    pub n_samples_open: usize,
    /// Windows cut and not yet acked.
    pub n_windows_waiting: usize,
    /// Of those, sealed and waiting for their ack.
    pub n_in_flight: usize,
    /// Windows lost since the outbox was begun.
    pub windows_lost: u32,
    /// Generation in use; 0 before the first join.
    pub generation: u32,
    /// Number of this boot.
    pub boot: u32,
}
