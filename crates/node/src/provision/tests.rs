use std::format;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::MemFlash;
use crate::flash::Flash;

const SECTOR_LEN: u32 = 512;
const N_SECTORS: u32 = 8;

fn given(model: &[u8]) -> Given<'_> {
    Given {
        id: DeviceId::new("porch"),
        key: Some(DeviceKey::from_bytes([7; 32])),
        ssid: "Söller",
        password: "correct horse",
        server: "http://192.0.2.7:8470",
        sensor: "dht22 4",
        model,
        update_key: Some(UpdateKey::from_bytes([6; 32])),
        sleeps: true,
        pin: Some([5; 32]),
    }
}

fn record(model: &[u8]) -> Vec<u8> {
    let given = given(model);
    let mut out = vec![0; given.record_len()];
    given.emit(&mut out).unwrap();
    out
}

fn flash(write_len: u32) -> MemFlash<Vec<u8>> {
    MemFlash::new(vec![0xFF; (SECTOR_LEN * N_SECTORS) as usize], SECTOR_LEN, write_len)
}

fn stored(flash: &mut MemFlash<Vec<u8>>) -> Option<Vec<u8>> {
    let slots = Slots::open(flash).unwrap();
    let mut out = vec![0; slots.record_len()?];
    slots.read(flash, &mut out).unwrap().map(|len| out[..len].to_vec())
}

/// Sends `record` line by line, as a host does; the last answer.
fn send(receiver: &mut Receiver, flash: &mut dyn Flash, record: &[u8]) -> Reply {
    let mut say = |line: Line<'_>| receiver.line(flash, format!("{line}\r").as_bytes()).unwrap();
    let mut last = say(Line::Begin(record.len()));
    for (n, chunk) in record.chunks(DATA_LEN_MAX).enumerate() {
        last = say(Line::Data(n * DATA_LEN_MAX, chunk));
    }
    if matches!(last, Reply::Refused(_)) { last } else { say(Line::End) }
}

#[test]
fn there_and_back() {
    let bytes = record(&[1, 2, 3]);
    let Ok(read) = Given::parse(&bytes) else { panic!() };
    let made = given(&[1, 2, 3]);
    assert_eq!(read.id, made.id);
    assert_eq!(read.key.unwrap().expose_secret(), &[7; 32]);
    assert_eq!((read.ssid, read.password), (made.ssid, made.password));
    assert_eq!((read.server, read.sensor, read.model), (made.server, made.sensor, made.model));
    assert_eq!((read.update_key, read.sleeps, read.pin), (made.update_key, made.sleeps, made.pin));
    let mut few = [0; 8];
    assert_eq!(Given::default().emit(&mut few), Ok(8));
    assert!(Given::parse(&few).is_ok_and(|given| given.id.is_none() && given.model.is_empty()));
}

