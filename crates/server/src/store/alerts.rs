//! What a store knows of what is wrong, and of who is still to be told.

use super::{Answer, RejectCount, StoreError};

/// The part of a store that keeps alerts; what holds of its writes is what holds of the others.
pub trait Alerts {
    /// Raises what is not raised and clears what is not cleared, in one transaction, in which the targets named come to be
    /// owed a word of it; gives what has changed. So nothing is raised twice at a time, by however many servers.
    fn change_alerts(&self, changes: Vec<AlertChange>) -> Answer<'_, Vec<AlertRow>>;
    /// Alerts before this one, the newest first, or those of them that are raised.
    fn alerts(&self, before: i64, limit: u32, raised_only: bool) -> Answer<'_, Vec<AlertRow>>;
    /// What a target has not been told yet, in the order in which it happened.
    fn due_alerts(&self, target: &str, limit: u32) -> Answer<'_, Vec<(AlertStep, AlertRow)>>;
    /// Says that a target was told of these.
    fn alerts_told(&self, target: &str, told: Vec<(AlertStep, i64)>) -> Answer<'_, ()>;
    /// Deletes cleared alerts but the newest `kept` or so, and words about them that nobody was told; gives how many such
    /// words there were.
    fn forget_alerts(&self, kept: u32) -> Answer<'_, u64>;
    /// Refused frames from this day on that were not looked at for alerts, and how many.
    fn unjudged_rejects(&self, from_day: i32) -> Answer<'_, Vec<RejectCount>>;
    /// Says that these were looked at.
    fn rejects_judged(&self, judged: Vec<RejectCount>) -> Answer<'_, ()>;
}

/// The two things that happen to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AlertStep {
    /// It was raised.
    Raised = 0,
    /// It was cleared.
    Cleared = 1,
}

impl AlertStep {
    /// The word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
        }
    }
}

/// Something to be raised or cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertChange {
    /// Something is wrong.
    Raise {
        /// What.
        alert: NewAlert,
        /// Targets that are to be told.
        to: Vec<String>,
    },
    /// It is not any more.
    Clear {
        /// Which alert.
        id: i64,
        /// Since when.
        t_ms: i64,
        /// Targets that are to be told.
        to: Vec<String>,
    },
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAlert {
    /// Which rule says so.
    pub rule: String,
    /// The rule's kind, in a word.
    pub kind: String,
    /// With which device, by its short id.
    pub device: u32,
    /// With which of its channels; empty if it is about all of it.
    pub channel: String,
    /// What, for people.
    pub said: String,
    /// The same for machines: a JSON object.
    pub detail: String,
    /// Since when, unix milliseconds.
    pub t_raised: i64,
}

/// An alert as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRow {
    /// Unlike that of any other.
    pub id: i64,
    /// The id people use for its device.
    pub device_id: String,
    /// What it is about.
    pub alert: NewAlert,
    /// When it was cleared, if it was.
    pub t_cleared: Option<i64>,
}

impl AlertRow {
    /// Where it stands.
    pub fn step(&self) -> AlertStep {
        if self.t_cleared.is_some() { AlertStep::Cleared } else { AlertStep::Raised }
    }
}

/// Reads the number a database keeps.
pub(super) fn step(number: i64) -> Result<AlertStep, StoreError> {
    match number {
        0 => Ok(AlertStep::Raised),
        1 => Ok(AlertStep::Cleared),
        _ => Err(StoreError::Database("an alert's step is none this version knows".into())),
    }
}
