//! One plain function over bytes per door. Each must return for every input; where the bytes are accepted, it
//! also checks that what was read is written back as the same bytes.

// These are checks: a broken promise has to panic.
#![allow(clippy::unwrap_used)]

use crate::counter::{Counter, ShortCounter};
use crate::frame::{Frame, FrameRepr, Kind, Suite};
use crate::join::{ACCEPT_LEN, Accept, JOIN_STATE_LEN_MAX, JoinState, Joined, REQUEST_LEN_MAX, RequestFrame};
use crate::keys::{DeviceId, DeviceKey, JoinKey, LinkKey};
use crate::payload::{Ack, AckFlags, Command, Content, Data, Millis, Status};
use crate::ranges::{RANGES_LEN_MAX, Received, ReceivedRanges};
use crate::seal::{Binding, open, seal};
use crate::update::{SignedUpdate, SigningKey};
use crate::{CONTENT_LEN_MAX, DOWN_HEADER_LEN, FRAME_LEN_MAX, HEADER_LEN_MAX, TAG_LEN};

/// Parses a frame; an accepted header is emitted as the same bytes.
pub fn fuzz_frame(bytes: &[u8]) {
    let _ = crate::frame::kind_of(bytes);
    let Ok(frame) = Frame::new_checked(bytes) else { return };
    let mut header = [0; HEADER_LEN_MAX];
    let repr = FrameRepr::parse(&frame);
    let header_len = repr.emit(&mut header).unwrap();
    assert_eq!(&header[..header_len], frame.header());
    assert_eq!(header_len + frame.sealed().len() + TAG_LEN, bytes.len());
    assert_eq!(repr.kind(), frame.kind());
    assert!(frame.run().is_some() == (header_len == DOWN_HEADER_LEN));
    let counter = frame.counter().rebuild(Counter::new(1 << 40));
    assert!(frame.counter().fits(counter));
}

/// Opens bytes as a frame (it must fail: nobody guesses a tag), then seals them as content and opens that.
pub fn fuzz_open(bytes: &[u8]) {
    let id = DeviceId::new("fuzz").unwrap();
    let secret = DeviceKey::from_bytes([0x5a; 32]).generation_secret(&id, 1, &[1; 16], &[2; 16]);
    let mut buf = [0; FRAME_LEN_MAX];
    let Some(copy) = buf.get_mut(..bytes.len()) else { return };
    copy.copy_from_slice(bytes);
    let Ok(frame) = Frame::new_checked(bytes) else { return };
    let bound = Binding {
        id: &id,
        counter: frame.counter().rebuild(None),
        bundle: (frame.kind() == Kind::Data).then_some(&[7; 16]),
    };
    let key: LinkKey = match frame.run() {
        Some(run) => secret.down(Suite::AesCcm16, &run),
        None => secret.up(Suite::AesCcm16),
    };
    assert!(open(&key, &bound, copy).is_err());
    let (at, len) = (frame.header_len(), frame.sealed().len());
    assert!(copy[at..at + len].iter().all(|&b| b == 0), "a failed open hands out no plaintext");

    copy.copy_from_slice(bytes);
    let sealed = seal(&key, &FrameRepr::parse(&frame), &bound, copy, len.min(CONTENT_LEN_MAX)).unwrap();
    let content = open(&key, &bound, &mut copy[..sealed]).unwrap();
    assert_eq!(content, &frame.sealed()[..content.len()]);
}

/// Reads bytes as request, accept and stored join state; then answers requests made of them.
pub fn fuzz_join(bytes: &[u8]) {
    let key = DeviceKey::from_bytes([0x5a; 32]);
    let join_key: JoinKey = key.join_key(&DeviceId::new("fuzz").unwrap());
    if let Ok(frame) = RequestFrame::parse(bytes)
        && let Ok(request) = frame.open(&key.join_key(frame.id()))
    {
        let mut out = [0; REQUEST_LEN_MAX];
        let len = request.emit(&key.join_key(frame.id()), &mut out).unwrap();
        assert_eq!(&out[..len], bytes);
    }
    if let Ok(accept) = Accept::open(bytes, &join_key) {
        let mut out = [0; ACCEPT_LEN];
        accept.emit(&join_key, &mut out).unwrap();
        assert_eq!(out, bytes);
    }
    let mut stored = [0; JOIN_STATE_LEN_MAX];
    let mut state = match JoinState::parse(bytes) {
        Ok(state) => {
            let len = state.emit(&mut stored).unwrap();
            assert_eq!(&stored[..len], bytes);
            state
        }
        Err(_) => JoinState::new(),
    };
    for step in bytes.chunks_exact(3) {
        let before = state.clone();
        let request = request_of(step);
        match state.handle_request(&request, &[step[2]; 16], Millis::default()) {
            Ok(Joined::New(grant)) => {
                assert!(grant.generation > request.known && grant.generation > 0);
                let low = crate::frame::low4(grant.generation);
                assert_eq!(state.generation(low).map(|g| g.generation), Some(grant.generation));
            }
            Ok(Joined::Again(_)) | Err(_) => assert_eq!(state, before),
        }
        if step[2] & 1 == 1 {
            let pending = state.pending().first().map_or(0, |g| g.generation);
            assert_eq!(state.confirm(pending), pending != 0);
        }
        let len = state.emit(&mut stored).unwrap();
        assert_eq!(JoinState::parse(&stored[..len]).as_ref(), Ok(&state));
    }
}

fn request_of(step: &[u8]) -> crate::join::Request {
    crate::join::Request {
        suite: Suite::AesCcm16,
        id: DeviceId::new("fuzz").unwrap(),
        device_nonce: [step[0]; 16],
        // Mostly small numbers, now and then the last there are.
        known: if step[1] > 250 { u32::MAX - u32::from(step[1] & 3) } else { step[1].into() },
        fingerprint: [0; 16],
    }
}

