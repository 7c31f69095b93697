//! What a store knows of passing readings on.

use crate::store::WindowRow;

/// A place in the order in which windows were stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// Number of the transaction where ids alone are not in the order of commits, 0 elsewhere.
    pub xact: i64,
    /// Order of storing.
    pub row_id: i64,
}

/// A window and its place in the order of storing.
pub type Logged = (LogPlace, WindowRow);

/// Somebody who wants to pass on to a target, alone.
#[derive(Clone, Debug)]
pub struct TargetClaim {
    /// The target's name.
    pub target: String,
    /// Who asks: a number drawn for each server process, positive.
    pub owner: i64,
    /// How long nobody else is to have it, by the database's clock.
    pub lease_ms: i64,
    /// Of a target that is new here: begin with what is stored already, not with what comes.
    pub from_start: bool,
}

/// How far a target has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRow {
    /// Its name.
    pub target: String,
    /// Everything up to here was confirmed.
    pub at: LogPlace,
    /// Windows that retention deleted before they were confirmed.
    pub n_lost: u64,
}

/// Counts for those who watch over the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Bytes the store takes.
    pub bytes: u64,
    /// Devices, revoked ones included.
    pub n_devices: u64,
    /// Revoked devices.
    pub n_revoked: u64,
    /// Bundles.
    pub n_bundles: u64,
    /// Alerts that are raised.
    pub n_alerts: u64,
}
