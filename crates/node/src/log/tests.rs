//! Recovery: what was appended before a power cut is there after it, whatever the cut left behind.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::flash::MemFlash;

const SECTOR_LEN: u32 = 512;
const N_SECTORS: u32 = 4;

fn flash(write_len: u32) -> MemFlash<Vec<u8>> {
    // Old rubbish in the region must not matter.
    MemFlash::new(vec![0x77; (SECTOR_LEN * N_SECTORS) as usize], SECTOR_LEN, write_len)
}

fn append(log: &mut Log, flash: &mut MemFlash<Vec<u8>>, n: u32, len: usize) -> Result<Place, FlashError> {
    let mut buf = vec![0u8; len + RECORD_OVERHEAD];
    buf[RECORD_HEADER_LEN..RECORD_HEADER_LEN + len].copy_from_slice(&payload(n, len));
    if !log.fits(len) {
        log.open_sector(flash, &n.to_le_bytes())?;
    }
    log.append(flash, 2 + (n % 5) as u8, &mut buf, len)
}

/// `len` bytes that name `n` and often end in erased-looking ones.
fn payload(n: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![if n.is_multiple_of(3) { 0xFF } else { n as u8 }; len];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    bytes
}

fn contents(log: &Log, flash: &mut MemFlash<Vec<u8>>) -> Vec<(u32, usize)> {
    let mut found = Vec::new();
    let mut at = Place { seq: 0, offset: 0 };
    while let Some(record) = log.next(flash, at).unwrap() {
        let mut bytes = vec![0; record.len];
        assert_eq!(log.read(flash, &record, 0, &mut bytes).unwrap(), record.len);
        let n = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        assert_eq!((record.kind, &bytes), (2 + (n % 5) as u8, &payload(n, record.len)));
        assert_eq!(log.at(flash, record.place).unwrap().map(|r| r.len), Some(record.len));
        found.push((n, record.len));
        at = log.after(&record);
    }
    found
}

#[test]
fn an_empty_region_has_no_ring_and_a_formatted_one_has() {
    let mut flash = flash(4);
    assert!(Log::recover(&mut flash).unwrap().is_none());
    Log::format(&mut flash, b"first").unwrap();
    let log = Log::recover(&mut flash).unwrap().unwrap();
    let mut snapshot = [0; SNAPSHOT_LEN_MAX];
    assert_eq!(log.snapshot(&mut flash, log.tail_seq(), &mut snapshot), Ok(5));
    assert_eq!(&snapshot[..5], b"first");
    assert_eq!(contents(&log, &mut flash), []);
}

#[test]
fn refuses_regions_it_cannot_use() {
    for (len, sector_len, write_len) in
        [(1024, 512, 4), (2048, 512, 64), (2048, 512, 3), (1024, 128, 4), (0, 512, 4)]
    {
        let mut flash = MemFlash::new(vec![0xFFu8; len], sector_len, write_len);
        assert_eq!(
            Log::recover(&mut flash).err(),
            Some(FlashError::OutOfRange),
            "{len} {sector_len} {write_len}"
        );
    }
}

#[test]
fn the_oldest_sector_falls_out_when_the_ring_is_full() {
    let mut flash = flash(4);
    let mut log = Log::format(&mut flash, b"").unwrap();
    let mut n = 0;
    while log.falls_next() != Some(1) || log.fits(60) {
        append(&mut log, &mut flash, n, 60).unwrap();
        n += 1;
    }
    assert_eq!(contents(&log, &mut flash)[0].0, 0);
    append(&mut log, &mut flash, n, 60).unwrap();
    assert_eq!(log.tail_seq(), 2);
    let left = contents(&log, &mut flash);
    assert!(left[0].0 > 0 && left.last().unwrap().0 == n);
    assert_eq!(left.len() as u32, n - left[0].0 + 1, "no hole between");
}

