//! Who has logged in: the username is the device's id, the password its access token. There is no other account.

use bytestring::ByteString;
use kinglet_wire::keys::DeviceId;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use super::speech::{ConnectAckReason, Login};
use crate::core::Core;

/// A device that has proved who it is.
pub(super) struct Member {
    pub(super) short_id: u32,
    pub(super) id: DeviceId,
    /// As it was said, or made up.
    pub(super) client_id: ByteString,
    /// True if it was made up.
    pub(super) is_assigned: bool,
}

/// Why somebody is not let in, and what a person is told.
pub(super) type Refused = (ConnectAckReason, &'static str);

/// One answer for whatever is wrong, so that it does not say which ids there are.
const WRONG: Refused = (
    ConnectAckReason::BadUserNameOrPassword,
    "the username is the device's id, the password its access token (`kinglet device token`)",
);
const UNAVAILABLE: Refused =
    (ConnectAckReason::ServerUnavailable, "the store cannot be used now: repeat later");

/// Checks a login; `n` makes a client id for those that bring none.
pub(super) async fn check(core: &Core, login: &Login, n: u64) -> Result<Member, Refused> {
    if login.has_auth_method {
        let text = "log in with username and password";
        return Err((ConnectAckReason::BadAuthenticationMethod, text));
    }
    let id = login.username.as_deref().and_then(DeviceId::new).ok_or(WRONG)?;
    let password = login.password.as_ref().ok_or(WRONG)?;
    let row = core.store.device(id.as_str()).await.map_err(|error| {
        tracing::error!(%error, "the store failed");
        UNAVAILABLE
    })?;
    let row = row.ok_or(WRONG)?;
    let key = core.registry.key_of(&row).map_err(|error| {
        tracing::error!(%error, "a device's secrets cannot be used");
        UNAVAILABLE
    })?;
    let mut token = key.access_token(&id).password();
    let is_right: bool = token.ct_eq(&password.0).into();
    token.zeroize();
    if !is_right {
        return Err(WRONG);
    }
    // From here on it is the device that learns the reason.
    if row.t_revoked.is_some() {
        let text = "the device was revoked: give it a new id and key with `kinglet device add`";
        return Err((ConnectAckReason::NotAuthorized, text));
    }
    if login.has_will {
        let text = "there are no wills here: the server sees by itself when a device falls silent";
        return Err((ConnectAckReason::ImplementationSpecificError, text));
    }
    let is_assigned = login.client_id.is_empty();
    let client_id =
        if is_assigned { ByteString::from(format!("kinglet-{n}")) } else { login.client_id.clone() };
    Ok(Member { short_id: row.short_id, id, client_id, is_assigned })
}
