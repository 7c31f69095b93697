//! What goes into a store, and what comes out: rows as all databases have them.

/// First 16 bytes of a bundle's identity.
pub type Fingerprint = [u8; 16];

/// Generation and counter of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    /// Key generation.
    pub generation: u32,
    /// 48-bit counter.
    pub counter: u64,
}

/// An opened frame on its way into the store.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The device's short id.
    pub device: u32,
    /// Under which number the frame was sealed.
    pub sealed_as: FrameId,
    /// Under which number its content was first sealed; the same unless it was sealed again.
    pub origin: FrameId,
    /// The frame's authentication tag.
    pub tag: Vec<u8>,
    /// Bytes of the whole frame.
    pub frame_len: u32,
    /// When it came.
    pub t_arrival: i64,
    /// What it carries.
    pub content: Content,
    /// The join state that follows from this frame, if it is the first of its generation.
    pub confirm: Option<JoinChange>,
}

/// What an opened frame carries.
#[derive(Clone, Debug)]
pub enum Content {
    /// A window's code.
    Window {
        /// Time of the first sample, as well as it is known.
        t_first: i64,
        /// How the time is known.
        t_quality: TimeQuality,
        /// Boot number and milliseconds since, if that is all the device knows of the time.
        uptime: Option<(u32, i64)>,
        /// The bundle it decodes with.
        bundle: Fingerprint,
        /// The code.
        code: Vec<u8>,
    },
    /// The device's report about itself, kept as it is.
    Status {
        /// Its opened body.
        body: Vec<u8>,
        /// Slot and bundle it names.
        slot: Option<(u8, Fingerprint)>,
        /// Windows the device says it had to give up since it was set up.
        windows_lost: Option<u64>,
        /// Unix time at uptime 0 of a boot: times of that boot's windows follow from it.
        sync: Option<BootSync>,
    },
}

/// When a boot began, in unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootSync {
    /// The device's boot number.
    pub boot: u32,
    /// Unix time at uptime 0.
    pub t_boot: i64,
}

/// How the time of a window is known, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TimeQuality {
    /// By the device's own clock, set within the last day.
    Clock = 0,
    /// By the device's own clock, set longer ago.
    Held = 1,
    /// From the device's uptime, after a status frame said when it booted.
    Boot = 2,
    /// Counted back from the arrival.
    Age = 3,
    /// The arrival stands for it.
    Arrival = 4,
    /// The arrival stands for it until a status frame says when the device booted.
    Uptime = 5,
}

impl TimeQuality {
    /// Reads the number a database keeps.
    pub fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Clock,
            1 => Self::Held,
            2 => Self::Boot,
            3 => Self::Age,
            5 => Self::Uptime,
            _ => Self::Arrival,
        }
    }

    /// The word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Held => "held",
            Self::Boot => "boot",
            Self::Age => "age",
            Self::Arrival => "arrival",
            Self::Uptime => "uptime",
        }
    }
}

/// What became of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the row decided.
    pub verdict: Verdict,
    /// What is received around the number it was sealed as, itself included; `None` if that is not received.
    pub span: Option<Span>,
}

/// Received counters of one generation: `base` and the `run - 1` after it, and of the 32 after those the ones
/// whose bit is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first counter of the run.
    pub base: u64,
    /// How many from there on.
    pub run: u16,
    /// Bit `i` stands for `base + run + i`.
    pub bitmap: u32,
}

/// What the row decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On disk now.
    Stored,
    /// Was on disk already, the same bytes: success.
    AlreadyStored,
    /// The number was used for other bytes: not kept, not acked.
    CounterReuse,
    /// Older than the gaps that are remembered: not kept, not acked, sealed anew after a join it is welcome.
    TooOld,
    /// The device was revoked meanwhile.
    Revoked,
    /// There is no such device any more.
    UnknownDevice,
}

/// A compare-and-swap of a device's join state.
#[derive(Clone, Debug)]
pub struct JoinChange {
    /// Whose.
    pub device: u32,
    /// The version the change was computed from.
    pub expected: u64,
    /// The new state, opaque.
    pub state: Vec<u8>,
}

