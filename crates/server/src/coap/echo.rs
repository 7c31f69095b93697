//! Whether a request comes from the address it names: the Echo option of RFC 9175, without a table of who was asked.
//!
//! A piece of a bundle is longer than the request for it, and its request is not authenticated: it goes only to an address
//! that has lately given back what was sent there. Whoever writes somebody else's address under a request never sees that.

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// Bytes of a value.
pub(super) const ECHO_LEN: usize = 8;
/// A value is taken for so long at least, and for twice as long at most.
const EPOCH_MS: i64 = 10 * 60 * 1000;

/// Makes and checks values.
pub(super) struct Echo {
    secret: [u8; 32],
}

impl Echo {
    /// With a secret of its own; without randomness no value is ever taken.
    pub(super) fn new() -> Option<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).ok()?;
        Some(Self { secret })
    }

    /// What this address is to give back.
    pub(super) fn value(&self, of: SocketAddr, now_ms: i64) -> [u8; ECHO_LEN] {
        self.at(of, now_ms.div_euclid(EPOCH_MS))
    }

    /// Whether it has given it back.
    pub(super) fn takes(&self, given: &[u8], of: SocketAddr, now_ms: i64) -> bool {
        let epoch = now_ms.div_euclid(EPOCH_MS);
        [epoch, epoch - 1].into_iter().any(|epoch| self.at(of, epoch).ct_eq(given).into())
    }

    fn at(&self, of: SocketAddr, epoch: i64) -> [u8; ECHO_LEN] {
        let mut out = [0; ECHO_LEN];
        // A key of this length is none that is refused.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else { return out };
        match of.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&of.port().to_be_bytes());
        mac.update(&epoch.to_be_bytes());
        out.copy_from_slice(&mac.finalize().into_bytes()[..ECHO_LEN]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_for_one_address_and_some_minutes() {
        let [echo, other] = [(); 2].map(|()| Echo::new().unwrap());
        let here = SocketAddr::from(([192, 0, 2, 1], 5683));
        let value = echo.value(here, 0);
        for (echo, given, of, now_ms, taken) in [
            (&echo, &value[..], here, 2 * EPOCH_MS - 1, true),
            (&echo, &value[..], here, 2 * EPOCH_MS, false),
            (&echo, &value[..], here, -1, false),
            (&echo, &value[1..], here, 0, false),
            (&echo, &[], here, 0, false),
            (&echo, &value[..], SocketAddr::from(([192, 0, 2, 2], 5683)), 0, false),
            (&echo, &value[..], SocketAddr::from(([192, 0, 2, 1], 5684)), 0, false),
            (&other, &value[..], here, 0, false),
        ] {
            assert_eq!(echo.takes(given, of, now_ms), taken, "{given:?} {of} {now_ms}");
        }
    }
}