/// Parses bytes as each content; an accepted one is emitted as the same bytes.
pub fn fuzz_payload(bytes: &[u8]) {
    fn check(parsed: &impl Content, bytes: &[u8]) {
        let mut out = [0; CONTENT_LEN_MAX];
        if bytes.len() <= CONTENT_LEN_MAX {
            let len = parsed.emit(&mut out).unwrap();
            assert_eq!(&out[..len], bytes);
        }
    }
    if let Ok(data) = Data::parse(bytes) {
        check(&data, bytes);
        let _ = data.time.t_ms(i64::MIN);
    }
    if let Ok(status) = Status::parse(bytes) {
        check(&status, bytes);
    }
    if let Ok(command) = Command::parse(bytes) {
        check(&command, bytes);
        let _ = command.is_due(None, u64::MAX, Counter::MAX);
    }
    if let Ok(ack) = Ack::parse(bytes) {
        check(&ack, bytes);
        assert!(ack.run == 0 || ack.covers(ack.base));
        let _ = ack.covers(Counter::MAX);
    }
}

/// Parses bytes as a signed update (nobody guesses a signature), then signs what they say and verifies that.
pub fn fuzz_update(bytes: &[u8]) {
    let Ok(read) = SignedUpdate::parse(bytes) else { return };
    assert_eq!(&read.to_bytes()[..], bytes);
    let key = SigningKey::from_bytes([0x5a; 32]);
    assert!(read.verify(&key.public()).is_err());
    let signed = key.sign(read.unverified());
    assert_eq!(signed.verify(&key.public()).as_ref(), Ok(read.unverified()));
}

/// Parses bytes as a request for a piece of a model and as a piece; what is accepted is written the same again.
pub fn fuzz_piece(bytes: &[u8]) {
    use crate::piece::{HEAD_LEN, PIECE_LEN_MAX, Piece, PieceRequest};
    if let Ok(request) = PieceRequest::parse(bytes) {
        assert_eq!(&request.to_bytes()[..], bytes);
    }
    if let Ok(piece) = Piece::parse(bytes) {
        let mut out = [0; HEAD_LEN + PIECE_LEN_MAX as usize];
        let len = piece.emit(&mut out).unwrap();
        assert_eq!(&out[..len], bytes);
        let asked = PieceRequest { fingerprint: piece.fingerprint, from: piece.from, len: PIECE_LEN_MAX };
        assert_eq!(asked.read(bytes), Some(piece.bytes));
    }
}

/// Parses bytes as stored ranges; then inserts counters made of them and keeps the promises.
pub fn fuzz_ranges(bytes: &[u8]) {
    let mut stored = [0; RANGES_LEN_MAX];
    let mut ranges = match ReceivedRanges::parse(bytes) {
        Ok(ranges) => {
            let len = ranges.emit(&mut stored).unwrap();
            assert_eq!(&stored[..len], bytes);
            ranges
        }
        Err(_) => ReceivedRanges::new(),
    };
    for step in bytes.chunks_exact(3) {
        let low = u32::from_be_bytes([0, step[0], step[1], step[2]]);
        let counter = ShortCounter::Low(low).rebuild(ranges.highest());
        let before = ranges.check(counter);
        assert_eq!(ranges.insert(counter), before);
        assert_ne!(ranges.check(counter), Received::New, "nothing is new twice");
        if let Some(ack) = ranges.ack_around(counter, Millis::default(), AckFlags::default()) {
            assert!(ack.covers(counter));
        }
        let len = ranges.emit(&mut stored).unwrap();
        assert_eq!(ReceivedRanges::parse(&stored[..len]).as_ref(), Ok(&ranges));
    }
}

/// Reads bytes as the payload of an uplink and of a downlink; an accepted one, expanded and packed, is the same again.
/// The first byte says the port.
pub fn fuzz_lorawan(bytes: &[u8]) {
    use crate::frame::ShortId;
    use crate::lorawan::{PORT, PORT_LONG, Packer, Uplink, expand_downlink, pack_downlink};
    let Some((&port, payload)) = bytes.split_first() else { return };
    let (mut frame, mut again) = ([0; FRAME_LEN_MAX], [0; FRAME_LEN_MAX]);
    let port = if port & 1 == 0 { PORT } else { PORT_LONG };
    if let Ok(uplink) = Uplink::parse(port, payload) {
        let highest = Counter::new(u64::from(bytes[0]) << 13);
        let len = uplink.expand(ShortId(7), highest, &mut frame).unwrap();
        let view = Frame::checked_on(&frame[..len], Suite::AesCcm8).unwrap();
        assert_eq!((view.generation_low(), view.short_id()), (uplink.generation_low(), ShortId(7)));
        let (again_len, again_port) = Packer::new().pack(&frame[..len], &mut again).unwrap();
        assert_eq!(again_port, PORT_LONG);
        // The longest with a short counter have no long form.
        if again_len <= crate::lorawan::PAYLOAD_LEN_MAX {
            let long = Uplink::parse(PORT_LONG, &again[..again_len]).unwrap();
            let mut third = [0; FRAME_LEN_MAX];
            let third_len = long.expand(ShortId(7), None, &mut third).unwrap();
            assert_eq!(third[..third_len], frame[..len]);
        }
        if port == PORT_LONG {
            assert_eq!(&again[..again_len], payload);
        }
    }
    if let Some(room) = frame.len().checked_sub(4)
        && payload.len() <= room
        && let Ok(len) = expand_downlink(payload, ShortId(7), &mut frame)
    {
        let len = pack_downlink(&frame[..len], &mut again).unwrap();
        assert_eq!(&again[..len], payload);
    }
}
