//! The latent rung: an autoencoder's integer latents, and a residual where the bound asks for one.
//!
//! The decoder runs on the device too: that is how the residual is known and the bound kept
//! (autoencoder + bounded residual, as in Alsheikh et al. 2016, arXiv 1604.00736).

use crate::alphabet::{self, CLASSES_MAX};
use crate::freq::Table;
use crate::grid::is_step;
use crate::model::{Model, Reader};
use crate::net::Net;
use crate::parts;
use crate::range::{Coder, Site, Stop};

/// Contexts of a residual: size of the channel's last one (0, 1, more) × whether the value before it had one.
pub const RESIDUAL_CONTEXTS: usize = 6;

/// The trained part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latent<'a> {
    pub(crate) net: Net<'a>,
    latents: &'a [u8],
    n_latent_symbols: usize,
    flag: Table<'a>,
    residuals: &'a [u8],
    n_residual_symbols: usize,
    _part: parts::Latent,
}

/// Words of scratch the rung needs in this model.
pub(crate) fn scratch_len(model: &Model<'_>) -> usize {
    model.latent.map_or(0, |latent| latent.net.scratch_len())
}

fn parse_tables<'a>(reader: &mut Reader<'a>, n_tables: usize) -> Option<(&'a [u8], usize)> {
    let n_classes = usize::from(reader.u8()?);
    let n_symbols = 2 * n_classes + 1;
    if !(1..=CLASSES_MAX).contains(&n_classes) {
        return None;
    }
    let mut check = *reader;
    for _ in 0..n_tables {
        Table::parse(&mut check, n_symbols)?;
    }
    Some((reader.bytes(n_tables * (2 + n_symbols))?, n_symbols))
}

fn table(tables: &[u8], n_symbols: usize, idx: usize) -> Table<'_> {
    Table::checked(&tables[idx * (2 + n_symbols)..][..2 + n_symbols])
}

impl<'a> Latent<'a> {
    pub(crate) fn parse(section: &'a [u8], model: &Model<'_>) -> Option<Self> {
        let part = parts::latent()?;
        let mut reader = Reader(section);
        let net = Net::parse(&mut reader, model)?;
        let (latents, n_latent_symbols) = parse_tables(&mut reader, net.n_latents)?;
        let flag = Table::parse(&mut reader, 2)?;
        let (residuals, n_residual_symbols) = parse_tables(&mut reader, RESIDUAL_CONTEXTS)?;
        let this = Self { net, latents, n_latent_symbols, flag, residuals, n_residual_symbols, _part: part };
        reader.0.is_empty().then_some(this)
    }

    /// Codes a full window. An encoder gives `values` (sample-major grid steps) and the latents at the front of
    /// `scratch`; either way `values` ends as what a decoder reads. `guess`: a word per value.
    pub(crate) fn code(
        &self,
        model: &Model<'_>,
        coder: &mut dyn Coder,
        values: &mut [i32],
        guess: &mut [i32],
        scratch: &mut [i32],
    ) -> Result<(), Stop> {
        let n_channels = model.channels();
        for (idx, latent) in scratch[..self.net.n_latents].iter_mut().enumerate() {
            let tables = table(self.latents, self.n_latent_symbols, idx);
            *latent = alphabet::code(coder, Site::Latent(idx), tables, *latent)?;
            if latent.abs() > crate::net::LATENT_MAX {
                return Err(Stop);
            }
        }
        self.net.decode(n_channels, scratch, guess);
        let spacing_of = |at: usize| 2 * model.bound_steps(at % n_channels) + 1;
        let mut any = false;
        for (at, (&x, &guess)) in values.iter().zip(guess.iter()).enumerate() {
            any = any || is_step(x) && residual_of(x, guess, spacing_of(at)) != 0;
        }
        let any = coder.symbol(Site::ResidualFlag, self.flag, usize::from(any))? == 1;
        let mut last = [0i32; crate::CHANNELS_MAX];
        let mut before = 0;
        for (at, (x, &guess)) in values.iter_mut().zip(guess.iter()).enumerate() {
            if !is_step(*x) {
                continue;
            }
            let (idx, spacing) = (at % n_channels, spacing_of(at));
            let mut residual = 0;
            if any {
                let context = last[idx].unsigned_abs().min(2) as usize * 2 + usize::from(before != 0);
                let tables = table(self.residuals, self.n_residual_symbols, context);
                let wanted = residual_of(*x, guess, spacing);
                residual = alphabet::code(coder, Site::Residual(context), tables, wanted)?;
                last[idx] = residual;
                before = residual;
            }
            let value = i64::from(guess) + i64::from(residual) * i64::from(spacing);
            *x = i32::try_from(value).ok().filter(|&v| is_step(v)).ok_or(Stop)?;
        }
        Ok(())
    }
}

/// How many spacings a value lies from its guess.
fn residual_of(x: i32, guess: i32, spacing: i32) -> i32 {
    x.wrapping_sub(guess).wrapping_add(spacing / 2).div_euclid(spacing)
}
