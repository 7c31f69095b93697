//! Keys, seal, open and join on the vectors of `vectors/wire`.

use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Frame, FrameRepr, Suite};
use kinglet_wire::join::{ACCEPT_LEN, Accept, RequestFrame};
use kinglet_wire::keys::{DeviceId, DeviceKey, GenerationSecret, JoinKey, LinkKey};
use kinglet_wire::seal::{Binding, open, seal};
use kinglet_wire::{FRAME_LEN_MAX, Fingerprint};

use crate::chip;
use crate::report::Report;
use crate::vectors::{Block, blocks};

type Check = Result<(), &'static str>;

/// Every vector this chip can read.
pub fn check(report: &mut Report) {
    let groups: [(&str, &str, fn(&Block<'_>, &Report) -> Check); 5] = [
        ("wire-keys", include_str!("../../../vectors/wire/v1_keys.txt"), keys),
        ("wire-frames", include_str!("../../../vectors/wire/v1_frames_pass.txt"), frame),
        ("wire-refused-frames", include_str!("../../../vectors/wire/v1_frames_fail.txt"), refused_frame),
        ("wire-joins", include_str!("../../../vectors/wire/v1_joins_pass.txt"), join),
        ("wire-refused-joins", include_str!("../../../vectors/wire/v1_joins_fail.txt"), refused_join),
    ];
    for (group, text, of) in groups {
        for block in blocks(text) {
            let is = of(&block, report);
            report.check(group, block.name(), is);
        }
    }
}

fn keys(block: &Block<'_>, _: &Report) -> Check {
    let (id, key) = (id(block)?, DeviceKey::from_bytes(block.array("device_key")?));
    if block.text("secret").is_none() {
        let made = key.static_secret(&id);
        return same(made.expose_secret(), &block.array::<32>("static_secret")?);
    }
    same(key.join_key(&id).expose_secret(), &block.array::<32>("join_key")?)?;
    let (device_nonce, server_nonce) = (block.array("device_nonce")?, block.array("server_nonce")?);
    let generation = u32::try_from(block.number("generation")?).map_err(|_| "generation")?;
    let made = key.generation_secret(&id, generation, &device_nonce, &server_nonce);
    same(made.expose_secret(), &block.array::<32>("secret")?)
}

fn frame(block: &Block<'_>, report: &Report) -> Check {
    let (id, fingerprint) = (id(block)?, fingerprint(block)?);
    let counter = Counter::new(block.number("counter")?).ok_or("counter")?;
    let bound = Binding { id: &id, counter, bundle: fingerprint.as_ref() };
    let (mut want, mut content) = ([0; FRAME_LEN_MAX], [0; FRAME_LEN_MAX]);
    let want = block.bytes("frame", &mut want)?;
    let content = block.bytes("content", &mut content)?;
    let view = Frame::new_checked(&*want).map_err(|_| "its frame is not parsed")?;
    let (header, key) = (FrameRepr::parse(&view), key(block, &view)?);

    let mut buf = [0; FRAME_LEN_MAX];
    let at = header.header_len();
    buf[at..at + content.len()].copy_from_slice(content);
    let stack = chip::watch_stack();
    let start = chip::now();
    let frame_len = seal(&key, &header, &bound, &mut buf, content.len()).map_err(|_| "not sealed")?;
    let sealed = chip::now();
    if buf[..frame_len] != *want {
        return Err("sealed to other bytes");
    }
    let opening = chip::now();
    let opened = open(&key, &bound, &mut buf[..frame_len]).map_err(|_| "not opened")?;
    let end = chip::now();
    if opened != content {
        return Err("opened to other bytes");
    }
    let content_len = content.len();
    report.figure("seal.content_bytes", content_len);
    report.figure("seal.instructions", chip::instructions_between(start, sealed));
    report.figure("open.instructions", chip::instructions_between(opening, end));
    report.figure("seal_open.stack_bytes", stack.used());
    Ok(())
}

fn refused_frame(block: &Block<'_>, _: &Report) -> Check {
    let mut bytes = [0; FRAME_LEN_MAX + 64];
    let bytes = block.bytes("frame", &mut bytes)?;
    let by_parser = block.text("refused") != Some("open");
    let key = match Frame::new_checked(&*bytes) {
        Err(_) if by_parser => return Ok(()),
        Err(_) => return Err("refused by the parser, should be by the tag"),
        Ok(_) if by_parser => return Err("parsed"),
        Ok(view) => key(block, &view)?,
    };
    let (id, fingerprint) = (id(block)?, fingerprint(block)?);
    let counter = Counter::new(block.number("counter")?).ok_or("counter")?;
    let bound = Binding { id: &id, counter, bundle: fingerprint.as_ref() };
    if open(&key, &bound, bytes).is_ok() { Err("opened") } else { Ok(()) }
}

fn join(block: &Block<'_>, _: &Report) -> Check {
    let key = JoinKey::from_bytes(block.array("join_key")?);
    let mut bytes = [0; 256];
    if block.text("accept").is_some() {
        let bytes = block.bytes("accept", &mut bytes)?;
        let accept = Accept::open(bytes, &key).map_err(|_| "its accept is refused")?;
        let mut again = [0; ACCEPT_LEN];
        accept.emit(&key, &mut again).map_err(|_| "not emitted")?;
        return same(&again, bytes);
    }
    let bytes = block.bytes("request", &mut bytes)?;
    let frame = RequestFrame::parse(bytes).map_err(|_| "its request is not parsed")?;
    let request = frame.open(&key).map_err(|_| "its request is refused")?;
    let mut again = [0; 256];
    let len = request.emit(&key, &mut again).map_err(|_| "not emitted")?;
    same(&again[..len], bytes)
}

fn refused_join(block: &Block<'_>, _: &Report) -> Check {
    let Some(_) = block.text("request") else { return refused_accept(block) };
    let key = JoinKey::from_bytes(block.array("join_key")?);
    let mut bytes = [0; 256];
    let bytes = block.bytes("request", &mut bytes)?;
    match (RequestFrame::parse(bytes), block.text("refused") == Some("open")) {
        (Err(_), false) => Ok(()),
        (Ok(frame), true) if frame.open(&key).is_err() => Ok(()),
        _ => Err("not refused as its vector says"),
    }
}

/// As the device that asked sees it.
fn refused_accept(block: &Block<'_>) -> Check {
    let key = JoinKey::from_bytes(block.array("join_key")?);
    let known = u32::try_from(block.number("known")?).map_err(|_| "known")?;
    let asked = kinglet_wire::join::Joining::new(id(block)?, block.array("device_nonce")?, known, [0; 16]);
    let mut bytes = [0; 256];
    let bytes = block.bytes("accept", &mut bytes)?;
    if asked.open(bytes, &key).is_ok() { Err("accepted") } else { Ok(()) }
}

fn id(block: &Block<'_>) -> Result<DeviceId, &'static str> {
    DeviceId::new(block.text("id").ok_or("id")?).ok_or("its id is refused")
}

fn fingerprint(block: &Block<'_>) -> Result<Option<Fingerprint>, &'static str> {
    let mut bytes: Fingerprint = [0; 16];
    match block.bytes("fingerprint", &mut bytes)?.len() {
        16 => Ok(Some(bytes)),
        _ => Ok(None),
    }
}

fn key<T: AsRef<[u8]>>(block: &Block<'_>, view: &Frame<T>) -> Result<LinkKey, &'static str> {
    let secret = GenerationSecret::from_bytes(block.array("secret")?);
    Ok(match view.run() {
        Some(run) => secret.down(Suite::AesCcm16, &run),
        None => secret.up(Suite::AesCcm16),
    })
}

fn same(got: &[u8], want: &[u8]) -> Check {
    if got == want { Ok(()) } else { Err("other bytes") }
}
