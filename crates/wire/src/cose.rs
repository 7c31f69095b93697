//! A frame as the COSE_Encrypt0 it stands for (RFC 9052), for people who want to check it with a COSE library.
//!
//! Nothing is lost: [`compress`] gives the frame back. A COSE library opens the result with the link key, the iv
//! as Context IV, and [`external_aad`].

use crate::counter::Counter;
use crate::cursor::{Reader, Writer};
use crate::frame::{Frame, Suite};
use crate::keys::{DeviceId, Direction};
use crate::seal::{Binding, PROTECTED_LEN_MAX, Protected, bstr_head};
use crate::{BufferTooSmall, CONTENT_LEN_MAX, Field, ParseError, TAG_LEN};

/// Most bytes [`expand`] writes.
pub const COSE_LEN_MAX: usize = 2 + 2 + PROTECTED_LEN_MAX + 1 + 3 + CONTENT_LEN_MAX + TAG_LEN;

const TEMPLATE: ParseError = ParseError::Malformed(Field::Template);

/// Writes the tagged COSE_Encrypt0 of a sealed frame; gives its length.
pub fn expand<T: AsRef<[u8]>>(
    frame: &Frame<T>,
    bound: &Binding<'_>,
    out: &mut [u8],
) -> Result<usize, BufferTooSmall> {
    let protected = Protected::new(frame.header(), frame.kind().direction(), frame.suite(), bound);
    let protected = protected.as_bytes();
    let sealed_len = frame.sealed().len() + frame.tag().len();
    let (protected_head, protected_head_len) = bstr_head(protected.len());
    let (sealed_head, sealed_head_len) = bstr_head(sealed_len);
    let need = 2 + protected_head_len + protected.len() + 1 + sealed_head_len + sealed_len;
    let mut w = Writer::new(out, need)?;
    // Tag 16, an array of three: protected headers, no unprotected ones, the ciphertext with its tag.
    w.put(&[0xd0, 0x83]);
    w.put(&protected_head[..protected_head_len]);
    w.put(protected);
    w.u8(0xa0);
    w.put(&sealed_head[..sealed_head_len]);
    w.put(frame.sealed());
    w.put(frame.tag());
    Ok(w.end())
}

/// Writes the frame that [`expand`] was given; gives its length. Only the fixed template is understood.
pub fn compress(cose: &[u8], out: &mut [u8]) -> Result<usize, ParseError> {
    let mut r = Reader::new(cose);
    expect(&mut r, &[0xd0, 0x83])?;
    let protected = take_bstr(&mut r)?;
    expect(&mut r, &[0xa0])?;
    let sealed = take_bstr(&mut r)?;
    r.end()?;

    let mut p = Reader::new(protected);
    expect(&mut p, &[0xa4, 0x01])?;
    let suite = match p.u8()? {
        0x18 => expect(&mut p, &[30]).map(|()| Suite::AesCcm16)?,
        10 => Suite::AesCcm8,
        _ => return Err(TEMPLATE),
    };
    expect(&mut p, &[0x04])?;
    let id = DeviceId::parse(take_bstr(&mut p)?)?;
    expect(&mut p, &[0x06, 0x47])?;
    let direction = match p.u8()? {
        0 => Direction::Up,
        1 => Direction::Down,
        _ => return Err(TEMPLATE),
    };
    let counter = Counter::from_bits(p.u48()?);
    expect(&mut p, &[0x3a, 0x00, 0x01, 0x00, 0x00])?;
    let header = take_bstr(&mut p)?;
    p.end()?;

    let need = header.len() + sealed.len();
    let out = out.get_mut(..need).ok_or(ParseError::TooLong)?;
    out[..header.len()].copy_from_slice(header);
    out[header.len()..].copy_from_slice(sealed);
    let frame = Frame::checked_on(&*out, suite)?;
    let bound = Binding { id: &id, counter, bundle: None };
    let same = frame.header() == header
        && frame.counter().fits(counter)
        && frame.kind().direction() == direction
        && Protected::new(header, direction, suite, &bound).as_bytes() == protected;
    if same { Ok(need) } else { Err(TEMPLATE) }
}

/// The external AAD of the frame: the bundle's fingerprint for data frames, else nothing.
pub fn external_aad<'a>(bound: &Binding<'a>) -> &'a [u8] {
    bound.bundle.map_or(&[], |f| &f[..])
}

fn expect(r: &mut Reader<'_>, bytes: &[u8]) -> Result<(), ParseError> {
    if r.take(bytes.len())? == bytes { Ok(()) } else { Err(TEMPLATE) }
}

/// A byte string with the shortest head its length has: there is one way to write a frame.
fn take_bstr<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], ParseError> {
    let len = match r.u8()? {
        head @ 0x40..=0x57 => usize::from(head & 0x1f),
        0x58 => at_least(24, r.u8()?.into())?,
        0x59 => at_least(256, r.u16()?.into())?,
        _ => return Err(TEMPLATE),
    };
    r.take(len)
}

fn at_least(least: usize, len: usize) -> Result<usize, ParseError> {
    if len >= least { Ok(len) } else { Err(TEMPLATE) }
}