#[test]
fn a_damaged_record_is_none() {
    let whole = record(b"model");
    for len in 0..whole.len() {
        assert!(Given::parse(&whole[..len]).is_err(), "cut to {len}");
    }
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Given::parse(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let sealed = |fields: &[u8]| {
        let mut bytes = [&MAGIC[..], fields].concat();
        bytes.extend(CRC.checksum(&bytes).to_le_bytes());
        bytes
    };
    let check = |fields: &[u8], want| {
        assert_eq!(Given::parse(&sealed(fields)).err(), Some(want), "{fields:?}");
    };
    check(&[11, 0, 0], ProvisionError::Setting(11));
    check(&[10, 1, 0, 7], ProvisionError::Value(10));
    check(&[9, 1, 0, 0], ProvisionError::Value(9));
    check(&[8, 1, 0, 7], ProvisionError::Value(8));
    check(&[0, 0, 0], ProvisionError::Setting(0));
    check(&[3, 1, 0, b'a', 3, 1, 0, b'b'], ProvisionError::Setting(3));
    check(&[3, 1, 0, 0xFF], ProvisionError::Value(3));
    check(&[3, 1, 0, b'\n'], ProvisionError::Value(3));
    check(&[2, 1, 0, 9], ProvisionError::Value(2));
    check(&[7, 9, 0, 1], ProvisionError::Value(7));
    check(&[7, 0], ProvisionError::Value(0));
    let long = Given { ssid: "123456789012345678901234567890123", ..Given::default() };
    assert_eq!(long.emit(&mut [0; 99]), Err(ProvisionError::Value(3)));
}

#[test]
fn the_serial_port_brings_it_whatever_the_unit_of_writing() {
    for write_len in [1, 4, 8, 32] {
        let mut flash = flash(write_len);
        let mut receiver = Receiver::new(Slots::open(&mut flash).unwrap());
        for n in 0..5_u8 {
            let record = record(&vec![n; 300 + usize::from(n)]);
            assert_eq!(send(&mut receiver, &mut flash, &record), Reply::Stored);
            assert_eq!(stored(&mut flash), Some(record));
        }
        // Old keys do not stay behind.
        let halves = flash.bytes_mut().chunks((SECTOR_LEN * N_SECTORS / 2) as usize);
        assert_eq!(halves.filter(|half| half.iter().all(|&b| b == 0xFF)).count(), 1);
    }
}

#[test]
fn a_power_cut_leaves_the_old_record_or_the_new_one() {
    let (old, new) = (record(b"old"), record(&[9; 200]));
    let mut before = flash(4);
    let mut receiver = Receiver::new(Slots::open(&mut before).unwrap());
    assert_eq!(send(&mut receiver, &mut before, &old), Reply::Stored);
    let mut seen = [0, 0];
    for n in 0.. {
        let mut flash = before.clone();
        let mut receiver = Receiver::new(Slots::open(&mut flash).unwrap());
        flash.cut_after(n, n.wrapping_mul(2_654_435_761));
        let said = send(&mut receiver, &mut flash, &new);
        let cut = flash.is_dead();
        flash.power_on();
        let after = stored(&mut flash);
        assert!(after.as_ref() == Some(&old) || after.as_ref() == Some(&new), "cut after {n}");
        assert!(said != Reply::Stored || after.as_ref() == Some(&new), "cut after {n}");
        seen[usize::from(after.as_ref() == Some(&new))] += 1;
        // And the board can be told again.
        let mut receiver = Receiver::new(Slots::open(&mut flash).unwrap());
        assert_eq!(send(&mut receiver, &mut flash, &new), Reply::Stored, "cut after {n}");
        if !cut {
            break;
        }
    }
    assert!(seen[0] > 50 && seen[1] > 1, "{seen:?}");
}

#[test]
fn lines_that_are_lost_repeated_or_damaged_do_no_harm() {
    let record = record(b"m");
    let mut flash = flash(4);
    let mut receiver = Receiver::new(Slots::open(&mut flash).unwrap());
    let mut say = |line: &str| receiver.line(&mut flash, line.as_bytes());
    let refused = |why| Some(Reply::Refused(why));
    assert_eq!(say("I (312) boot: hello"), None);
    assert_eq!(say(&Line::Data(0, &record[..4]).to_string()), refused(Refusal::NotBegun));
    assert_eq!(say("kinglet end"), refused(Refusal::NotBegun));
    assert_eq!(say("kinglet begin 999999"), refused(Refusal::TooLong));
    assert_eq!(say("kinglet begin 18446744073709551616"), refused(Refusal::Line));
    assert_eq!(say(&Line::Begin(record.len()).to_string()), Some(Reply::Have(0)));
    for line in [
        "kinglet data 0 0g",
        "kinglet data 0 123",
        "kinglet data x 00",
        "kinglet datum 0 00",
        "kinglet end now",
    ] {
        assert_eq!(say(line), refused(Refusal::Line), "{line}");
    }
    assert_eq!(say(&Line::Data(8, &record[8..20]).to_string()), refused(Refusal::Gap(0)));
    assert_eq!(say(&Line::Data(0, &record[..50]).to_string()), Some(Reply::Have(50)));
    assert_eq!(say(&Line::Data(0, &record[..50]).to_string()), Some(Reply::Have(50)));
    assert_eq!(say("kinglet end"), refused(Refusal::Gap(50)));
    assert_eq!(say(&Line::Data(usize::MAX, &[1]).to_string()), refused(Refusal::TooLong));
    let mut rest = record[50..].to_vec();
    assert!(rest.len() > DATA_LEN_MAX);
    *rest.last_mut().unwrap() ^= 1;
    for (n, chunk) in rest.chunks(DATA_LEN_MAX).enumerate() {
        say(&Line::Data(50 + n * DATA_LEN_MAX, chunk).to_string());
    }
    assert_eq!(say("kinglet end"), refused(Refusal::Checksum));
    assert_eq!(stored(&mut flash), None);
}

#[test]
fn answers_are_read_as_they_are_written() {
    let all = [
        Refusal::Line,
        Refusal::NotBegun,
        Refusal::Gap(7),
        Refusal::TooLong,
        Refusal::Checksum,
        Refusal::Flash,
    ];
    let refused = all.map(Reply::Refused);
    for reply in [Reply::Have(0), Reply::Have(4711), Reply::Stored].into_iter().chain(refused) {
        assert_eq!(Reply::parse(&format!("{reply}\r\n")), Some(reply));
    }
    assert_eq!(Reply::parse("kinglet: porch is up"), None);
    assert_eq!(Reply::parse("boot: ok"), None);
    let longest = Line::Data(RECORD_LEN_MAX, &[0xA5; DATA_LEN_MAX]).to_string();
    assert!(longest.len() <= LINE_LEN_MAX);
}
