//! Offers: who is told of which bundle, how often, and what comes over HTTP.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use common::{Device, Rig, T0, bundle};
use kinglet_codec::bundle::Bundle;
use kinglet_server::offers::{Audience, OfferError, signature_of};
use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Frame, FrameRepr, Kind, Suite, kind_of};
use kinglet_wire::payload::{Command, Millis, Quality, Reset, Status, UpdateRefused, UpdateState};
use kinglet_wire::seal::{Binding, open};
use kinglet_wire::update::{SignedUpdate, SigningKey, Update};

const KEY: [u8; 32] = [4; 32];

fn signed(bundle: Bundle, serial: u32) -> Bundle {
    let update = Update { serial, model_len: bundle.device().len() as u32, identity: bundle.identity() };
    let signature = SigningKey::from_bytes(KEY).sign(&update).to_bytes().to_vec();
    bundle.with_signature(signature)
}

fn says(device: &mut Device, update: Option<UpdateState>) -> Vec<u8> {
    let status = Status {
        slot: device.slot,
        fingerprint: device.fingerprint,
        windows_lost: 0,
        boot: 1,
        reset: Reset::Watchdog,
        uptime: Millis::new(5000).unwrap(),
        unix: Millis::new(T0),
        quality: Quality::Synced,
        battery_mv: None,
        update,
        heap_free: Some(4321),
    };
    let counter = device.count();
    device.status_as(counter, &status)
}

fn state(serial: u32, is_trial: bool, refused: Option<(u32, UpdateRefused)>) -> Option<UpdateState> {
    Some(UpdateState { serial, is_trial, refused })
}

/// The downlinks of a list.
fn downlinks(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((len, rest)) = body.split_first_chunk::<2>() {
        let (frame, rest) = rest.split_at(u16::from_be_bytes(*len).into());
        found.push(frame.to_vec());
        body = rest;
    }
    found
}

/// Sends a frame as a list and gives the update the device is told of, if it is.
async fn told(rig: &Rig, device: &Device, frame: Vec<u8>) -> Option<SignedUpdate> {
    let answer = rig.post_frames(&[frame]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let downlinks = downlinks(&answer.body);
    assert_eq!(kind_of(&downlinks[0]), Ok(Kind::Ack), "the ack is the first");
    let mut bytes = downlinks.get(1)?.clone();
    let FrameRepr::Command { down } = FrameRepr::parse(&Frame::new_checked(&bytes[..]).unwrap()) else {
        panic!("no command")
    };
    let key = device.secret.as_ref().unwrap().down(Suite::AesCcm16, &down.run);
    let bound = Binding { id: &device.id, counter: Counter::from(down.counter), bundle: None };
    let command = Command::parse(open(&key, &bound, &mut bytes).unwrap()).unwrap();
    assert_eq!(command.code, Command::UPDATE);
    let (now, next) = (Millis::new(rig.clock_ms()), Counter::new(device.next).unwrap());
    assert!(command.is_due(now, 0, next) && command.is_due(None, 0, next));
    Some(SignedUpdate::parse(command.body).unwrap())
}

async fn metric(rig: &Rig, name: &str) -> u64 {
    let text = rig.get("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test]
async fn a_device_is_told_once_a_minute_until_it_uses_it_or_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("porch").await;
    let new = signed(bundle("climate", 12), 7);
    let to = Audience::Device(device.short_id);
    let offer = rig.core.offers.add(&rig.core.bundles, new.emit(), to, T0).await.unwrap();
    // One that takes no updates is left alone.
    let frame = says(&mut device, None);
    assert_eq!(told(&rig, &device, frame).await, None);
    let frame = says(&mut device, state(0, false, None));
    assert_eq!(told(&rig, &device, frame).await, Some(offer.signed));
    // Data is heard, too; but not every frame is answered by the same.
    let code = common::code(&bundle("climate", 8), |i| [i as i32, 1]);
    let frame = device.window(T0, &code);
    assert_eq!(told(&rig, &device, frame).await, None);
    rig.clock.advance(60_000);
    let frame = device.window(T0 + 80_000, &code);
    assert_eq!(told(&rig, &device, frame.clone()).await, Some(offer.signed));
    // A single frame is answered by its ack alone.
    rig.clock.advance(60_000);
    let answer = rig.post_frame(&frame).await;
    assert_eq!(kind_of(&answer.body), Ok(Kind::Ack));
    device.open_ack(&answer.body);
    let text = rig.get("/v1/devices/porch").await.text();
    assert!(text.contains("\"offered\":{\"fingerprint\"") && text.contains("\"open\":true"), "{text}");
    assert!(text.contains("\"heap_free\":4321") && text.contains("\"reset\":\"watchdog\""), "{text}");
    let page = rig.get("/devices/porch").await.text();
    assert!(page.contains("offered is update 7") && page.contains("watchdog"), "{page}");
    // It says that it will not, or that it does: nothing more is said.
    rig.clock.advance(60_000);
    let frame = says(&mut device, state(0, false, Some((7, UpdateRefused::Channels))));
    assert_eq!(told(&rig, &device, frame).await, None);
    assert_eq!(metric(&rig, "kinglet_updates_refused_total").await, 1);
    device.fingerprint = new.fingerprint();
    for trial in [true, false] {
        rig.clock.advance(60_000);
        let frame = says(&mut device, state(7, trial, None));
        assert_eq!(told(&rig, &device, frame).await, None);
        assert_eq!(metric(&rig, "kinglet_updates_kept_total").await, u64::from(!trial));
    }
    assert_eq!(metric(&rig, "kinglet_offers_told_total").await, 3);
    rig.stop().await;
}

#[tokio::test]
async fn of_several_offers_the_newest_counts_and_a_withdrawn_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("porch").await;
    let (older, newer) = (signed(bundle("climate", 12), 7), signed(bundle("climate", 16), 9));
    let to = Audience::Device(device.short_id);
    let older = rig.core.offers.add(&rig.core.bundles, older.emit(), to, T0).await.unwrap();
    let newer_offer =
        rig.core.offers.add(&rig.core.bundles, newer.emit(), Audience::Percent(100), T0).await.unwrap();
    let frame = says(&mut device, state(0, false, None));
    assert_eq!(told(&rig, &device, frame).await, Some(newer_offer.signed));
    assert_eq!(rig.core.offers.withdraw(newer.fingerprint(), None).await.unwrap(), 1);
    let frame = says(&mut device, state(0, false, None));
    assert_eq!(told(&rig, &device, frame).await, Some(older.signed));
    rig.stop().await;
}

#[tokio::test]
async fn a_stage_reaches_its_share_of_the_devices_with_the_same_channels() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let new = signed(bundle("climate", 12), 7);
    let mut devices = Vec::new();
    for n in 0..40 {
        devices.push(rig.ready_device(&format!("dev-{n}")).await);
    }
    let mut reached = 0;
    for percent in [0, 30, 100] {
        let to = Audience::Percent(percent);
        rig.core.offers.add(&rig.core.bundles, new.emit(), to, T0).await.unwrap();
        let mut n = 0;
        for device in &mut devices {
            let frame = says(device, state(0, false, None));
            n += usize::from(told(&rig, device, frame).await.is_some());
        }
        match percent {
            0 => assert_eq!(n, 0),
            100 => assert_eq!(n, 40),
            _ => assert!((4..22).contains(&n), "{n} of 40"),
        }
        assert!(n >= reached);
        reached = n;
    }
    // Of other channels: a bundle for them is none for these.
    let outlines = [kinglet_codec::learn::Outline::new(
        "pressure",
        kinglet_codec::Grid { scale: 0, origin: 0, quantum: 1, rounds: false, bound_steps: 0 },
        (0, 9),
    )];
    let parts = kinglet_codec::learn::Parts::untrained(4, 10_000, &outlines);
    let other = signed(Bundle::new("other", parts.emit(), serde_json::json!({})).unwrap(), 9);
    rig.core.offers.add(&rig.core.bundles, other.emit(), Audience::Percent(100), T0).await.unwrap();
    let frame = says(&mut devices[0], state(0, false, None));
    let offer = told(&rig, &devices[0], frame).await.unwrap();
    assert_eq!(offer.unverified().serial, 7);
    rig.stop().await;
}

