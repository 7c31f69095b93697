//! What a device is given once: its id, its key, where the server is, and which certificate to believe. One line of text:
//!
//! `kinglet:porch?server=https%3A%2F%2F192.0.2.7%3A8443&pin=sha256%3AHEX&update=ed25519%3AHEX#KEY`
//!
//! The key stands behind the `#`, in hexadecimal: no program that follows an address sends that part on.

use std::path::Path;

use kinglet_server::tls::Pin;
use kinglet_wire::keys::{DeviceId, DeviceKey, SECRET_LEN};
use kinglet_wire::update::UpdateKey;
use zeroize::{Zeroize, Zeroizing};

use crate::failure::{Failure, Result};
use crate::{files, hex, update_key};

/// A provisioning, without `Debug`: it holds a key.
pub(crate) struct Provisioning {
    pub(crate) id: DeviceId,
    pub(crate) key: DeviceKey,
    pub(crate) server: Option<String>,
    pub(crate) pin: Option<Pin>,
    /// Whose updates of the bundle the device takes.
    pub(crate) update_key: Option<UpdateKey>,
}

impl Provisioning {
    /// The one line.
    pub(crate) fn emit(&self) -> Zeroizing<String> {
        let server = self.server.as_ref().map(|url| format!("server={}", escape(url)));
        let pin = self.pin.map(|pin| format!("pin={}", escape(&pin.to_string())));
        let update = self.update_key.map(|key| format!("update={}", escape(&update_key::to_text(&key))));
        let query = [server, pin, update].into_iter().flatten().collect::<Vec<_>>().join("&");
        let query = if query.is_empty() { query } else { format!("?{query}") };
        let key = Zeroizing::new(hex::emit(self.key.expose_secret()));
        Zeroizing::new(format!("kinglet:{}{query}#{}", self.id, key.as_str()))
    }

    /// Reads the one line; the reason never shows the key.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.trim().strip_prefix("kinglet:").ok_or("it does not begin with `kinglet:`")?;
        let (head, key) = rest.split_once('#').ok_or("there is no key behind a `#`")?;
        let (id, query) = head.split_once('?').map_or((head, None), |(id, query)| (id, Some(query)));
        let id = DeviceId::new(id).ok_or("its device id is none")?;
        let (mut server, mut pin, mut update_key) = (None, None, None);
        for part in query.iter().flat_map(|query| query.split('&')) {
            match part.split_once('=') {
                Some(("server", url)) if server.is_none() => {
                    server = Some(unescape(url).ok_or("its server's address is garbled")?);
                }
                Some(("pin", text)) if pin.is_none() => {
                    pin = Some(unescape(text).and_then(|t| Pin::parse(&t)).ok_or("its pin is garbled")?);
                }
                Some(("update", text)) if update_key.is_none() => {
                    let key = unescape(text).and_then(|t| update_key::parse(&t));
                    update_key = Some(key.ok_or("its update key is garbled")?);
                }
                _ => return Err("it has a part this version does not know"),
            }
        }
        let bytes = Zeroizing::new(hex::parse(key).ok_or("its key is not hexadecimal")?);
        let mut secret: [u8; SECRET_LEN] =
            bytes.as_slice().try_into().map_err(|_| "its key has not 32 bytes")?;
        let key = DeviceKey::from_bytes(secret);
        secret.zeroize();
        Ok(Self { id, key, server, pin, update_key })
    }

    /// Reads the file `kinglet device add --key-out` wrote.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = Zeroizing::new(files::read(path)?);
        let text = std::str::from_utf8(&bytes).map_err(|_| "it is not text");
        text.and_then(Self::parse).map_err(|why| {
            Failure::input(format_args!("{} is no provisioning", path.display()))
                .why(why)
                .next("name the file written by `kinglet device add ID --key-out FILE`")
        })
    }
}

/// Percent-encoding (RFC 3986) of everything but unreserved characters.
fn escape(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        bytes.extend(hex::parse(std::str::from_utf8(digits).ok()?)?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(server: Option<&str>, pin: Option<Pin>, line: &str) {
        let made = Provisioning {
            id: DeviceId::new("porch").unwrap(),
            key: DeviceKey::from_bytes([0xab; 32]),
            server: server.map(str::to_string),
            pin,
            update_key: None,
        };
        assert_eq!(made.emit().as_str(), line);
        let Ok(read) = Provisioning::parse(line) else { panic!("{line}") };
        assert_eq!((read.id, read.server.as_deref(), read.pin), (made.id, server, pin));
        assert_eq!(read.key.expose_secret(), made.key.expose_secret());
    }

    #[test]
    fn there_and_back() {
        let key = "ab".repeat(32);
        check(None, None, &format!("kinglet:porch#{key}"));
        check(
            Some("http://[::1]:8470"),
            None,
            &format!("kinglet:porch?server=http%3A%2F%2F%5B%3A%3A1%5D%3A8470#{key}"),
        );
        check(
            Some("mqtts://k.lan"),
            Some(Pin([0x0f; 32])),
            &format!("kinglet:porch?server=mqtts%3A%2F%2Fk.lan&pin=sha256%3A{}#{key}", "0f".repeat(32)),
        );
    }

    #[test]
    fn an_update_key_goes_along() {
        let line = format!("kinglet:p?update=ed25519%3A{}#{}", "0e".repeat(32), "ab".repeat(32));
        let Ok(read) = Provisioning::parse(&line) else { panic!("{line}") };
        assert_eq!(read.update_key, Some(UpdateKey::from_bytes([0x0e; 32])));
        assert_eq!(read.emit().as_str(), line);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        for line in [
            "",
            "kinglet:",
            "kinglet:porch#",
            "kinglet:porch#zz",
            "http://x#00",
            "kinglet:po rch#00",
            "kinglet:p?x=1#00",
            "kinglet:p?server=a&server=b#00",
            "kinglet:p?pin=sha256%3A00#00",
            "kinglet:p?update=ed25519%3A00#00",
        ] {
            assert!(Provisioning::parse(line).is_err(), "{line}");
        }
        let Err(why) = Provisioning::parse("kinglet:porch#abcd") else { panic!() };
        assert!(!why.contains("abcd"));
    }
}