#[test]
fn a_cut_at_every_write_loses_at_most_the_record_being_written() {
    for write_len in [1, 4, 8, 32] {
        for cut in 0..60 {
            for tear in [0, 1, 3, 0x8107, 0xFF0C, 0x5555_5519, 0xFFFF_FFFF] {
                let mut flash = flash(write_len);
                let mut log = Log::format(&mut flash, b"").unwrap();
                flash.cut_after(cut, tear);
                let mut written = Vec::new();
                let doubt = loop {
                    let n = written.len() as u32;
                    let len = 4 + (n as usize * 37) % 90;
                    match append(&mut log, &mut flash, n, len) {
                        Ok(_) => written.push((n, len)),
                        Err(_) => break (n, len),
                    }
                };
                flash.power_on();
                let mut log = Log::recover(&mut flash).unwrap().unwrap();
                let mut expected = written.clone();
                let found = contents(&log, &mut flash);
                if found.last() == Some(&doubt) {
                    expected.push(doubt);
                }
                let first = expected.len() - found.len();
                assert_eq!(found, expected[first..], "write {write_len} cut {cut} tear {tear:#x}");
                assert!(first == 0 || log.tail_seq() > 1, "nothing falls out before the ring is full");
                // And writing goes on.
                append(&mut log, &mut flash, 1000, 40).unwrap();
                let again = Log::recover(&mut flash).unwrap().unwrap();
                assert_eq!(contents(&again, &mut flash).last(), Some(&(1000, 40)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any mix of appends and cuts: the ring holds an unbroken run of what was appended, up to the last.
    #[test]
    fn any_story_keeps_an_unbroken_run(
        write_len in prop::sample::select(vec![1u32, 4, 16, 32]),
        story in prop::collection::vec((4usize..120, prop::option::weighted(0.2, (0u32..3, any::<u32>()))), 1..80),
    ) {
        let mut flash = flash(write_len);
        let mut log = Log::format(&mut flash, b"").unwrap();
        let mut written: Vec<(u32, usize)> = Vec::new();
        let mut n = 0;
        for (len, cut) in story {
            if let Some((after, tear)) = cut {
                flash.cut_after(after, tear);
            }
            n += 1;
            let result = append(&mut log, &mut flash, n, len);
            if result.is_ok() {
                written.push((n, len));
            }
            if flash.is_dead() {
                flash.power_on();
                log = Log::recover(&mut flash).unwrap().unwrap();
                if contents(&log, &mut flash).last() == Some(&(n, len)) && result.is_err() {
                    written.push((n, len));
                }
            }
            let found = contents(&log, &mut flash);
            prop_assert!(found.len() <= written.len());
            prop_assert_eq!(&found[..], &written[written.len() - found.len()..]);
            let recovered = Log::recover(&mut flash).unwrap().unwrap();
            prop_assert_eq!(recovered.end(), log.end());
            prop_assert_eq!(recovered.tail_seq(), log.tail_seq());
        }
    }

    /// Whatever stands in flash, recovery and a walk end without a panic.
    #[test]
    fn any_image_is_survived(bytes in prop::collection::vec(any::<u8>(), 2048), seed in any::<u32>()) {
        let mut image = flash(4);
        let mut log = Log::format(&mut image, b"snap").unwrap();
        for n in 0..seed % 40 {
            append(&mut log, &mut image, n, 4 + (n as usize * 13) % 70).unwrap();
        }
        // Damage a good image in places, so that more than the first check is reached.
        for (i, byte) in bytes.iter().enumerate().filter(|(_, b)| **b < 4) {
            image.bytes_mut()[i] ^= byte.wrapping_add(seed as u8);
        }
        for mut flash in [image, MemFlash::new(bytes, SECTOR_LEN, 4)] {
            if let Some(mut log) = Log::recover(&mut flash).unwrap() {
                let mut at = Place { seq: 0, offset: 0 };
                while let Some(record) = log.next(&mut flash, at).unwrap() {
                    at = log.after(&record);
                }
                let _ = log.open_sector(&mut flash, b"next");
            }
        }
    }
}
