//! Why a frame was not taken, in a word and in advice.

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No frame: version, type, suite, reserved bits or length are wrong.
    Malformed,
    /// A frame only servers send, or a join where none is expected.
    WrongDirection,
    /// No device has this short id.
    UnknownDevice,
    /// It is another device's than the one that has logged in.
    OtherDevice,
    /// The device was revoked.
    Revoked,
    /// No join made this generation, or a newer one ended it.
    JoinRequired,
    /// No status frame said which bundle the slot means.
    UnknownSlot,
    /// It does not open: other key, other bundle, other counter, or changed bytes.
    NotOpened,
    /// It opened, but its content is none.
    BadContent,
    /// Its bundle is not on this server.
    UnknownBundle,
    /// Its code refers to a window that is not here.
    UnknownReference,
    /// Its counter was used for other bytes.
    CounterReuse,
    /// Its counter is older than the gaps that are remembered.
    TooOld,
    /// The device stores more than it may.
    TooManyFrames,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::WrongDirection,
        Self::UnknownDevice,
        Self::OtherDevice,
        Self::Revoked,
        Self::JoinRequired,
        Self::UnknownSlot,
        Self::NotOpened,
        Self::BadContent,
        Self::UnknownBundle,
        Self::UnknownReference,
        Self::CounterReuse,
        Self::TooOld,
        Self::TooManyFrames,
    ];

    /// One short word, for counters and answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongDirection => "wrong_direction",
            Self::UnknownDevice => "unknown_device",
            Self::OtherDevice => "other_device",
            Self::Revoked => "revoked",
            Self::JoinRequired => "join_required",
            Self::UnknownSlot => "unknown_slot",
            Self::NotOpened => "not_opened",
            Self::BadContent => "bad_content",
            Self::UnknownBundle => "unknown_bundle",
            Self::UnknownReference => "unknown_reference",
            Self::CounterReuse => "counter_reuse",
            Self::TooOld => "too_old",
            Self::TooManyFrames => "too_many_frames",
        }
    }

    /// What to do about it, for people.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Malformed => {
                "the bytes are no Kinglet frame of a version this server speaks: update the older end"
            }
            Self::WrongDirection => {
                "this frame is one that servers send; devices send data, status and (to /v1/join) joins"
            }
            Self::UnknownDevice => {
                "no device has this short id here: let the device join again, or add it with `kinglet device add`"
            }
            Self::OtherDevice => "this frame is of another device than the one that has logged in",
            Self::Revoked => "the device was revoked: give it a new id and key with `kinglet device add`",
            Self::JoinRequired => {
                "its keys are not the present ones: POST a join to /v1/join, keep the readings until it is answered"
            }
            Self::UnknownSlot => {
                "the server does not know the device's bundle yet: send a status frame first"
            }
            Self::NotOpened => {
                "it does not open under the device's keys: wrong key, wrong bundle or changed on the way"
            }
            Self::BadContent => "it opened, but its content is malformed: update the device",
            Self::UnknownBundle => "its bundle is not on this server: add it with `kinglet bundle add FILE`",
            Self::UnknownReference => {
                "its code refers to an earlier window that is not here: the device sends it alone, as the sealed hint says"
            }
            Self::CounterReuse => "its counter was used before for other bytes: the device must join again",
            Self::TooOld => "its counter is too old to tell whether it is new: the device must join again",
            Self::TooManyFrames => {
                "the device stores more than it may (device_frames_per_s): it keeps its readings and repeats them later"
            }
        }
    }
}
