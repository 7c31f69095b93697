//! A build that leaves parts out writes and reads the same bytes with every model that has none of them, and refuses the
//! others. With every part there is nothing to refuse; the `features` stage runs this with few and with none.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::path::Path;

use kinglet_codec::{Model, Window, decode, encode};

/// Bytes of a model before its sections.
const HEADER_LEN: usize = 20;

fn is_read(section: u8) -> bool {
    match section {
        5 => cfg!(feature = "latent"),
        6 | 8 | 12 => cfg!(feature = "predict"),
        7 => cfg!(feature = "fixed"),
        9 => cfg!(feature = "counts"),
        10 => cfg!(feature = "expected"),
        11 => cfg!(feature = "references"),
        _ => true,
    }
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(n);
    *bytes = tail;
    head
}

fn take_len(bytes: &mut &[u8]) -> usize {
    usize::from(u16::from_le_bytes(take(bytes, 2).try_into().unwrap()))
}

fn sections(model: &[u8]) -> Vec<u8> {
    let (mut rest, mut found) = (&model[HEADER_LEN..], Vec::new());
    while !rest.is_empty() {
        found.push(take(&mut rest, 1)[0]);
        let len = u32::from_le_bytes(take(&mut rest, 4).try_into().unwrap());
        take(&mut rest, len as usize);
    }
    found
}

fn check_cases(model: &Model<'_>, mut cases: &[u8]) {
    let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
    let mut read = vec![0; model.samples() * model.channels()];
    while !cases.is_empty() {
        let (off_grid, n) = (take(&mut cases, 1)[0] == 1, take_len(&mut cases));
        let mut steps = || -> Vec<i32> {
            take(&mut cases, 4 * n).chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let (given, meant) = (steps(), steps());
        let code_len = take_len(&mut cases);
        let code = take(&mut cases, code_len);
        let window = Window { steps: &given, off_grid };
        let made = encode(model, window, &mut workspace, &mut out).unwrap().code_len;
        assert_eq!(&out[..made], code);
        decode(model, code, &mut workspace, &mut read).unwrap();
        assert_eq!(read[..n], meant);
    }
}

#[test]
fn what_is_left_out_is_refused_and_what_is_not_is_the_same() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/codec");
    let (mut n_read, mut n_models) = (0, 0);
    for folder in fs::read_dir(vectors).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(bytes) = fs::read(folder.join("model.bin")) else { continue };
        let model = Model::parse(&bytes);
        assert_eq!(model.is_ok(), sections(&bytes).into_iter().all(is_read), "{}", folder.display());
        if let Ok(model) = model {
            check_cases(&model, &fs::read(folder.join("cases.bin")).unwrap());
            n_read += 1;
        }
        n_models += 1;
    }
    assert!(n_models >= 12 && n_read >= 1, "{n_read} of {n_models} models");
}