#[tokio::test]
async fn pieces_of_what_is_offered_come_to_anybody_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let new = signed(bundle("climate", 12), 7);
    let hex: String = new.fingerprint().iter().map(|b| format!("{b:02x}")).collect();
    let path = format!("/v1/bundles/{hex}");
    rig.add_bundle(&new).await;
    assert_eq!(rig.get(&path).await.status, 404, "it is here, but offered to nobody");
    rig.core.offers.add(&rig.core.bundles, new.emit(), Audience::Percent(1), T0).await.unwrap();
    let mut fetched = Vec::new();
    while fetched.len() < new.device().len() {
        let answer = rig.get(&format!("{path}?from={}&len=100", fetched.len())).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.len() <= 100 && !answer.body.is_empty());
        fetched.extend(answer.body);
    }
    assert_eq!(fetched, new.device());
    assert_eq!(rig.get(&path).await.body, new.device());
    for (query, status) in [
        (format!("?from={}", new.device().len()), 416),
        ("?from=18446744073709551615".into(), 416),
        ("?from=-1".into(), 400),
        ("?len=0".into(), 400),
        ("?len=65537".into(), 400),
        ("?x=1".into(), 400),
    ] {
        assert_eq!(rig.get(&format!("{path}{query}")).await.status, status, "{query}");
    }
    for name in ["", "0", &"0".repeat(32), &"g".repeat(32), &"é".repeat(16), &"00".repeat(5000)] {
        let status = rig.get(&format!("/v1/bundles/{name}")).await.status;
        assert!([400, 404, 431].contains(&status), "{name:.20}: {status}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_is_not_signed_or_signed_for_another_model_is_not_offered() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let to = Audience::Percent(100);
    let plain = bundle("climate", 12);
    assert!(matches!(signature_of(&plain), Err(OfferError::NotSigned)));
    let refused = rig.core.offers.add(&rig.core.bundles, plain.emit(), to, T0).await;
    assert!(matches!(refused, Err(OfferError::NotSigned)));
    let other = signed(bundle("climate", 16), 7);
    let swapped = bundle("climate", 12).with_signature(other.signature().unwrap().to_vec());
    let refused = rig.core.offers.add(&rig.core.bundles, swapped.emit(), to, T0).await;
    assert!(matches!(refused, Err(OfferError::OtherModel)));
    let noise = bundle("climate", 12).with_signature(vec![1; 105]);
    let refused = rig.core.offers.add(&rig.core.bundles, noise.emit(), to, T0).await;
    assert!(matches!(refused, Err(OfferError::OtherModel | OfferError::NotSigned)));
    assert!(rig.core.offers.all().await.unwrap().is_empty());
    rig.stop().await;
}
