//! What an attacker in the path can send, and that it changes nothing.

use std::vec;
use std::vec::Vec;

use super::rig::{DOWN, GOOD, Link, Rig, model_bytes};
use super::server::Answer;
use crate::{Downlink, Ignored, What};
use kinglet_wire::payload::AckFlags;

/// A joined device with four windows in flight, and the honest ack that names them all.
fn waiting() -> (Rig, Vec<u8>, Vec<Vec<u8>>) {
    let mut rig = Rig::new(1, 4, 4096, model_bytes(2, 60_000, "x"));
    rig.reboot();
    rig.run(4_000);
    rig.link = DOWN;
    rig.run(8_000);
    let mut frames = Vec::new();
    // What goes out next is taken off the air.
    for _ in 0..200 {
        rig.now += 200;
        let now = rig.up();
        let node = rig.node.as_mut().unwrap();
        let mut buf = vec![0; node.frame_len_max()];
        while let Some(sent) =
            node.poll_transmit(now, &mut rig.flash, &mut |out| out.fill(9), &mut buf).unwrap()
        {
            frames.push(buf[..sent.len].to_vec());
        }
    }
    let mut ack = None;
    for frame in &frames {
        if let Answer::Downlink(bytes) = rig.server.handle(rig.unix(), frame) {
            ack = Some(bytes);
        }
    }
    (rig, ack.unwrap(), frames)
}

fn n_waiting(rig: &Rig) -> usize {
    rig.node.as_ref().unwrap().stats().n_windows_waiting
}

#[test]
fn a_flip_of_any_bit_of_an_ack_lets_nothing_go() {
    let (mut rig, ack, _) = waiting();
    let before = n_waiting(&rig);
    assert!(before >= 3);
    for bit in 0..8 * ack.len() {
        let mut forged = ack.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(rig.deliver(&forged), Downlink::Ignored(_)), "bit {bit}");
    }
    for len in 0..ack.len() {
        assert!(matches!(rig.deliver(&ack[..len]), Downlink::Ignored(_)), "{len} bytes of it");
    }
    assert!(matches!(rig.deliver(&[&ack[..], &[0]].concat()), Downlink::Ignored(_)));
    assert_eq!(n_waiting(&rig), before);
    assert!(matches!(rig.deliver(&ack), Downlink::Acked { n_windows: 1.. }));
    assert!(n_waiting(&rig) < before);
}

#[test]
fn its_own_frames_sent_back_are_ignored() {
    let (mut rig, _, frames) = waiting();
    let before = n_waiting(&rig);
    for frame in &frames {
        assert_eq!(rig.deliver(frame), Downlink::Ignored(Ignored::Malformed));
        // The same bytes under a downlink's type.
        for kind in [3, 4, 5, 6, 7] {
            let mut turned = frame.clone();
            turned[0] = turned[0] & !0x38 | kind << 3;
            assert!(matches!(rig.deliver(&turned), Downlink::Ignored(_)));
        }
    }
    assert_eq!(n_waiting(&rig), before);
}

#[test]
fn a_replayed_ack_neither_lets_go_nor_sets_the_clock() {
    let (mut rig, ack, _) = waiting();
    rig.deliver(&ack);
    let (now, left) = (rig.up() + 3_600_000, n_waiting(&rig));
    rig.now += 3_600_000;
    let before = rig.node.as_ref().unwrap().unix_time(now);
    assert_eq!(rig.deliver(&ack), Downlink::Acked { n_windows: 0 });
    assert_eq!(n_waiting(&rig), left);
    assert_eq!(rig.node.as_ref().unwrap().unix_time(now), before);
}

#[test]
fn an_ack_from_before_a_reboot_does_not_set_the_clock_back() {
    let (mut rig, ack, _) = waiting();
    rig.now += 3_600_000;
    rig.reboot();
    rig.link = GOOD;
    rig.idle(1);
    rig.deliver(&ack);
    rig.drain();
    rig.check();
    let (up, unix) = (rig.up(), rig.unix());
    let off = rig.node.as_ref().unwrap().unix_time(up).unwrap() - unix;
    assert!(off.abs() < 20, "{off} ms off");
}

#[test]
fn forged_receipts_only_put_off() {
    let mut rig = Rig::new(2, 4, 4096, model_bytes(2, 60_000, "x"));
    rig.reboot();
    rig.run(4_000);
    rig.link = DOWN;
    rig.run(4_000);
    let before = n_waiting(&rig);
    let now = rig.up();
    for counter in 0..1000 {
        rig.node.as_mut().unwrap().handle_receipt(now, What::Data { counter });
        rig.node.as_mut().unwrap().handle_receipt(now, What::Status { counter });
    }
    rig.node.as_mut().unwrap().handle_receipt(now, What::Join);
    assert_eq!(n_waiting(&rig), before);
    let sent = rig.n_sent;
    rig.idle(500_000);
    assert_eq!(rig.n_sent, sent, "the link says it has them: no hurry");
    rig.link = GOOD;
    rig.idle(200_000);
    assert_eq!(n_waiting(&rig), 0, "and they come all the same");
    rig.drain();
    rig.check();
}

#[test]
fn a_storm_of_hints_keeps_keys_and_windows() {
    let mut rig = Rig::new(3, 6, 4096, model_bytes(2, 60_000, "x"));
    rig.reboot();
    rig.run(4_000);
    rig.link = Link { loss: 60, ..GOOD };
    for _ in 0..2_000 {
        let now = rig.up();
        rig.node.as_mut().unwrap().handle_join_hint(now);
        rig.run(1_000);
    }
    rig.drain();
    rig.check();
    assert_eq!(rig.lost(), 0);
    assert_eq!(rig.server.values().len(), rig.taken.len());
    assert!(rig.server.n_joins < 60, "{} requests", rig.server.n_joins);
}

#[test]
fn flags_of_an_ack_are_heard() {
    let mut rig = Rig::new(4, 6, 4096, model_bytes(2, 60_000, "x"));
    rig.reboot();
    rig.run(4_000);
    let n = rig.server.statuses.len();
    rig.server.flags = AckFlags::STATUS_WANTED;
    rig.run(200_000);
    let more = rig.server.statuses.len() - n;
    assert!((2..=5).contains(&more), "{more} status frames in 200 s: no more than one a minute");
    rig.server.flags = AckFlags::JOIN_WANTED;
    rig.run(4_000);
    rig.server.flags = AckFlags::default();
    rig.drain();
    rig.check();
    assert_eq!(rig.node.as_ref().unwrap().stats().generation, 2);
}

#[test]
fn an_accept_nobody_asked_for_or_for_another_request_is_ignored() {
    let mut rig = Rig::new(5, 4, 4096, model_bytes(2, 60_000, "x"));
    rig.reboot();
    rig.link = DOWN;
    rig.idle(100);
    let mut dice = super::rig::Rng(8);
    let mut nonce = [0; 16];
    dice.fill(&mut nonce);
    let joining = kinglet_wire::join::Joining::new(rig.server.id, nonce, 0, [0; 16]);
    let mut request = vec![0; 128];
    let len = joining.emit(&rig.server.key.join_key(&rig.server.id), &mut request).unwrap();
    let Answer::Downlink(accept) = rig.server.handle(rig.unix(), &request[..len]) else {
        panic!("not granted")
    };
    assert_eq!(rig.deliver(&accept), Downlink::Ignored(Ignored::NotOpened));
    rig.link = GOOD;
    rig.run(10_000);
    assert_eq!(rig.deliver(&accept), Downlink::Ignored(Ignored::NotJoining));
    rig.clock_slack_ms = 500;
    rig.drain();
    rig.check();
}
