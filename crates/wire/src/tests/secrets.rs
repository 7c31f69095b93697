//! Secrets cannot be printed, compared or copied by accident.

use std::fmt::{Debug, Display};

use super::{device_key, id, secret};
use crate::frame::Suite;
use crate::keys::{AccessToken, DeviceKey, GenerationSecret, JoinKey, LinkKey};

/// Fails to compile as soon as `$type` has `$trait`: the two impls would then both apply.
macro_rules! assert_lacks {
    ($type:ty: $($of:path),+) => {$(
        const _: fn() = || {
            trait Ambiguous<A> { fn lacks() {} }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct Has;
            impl<T: ?Sized + $of> Ambiguous<Has> for T {}
            <$type as Ambiguous<_>>::lacks();
        };
    )+};
}

assert_lacks!(DeviceKey: Debug, Display, Clone, PartialEq);
assert_lacks!(AccessToken: Debug, Display, Clone, PartialEq);
assert_lacks!(JoinKey: Debug, Display, Clone, PartialEq);
assert_lacks!(GenerationSecret: Debug, Display, Clone, PartialEq);
assert_lacks!(LinkKey: Debug, Display, Clone, PartialEq);

#[test]
fn secrets_are_wiped_when_dropped() {
    assert!(core::mem::needs_drop::<AccessToken>());
    assert!(core::mem::needs_drop::<DeviceKey>() && core::mem::needs_drop::<JoinKey>());
    assert!(core::mem::needs_drop::<GenerationSecret>() && core::mem::needs_drop::<LinkKey>());
}

#[test]
fn every_derived_secret_is_another() {
    let (suite, generation) = (Suite::AesCcm16, secret());
    let (up, down) = (generation.up(suite), generation.down(suite, &super::RUN));
    let fixed = device_key().static_secret(&id());
    let all = [
        generation.expose_secret()[..13].to_vec(),
        fixed.expose_secret()[..13].to_vec(),
        device_key().expose_secret()[..13].to_vec(),
        up.key()[..13].to_vec(),
        up.iv().to_vec(),
        down.key()[..13].to_vec(),
        down.iv().to_vec(),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}
