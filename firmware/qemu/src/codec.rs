//! Encode and decode on the cases of `vectors/codec`: the same codes and the same values as on the host.

use kinglet_codec::{Model, VALUES_MAX, Window, decode, encode};

use crate::chip;
use crate::report::Report;

type Check = Result<(), &'static str>;

/// `(name, model.bin, cases.bin, refusals.bin)` of every folder in `vectors/codec`.
const FOLDERS: &[(&str, &[u8], &[u8], &[u8])] = &include!(concat!(env!("OUT_DIR"), "/codec_vectors.rs"));

/// Words a model may ask for here; the figure below says what it did ask for.
const WORKSPACE_LEN: usize = 32 << 10;
const CODE_LEN: usize = 8 << 10;

/// Every case of every model.
pub fn check(report: &mut Report) {
    if FOLDERS.is_empty() {
        report.check("codec", "vectors", Err("vectors/codec has no models"));
    }
    for (name, model, cases, refusals) in FOLDERS {
        let is = Model::parse(model).map_err(|_| "its model is refused");
        report.check("codec-model", name, is.map(|_| ()));
        if let Ok(model) = is {
            let is = all_cases(&model, cases, name, report);
            report.check("codec-cases", name, is);
            report.check("codec-refusals", name, all_refusals(&model, refusals));
        }
    }
}

fn all_cases(model: &Model<'_>, cases: &[u8], name: &str, report: &Report) -> Check {
    let mut room = Room::new(model)?;
    let mut sum = Sum::default();
    let mut rest = Bytes(cases);
    while !rest.0.is_empty() {
        one_case(model, &mut rest, &mut room, &mut sum)?;
    }
    if sum.windows == 0 {
        return Err("it has no cases");
    }
    report.figure("codec.model", name);
    report.figure("codec.model_bytes", model.bytes().len());
    report.figure("codec.workspace_bytes", 4 * model.workspace_len());
    report.figure("codec.windows", sum.windows);
    report.figure("codec.values", sum.values);
    report.figure("encode.instructions_per_window", sum.encode / sum.windows);
    report.figure("encode.instructions_most", sum.encode_most);
    report.figure("encode.instructions_per_value", sum.encode / sum.values);
    report.figure("encode.instructions_per_value_most", sum.encode_most_of_value);
    report.figure("decode.instructions_per_window", sum.decode / sum.windows);
    report.figure("decode.instructions_most", sum.decode_most);
    report.figure("decode.instructions_per_value", sum.decode / sum.values);
    report.figure("codec.stack_bytes", sum.stack);
    Ok(())
}

fn one_case(model: &Model<'_>, from: &mut Bytes<'_>, room: &mut Room, sum: &mut Sum) -> Check {
    let off_grid = from.u8()? == 1;
    let n_values = usize::from(from.u16()?);
    from.i32s(room.given.get_mut(..n_values).ok_or("a window is too long")?)?;
    from.i32s(room.meant.get_mut(..n_values).ok_or("a window is too long")?)?;
    let code_len = usize::from(from.u16()?);
    let code = from.take(code_len)?;

    let window = Window { steps: &room.given[..n_values], off_grid };
    let stack = chip::watch_stack();
    let start = chip::now();
    let encoded = encode(model, window, &mut room.workspace, &mut room.code).map_err(|_| "not encoded")?;
    let end = chip::now();
    sum.stack = sum.stack.max(stack.used());
    let took = chip::instructions_between(start, end);
    sum.encode += took;
    sum.encode_most = sum.encode_most.max(took);
    if n_values == model.samples() * model.channels() {
        sum.encode_most_of_value = sum.encode_most_of_value.max(took / n_values as u64);
    }
    if room.code[..encoded.code_len] != *code {
        return Err("encoded to other bytes");
    }
    if room.workspace[..n_values] != room.meant[..n_values] {
        return Err("the device believes in other values than a decoder reads");
    }

    let stack = chip::watch_stack();
    let start = chip::now();
    let decoded = decode(model, code, &mut room.workspace, &mut room.read).map_err(|_| "not decoded")?;
    let end = chip::now();
    sum.stack = sum.stack.max(stack.used());
    let took = chip::instructions_between(start, end);
    sum.decode += took;
    sum.decode_most = sum.decode_most.max(took);
    if decoded.n_samples * model.channels() != n_values || room.read[..n_values] != room.meant[..n_values] {
        return Err("decoded to other values");
    }
    sum.windows += 1;
    sum.values += n_values as u64;
    Ok(())
}

fn all_refusals(model: &Model<'_>, refusals: &[u8]) -> Check {
    let mut room = Room::new(model)?;
    let mut rest = Bytes(refusals);
    while !rest.0.is_empty() {
        let len = usize::from(rest.u16()?);
        let code = rest.take(len)?;
        if decode(model, code, &mut room.workspace, &mut room.read).is_ok() {
            return Err("what is no code was decoded");
        }
    }
    Ok(())
}

/// Buffers for one model.
struct Room {
    given: [i32; VALUES_MAX],
    meant: [i32; VALUES_MAX],
    read: [i32; VALUES_MAX],
    workspace: [i32; WORKSPACE_LEN],
    code: [u8; CODE_LEN],
}

impl Room {
    fn new(model: &Model<'_>) -> Result<Self, &'static str> {
        if model.workspace_len() > WORKSPACE_LEN || model.code_len_max() > CODE_LEN {
            return Err("its model wants more room than this program gives");
        }
        let none = [0; VALUES_MAX];
        Ok(Self { given: none, meant: none, read: none, workspace: [0; WORKSPACE_LEN], code: [0; CODE_LEN] })
    }
}

#[derive(Default)]
struct Sum {
    windows: u64,
    values: u64,
    encode: u64,
    encode_most: u64,
    /// Of the dearest full window.
    encode_most_of_value: u64,
    decode: u64,
    decode_most: u64,
    stack: usize,
}

/// Little-endian numbers one after the other.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("its file is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| "its file is cut short")
    }

    fn u8(&mut self) -> Result<u8, &'static str> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn i32s(&mut self, out: &mut [i32]) -> Result<(), &'static str> {
        for value in out {
            *value = i32::from_le_bytes(self.array()?);
        }
        Ok(())
    }
}
