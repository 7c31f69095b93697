//! One request to the server: frames that are due go out, what comes back goes to the node.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kinglet_node::update::Wanted;
use kinglet_node::{Downlink, Flash, Node, NodeError, SampleTime, Transmit, What};
use kinglet_wire::piece::PieceRequest;
use kinglet_wire::update::SignedUpdate;

use crate::sensor::Quantity;
use crate::sleep::Kept;

/// Content type of one frame.
pub const ONE: &str = "application/vnd.kinglet.frame";
/// Content type of many, each after its length in two bytes, most significant first.
pub const MANY: &str = "application/vnd.kinglet.frames";
/// No request is longer, so that a board has room for it; one frame always fits.
const BODY_LEN_MAX: usize = 4 * 1024;

/// A request to be posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// `/v1/join`, `/v1/frames`, or a piece of a bundle.
    pub path: String,
    /// [`ONE`] or [`MANY`]; empty if something is asked for instead of brought.
    pub kind: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// Frames in it.
    pub n_frames: usize,
}

/// What the server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// HTTP status.
    pub status: u16,
    /// The body holds many frames rather than one; `None` if it holds none.
    pub many: Option<bool>,
    /// The `kinglet-refused` header says that a join is needed.
    pub join_required: bool,
    /// Sealed acks, an accept, hints.
    pub body: Vec<u8>,
}

/// What an answer has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Windows a sealed ack has let go of.
    pub n_acked: usize,
    /// A join is done.
    pub joined: bool,
    /// Downlinks that did nothing.
    pub n_ignored: usize,
    /// Another bundle is offered.
    pub offer: Option<SignedUpdate>,
}

/// Collects what is due into one request; `None` if nothing is. `buf` has [`Node::frame_len_max`] bytes.
pub fn gather(
    node: &mut Node<'_>,
    now: u64,
    flash: &mut dyn Flash,
    random: &mut dyn FnMut(&mut [u8]),
    buf: &mut [u8],
) -> Result<Option<Outgoing>, NodeError> {
    let mut out = Outgoing { path: String::from("/v1/frames"), kind: MANY, body: Vec::new(), n_frames: 0 };
    while out.body.len() + 2 + node.frame_len_max() <= BODY_LEN_MAX.max(2 + node.frame_len_max()) {
        let Some(Transmit { len, what }) = node.poll_transmit(now, flash, random, buf)? else { break };
        let frame = buf.get(..len).unwrap_or_default();
        out.n_frames += 1;
        if what == What::Join {
            // The only frame due: nothing else is sent while the node has no keys, or wants new ones.
            return Ok(Some(Outgoing {
                path: String::from("/v1/join"),
                kind: ONE,
                body: frame.to_vec(),
                ..out
            }));
        }
        // The wire's longest frame is shorter than 64 KiB.
        out.body.extend_from_slice(&(len as u16).to_be_bytes());
        out.body.extend_from_slice(frame);
        // A status tells the server what later frames mean: it goes alone.
        if matches!(what, What::Status { .. }) {
            break;
        }
    }
    Ok((out.n_frames > 0).then_some(out))
}

/// Gives a node what was kept through sleep: each sample with its own time, then the window is cut. Gives the first
/// error, and goes on after it.
pub fn give(
    node: &mut Node<'_>,
    now: u64,
    flash: &mut dyn Flash,
    kept: &mut Kept,
    channels: &[Quantity],
) -> Result<(), NodeError> {
    let samples = kept.drain();
    let first = samples.first().map(|(at, _)| (*at, kept.unix_ms(*at)));
    let mut done = match first {
        Some((at, Some(unix))) => node.set_unix_time(at, flash, unix),
        _ => Ok(()),
    };
    for (at, sample) in samples {
        let taken = node.handle_sample(at, flash, SampleTime::Now, &sample.readings(channels));
        done = done.and(taken);
    }
    done.and(node.flush(now, flash))
}

/// Asks for a piece of a bundle: by the path over HTTP, by the body over MQTT.
pub fn fetch(wanted: &Wanted) -> Outgoing {
    let mut path = String::from("/v1/bundles/");
    for byte in wanted.fingerprint {
        path += &format!("{byte:02x}");
    }
    path += &format!("?from={}&len={}", wanted.from, wanted.len);
    // No piece is longer than the wire's longest.
    let request = PieceRequest { fingerprint: wanted.fingerprint, from: wanted.from, len: wanted.len as u16 };
    Outgoing { path, kind: "", body: request.to_bytes().to_vec(), n_frames: 0 }
}

/// Gives an answer to the node. A body that is cut short is used as far as it goes: every frame in it is sealed.
pub fn take(
    node: &mut Node<'_>,
    now: u64,
    flash: &mut dyn Flash,
    mut answer: Incoming,
) -> Result<Taken, NodeError> {
    let mut taken = Taken::default();
    let mut rest = &mut answer.body[..];
    while !rest.is_empty() {
        let downlink;
        match answer.many {
            Some(false) => (downlink, rest) = (rest, &mut []),
            Some(true) => {
                let Some((len, behind)) = rest.split_first_chunk_mut::<2>() else { break };
                let len = usize::from(u16::from_be_bytes(*len));
                let Some((first, behind)) = behind.split_at_mut_checked(len) else { break };
                (downlink, rest) = (first, behind);
            }
            None => break,
        }
        match node.handle_downlink(now, flash, downlink)? {
            Downlink::Acked { n_windows } => taken.n_acked += n_windows,
            Downlink::Joined { .. } => taken.joined = true,
            Downlink::Offered(offer) => taken.offer = Some(offer),
            _ => taken.n_ignored += 1,
        }
    }
    if answer.join_required {
        node.handle_join_hint(now);
    }
    Ok(taken)
}

/// True if a `kinglet-refused` header names a join: `join_required;n=2, not_opened;n=1`.
pub fn asks_for_join(header: &[u8]) -> bool {
    header.split(|&b| b == b',').any(|part| {
        part.split(|&b| b == b';').next().is_some_and(|word| word.trim_ascii() == b"join_required")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_asked_for_by_fingerprint_and_place() {
        let asked = fetch(&Wanted { fingerprint: [0xAB; 16], from: 4096, len: 1024 });
        assert_eq!(asked.path, "/v1/bundles/abababababababababababababababab?from=4096&len=1024");
        assert_eq!((asked.kind, &asked.body[..16]), ("", &[0xAB; 16][..]));
        assert_eq!(asked.body[16..], [0, 0, 16, 0, 4, 0]);
    }

    #[test]
    fn a_join_is_asked_for_by_name() {
        for (header, want) in [
            (&b"join_required"[..], true),
            (b"not_opened;n=1, join_required;n=2", true),
            (b"not_join_required", false),
            (b"", false),
            (b";,;", false),
        ] {
            assert_eq!(asks_for_join(header), want, "{header:?}");
        }
    }
}
