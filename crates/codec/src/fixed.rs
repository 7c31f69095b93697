//! The autoencoder alone: a full window in exactly `K` bytes, its error measured and known to the device.

use crate::model::{Model, Reader};
use crate::net::{LATENTS_MAX, Net};
use crate::parts;

/// Most bits of a latent.
const BITS_MAX: u8 = 12;

/// The trained part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed<'a> {
    net: Net<'a>,
    /// Bits of each latent, `1..=12`; their sum is a whole number of bytes.
    n_bits: &'a [u8],
    _part: parts::Fixed,
}

/// Words of scratch it needs in this model.
pub(crate) fn scratch_len(model: &Model<'_>) -> usize {
    model.fixed.map_or(0, |fixed| fixed.net.scratch_len())
}

impl<'a> Fixed<'a> {
    pub(crate) fn parse(section: &'a [u8], model: &Model<'_>) -> Option<Self> {
        let part = parts::fixed()?;
        let mut reader = Reader(section);
        let net = Net::parse(&mut reader, model)?;
        let n_bits = reader.bytes(net.n_latents)?;
        let sum: usize = n_bits.iter().map(|&n| usize::from(n)).sum();
        let ok =
            n_bits.iter().all(|n| (1..=BITS_MAX).contains(n)) && sum.is_multiple_of(8) && reader.0.is_empty();
        ok.then_some(Self { net, n_bits, _part: part })
    }

    /// `K`.
    pub(crate) fn code_len(&self) -> usize {
        self.n_bits.iter().map(|&n| usize::from(n)).sum::<usize>() / 8
    }

    /// Writes `K` bytes, most significant bits first; `values` becomes what a decoder reads.
    pub(crate) fn encode(
        &self,
        model: &Model<'_>,
        steps: &[i32],
        values: &mut [i32],
        scratch: &mut [i32],
        out: &mut [u8],
    ) -> usize {
        self.net.encode(model.channels(), steps, values, scratch);
        let code_len = self.code_len();
        let (mut held, mut n_held, mut at) = (0u32, 0, 0);
        for (latent, &n_bits) in scratch.iter_mut().zip(self.n_bits) {
            let half = 1 << (n_bits - 1);
            *latent = (*latent).clamp(-half, half - 1);
            held = held << n_bits | (*latent + half) as u32;
            n_held += u32::from(n_bits);
            while n_held >= 8 {
                n_held -= 8;
                out[at] = (held >> n_held) as u8;
                at += 1;
            }
        }
        self.net.decode(model.channels(), scratch, values);
        code_len
    }

    /// Reads `K` bytes.
    pub(crate) fn decode(&self, model: &Model<'_>, code: &[u8], values: &mut [i32], scratch: &mut [i32]) {
        let mut bits = code.iter().flat_map(|&byte| (0..8).rev().map(move |n| i32::from(byte >> n & 1)));
        for (latent, &n_bits) in scratch[..LATENTS_MAX.min(self.net.n_latents)].iter_mut().zip(self.n_bits) {
            let index = (0..n_bits).fold(0, |index, _| index << 1 | bits.next().unwrap_or(0));
            *latent = index - (1 << (n_bits - 1));
        }
        self.net.decode(model.channels(), scratch, values);
    }
}
