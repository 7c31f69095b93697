//! Sealed frames.

use super::*;
use crate::cose::{COSE_LEN_MAX, expand};
use crate::frame::Frame;
use crate::seal::{Aad, nonce};

pub(super) fn frames_pass() -> String {
    let about =
        "Frames that open: binding, AAD and nonce, content, frame, and the COSE_Encrypt0 it stands for.";
    cases()
        .iter()
        .fold(Text::new(about), |text, case| {
            let (id, key, frame) = (id(), case.key(), case.sealed());
            let bound = case.bound(&id);
            let view = Frame::new_checked(&frame[..]).unwrap();
            let mut cose = [0; COSE_LEN_MAX];
            let cose_len = expand(&view, &bound, &mut cose).unwrap();
            text.case(case.name)
                .text("id", id.as_str())
                .hex("generation", &GENERATION.to_be_bytes())
                .hex("secret", secret().expose_secret())
                .u48("counter", case.counter.get())
                .hex("fingerprint", bound.bundle.map_or(&[], |f| &f[..]))
                .hex("key", key.key())
                .hex("nonce", &nonce(&key, case.counter))
                .hex("aad", Aad::new(view.header(), &key, &bound).as_bytes())
                .hex("content", &case.content)
                .hex("frame", &frame)
                .hex("cose", &cose[..cose_len])
        })
        .0
}

pub(super) fn frames_fail() -> String {
    let about = "Frames that are refused, and as what. `open`: only with the key, so nobody learns why.";
    let frame_of = |i: usize| cases()[i].sealed();
    let changed = |i: usize, at: usize, to: u8| {
        let mut frame = frame_of(i);
        frame[at] = to;
        frame
    };
    let last = |i: usize| frame_of(i).len() - 1;
    let plain = [
        ("empty", Vec::new(), "short"),
        ("version_0", changed(1, 0, 0x00), "version"),
        ("version_2", changed(1, 0, 0x80), "version"),
        ("version_3", changed(1, 0, 0xc0), "version"),
        ("type_6", changed(1, 0, 0x70), "type"),
        ("type_7", changed(1, 0, 0x78), "type"),
        ("a_join_is_no_sealed_frame", changed(1, 0, 0x50), "type"),
        ("suite_1", changed(1, 0, 0x42), "suite"),
        ("suite_2", changed(1, 0, 0x44), "suite"),
        ("suite_3", changed(1, 0, 0x46), "suite"),
        ("status_with_a_slot", changed(3, 1, 0x13), "reserved"),
        ("ack_with_a_full_counter", changed(5, 0, 0x69), "wide"),
        ("cut_in_the_header", frame_of(1)[..9].to_vec(), "short"),
        ("cut_in_the_tag", frame_of(0)[..frame_of(0).len() - 2].to_vec(), "short"),
        ("downlink_cut", frame_of(5)[..37].to_vec(), "short"),
    ];
    let sealed = [
        ("another_slot", 1, changed(1, 1, 0x14)),
        ("another_generation", 1, changed(1, 1, 0x23)),
        ("another_short_id", 1, changed(1, 5, 0xef)),
        ("another_type", 3, changed(3, 0, 0x40)),
        ("content_changed", 1, changed(1, 10, 0xff)),
        ("tag_changed", 1, changed(1, last(1), !frame_of(1)[last(1)])),
        ("tag_of_zeros", 1, {
            let mut frame = frame_of(1);
            let at = frame.len() - 16;
            frame[at..].fill(0);
            frame
        }),
        ("cut_by_one", 1, frame_of(1)[..last(1)].to_vec()),
        ("one_byte_more", 1, [frame_of(1), std::vec![0]].concat()),
        ("another_counter", 2, changed(2, 6, 0x01)),
        ("ack_of_another_run", 5, changed(5, 6, 0x00)),
    ];
    let text = plain.iter().fold(Text::new(about), |text, (name, frame, refused)| {
        text.case(name).hex("frame", frame).text("refused", refused)
    });
    let text = sealed.iter().fold(text, |text, (name, i, frame)| {
        let (case, id) = (&cases()[*i], id());
        text.case(name)
            .text("id", id.as_str())
            .hex("secret", secret().expose_secret())
            .u48("counter", case.counter.get())
            .hex("fingerprint", case.bound(&id).bundle.map_or(&[], |f| &f[..]))
            .hex("frame", frame)
            .text("refused", "open")
    });
    let case = &cases()[1];
    let bound = |name: &str, text: Text, id: &str, counter: u64, fingerprint: &[u8]| {
        text.case(name)
            .text("id", id)
            .hex("secret", secret().expose_secret())
            .u48("counter", counter)
            .hex("fingerprint", fingerprint)
            .hex("frame", &case.sealed())
            .text("refused", "open")
    };
    let text = bound("bound_to_another_id", text, "cellar-8", 300, &FINGERPRINT);
    let text = bound("bound_to_another_bundle", text, "cellar-7", 300, b"the 2nd bundle's");
    let text = bound("bound_to_another_lap", text, "cellar-7", (1 << 32) + 300, &FINGERPRINT);
    bound("bound_to_no_bundle", text, "cellar-7", 300, &[]).0
}
