//! Whose outbox it is: windows of one device never go out under another's name.

use kinglet_node::Identity;
use kinglet_wire::join::{Joining, REQUEST_LEN_MAX};

/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// Names a device and its key and gives nothing of the key away: the MAC of a join request nobody sends.
pub fn tag(identity: &Identity) -> [u8; TAG_LEN] {
    let mut request = [0; REQUEST_LEN_MAX];
    let key = identity.key.join_key(&identity.id);
    let joining = Joining::new(identity.id, [0; 16], 0, [0; 16]);
    // The buffer is as long as the longest request.
    let len = joining.emit(&key, &mut request).unwrap_or_default();
    let mut tag = [0; TAG_LEN];
    if let Some(mac) = request[..len].last_chunk::<TAG_LEN>() {
        tag = *mac;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_wire::keys::{DeviceId, DeviceKey};

    #[test]
    fn every_device_and_every_key_has_its_own() {
        let of = |id: &str, key: u8| {
            tag(&Identity { id: DeviceId::new(id).unwrap(), key: DeviceKey::from_bytes([key; 32]) })
        };
        let all = [of("porch", 1), of("porch", 2), of("attic", 1), [0; TAG_LEN], [0xFF; TAG_LEN]];
        assert_eq!(of("porch", 1), all[0]);
        for (n, tag) in all.iter().enumerate() {
            assert!(!all[n + 1..].contains(tag));
        }
    }
}