/// A device key to be wrapped anew.
#[derive(Clone, Debug)]
pub struct KeyChange {
    /// Whose.
    pub device: u32,
    /// As it is kept now.
    pub wrapped_before: Vec<u8>,
    /// As it is to be kept.
    pub wrapped: Vec<u8>,
}

/// Where a window stands among those of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Time of the first sample.
    pub t_first: i64,
    /// Order of storing.
    pub row_id: i64,
}

/// A device to be added.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// The id people use.
    pub id: String,
    /// A name for the dashboard, may be empty.
    pub name: String,
    /// The device key, wrapped under the master key.
    pub wrapped_key: Vec<u8>,
    /// Its first join state, opaque.
    pub join_state: Vec<u8>,
    /// Now.
    pub t_created: i64,
}

/// A device as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// The id in its frames.
    pub short_id: u32,
    /// The id people use.
    pub id: String,
    /// A name for the dashboard, may be empty.
    pub name: String,
    /// The device key, wrapped under the master key.
    pub wrapped_key: Vec<u8>,
    /// Opaque join state and its version.
    pub join_state: Vec<u8>,
    /// Grows with each change of the join state.
    pub join_version: u64,
    /// When it was added.
    pub t_created: i64,
    /// When it was revoked, if it was.
    pub t_revoked: Option<i64>,
    /// When a frame of it was last accepted.
    pub t_last_seen: Option<i64>,
    /// The last status body it sent.
    pub status: Option<Vec<u8>>,
    /// Windows the device says it had to give up.
    pub windows_lost: u64,
    /// Which bundle each slot means.
    pub slots: Vec<(u8, Fingerprint)>,
    /// The highest counter received in each generation.
    pub highest: Vec<FrameId>,
}

/// A bundle as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleRow {
    /// First 16 bytes of its identity.
    pub fingerprint: Fingerprint,
    /// The name people gave it.
    pub name: String,
    /// The file; empty in lists.
    pub bytes: Vec<u8>,
    /// When it was added.
    pub t_added: i64,
}

/// A bundle that is offered, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferRow {
    /// To which device, by its short id; 0 for a share of all.
    pub device: u32,
    /// Which bundle.
    pub fingerprint: Fingerprint,
    /// To so many in a hundred.
    pub percent: u8,
    /// The signed update, as the wire has it.
    pub update: Vec<u8>,
    /// Since when.
    pub t_offered: i64,
}

/// A window as it is kept: the opened code and what it takes to decode it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowRow {
    /// Order of storing.
    pub row_id: i64,
    /// The device's short id.
    pub device: u32,
    /// Under which number it was first sealed.
    pub origin: FrameId,
    /// Time of the first sample.
    pub t_first: i64,
    /// When it came.
    pub t_arrival: i64,
    /// How the time is known.
    pub t_quality: TimeQuality,
    /// The bundle it decodes with.
    pub bundle: Fingerprint,
    /// The code.
    pub code: Vec<u8>,
    /// Bytes of the whole frame it came in.
    pub frame_len: u32,
    /// Samples in it, once the background pass knows.
    pub n_samples: Option<u32>,
    /// What is wrong with it, if anything.
    pub flaw: Option<Flaw>,
}

/// Why a stored window cannot be shown. It is kept all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The code is no code of its bundle.
    Malformed = 1,
    /// The bundle is not in the store.
    BundleMissing = 2,
    /// The row's checksum does not match: the disk gave back other bytes.
    Damaged = 3,
}

impl Flaw {
    /// Reads the number a database keeps; 0 is no flaw.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Malformed),
            2 => Some(Self::BundleMissing),
            3 => Some(Self::Damaged),
            _ => None,
        }
    }
}

/// What the background pass found out about a window.
#[derive(Clone, Copy, Debug)]
pub struct DecodedMark {
    /// Which window.
    pub row_id: i64,
    /// Its device.
    pub device: u32,
    /// Samples in it, or what is wrong.
    pub found: Result<Extent, Flaw>,
}

/// How much a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Samples.
    pub n_samples: u32,
    /// Numbers among its values: readings that are not missing.
    pub n_readings: u32,
    /// Samples × period.
    pub span_ms: i64,
}
