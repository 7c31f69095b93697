//! The seed's own mode: a latent comes in as JSON, a reading goes out, is kept and shown.
//!
//! This is obfuscation for a trusted network. Nothing here is authenticated, encrypted or fresh: whoever reaches the
//! port can ask what a latent means and can add readings. What can be told is whether a latent comes from the encoder
//! that belongs to the decoder (`curve`), so an old encoder on a board is refused instead of read wrongly.
//!
//! The way of a request: `http::decode` takes the body, `body` reads it, `SeedMode::take` decodes and checks it,
//! `queue` keeps it until the next flush into the store.

pub(crate) mod body;
mod config;
mod curve;
mod queue;
mod refused;
mod reply;

use std::path::Path;
use std::sync::Arc;

use kinglet_codec::seed::{FILE_LEN_MAX, SeedModel};

pub use config::{SeedConfig, SeedOverrides};
pub(crate) use queue::number;
pub(crate) use refused::Refused;

use crate::RunError;
use crate::core::Core;
use crate::seed::curve::Curve;
use crate::seed::queue::Queue;
use crate::store::StoreError;

/// What every place that shows such readings says about them.
pub(crate) const WHAT_IT_IS: &str = "Obfuscation, not protection: these readings come without a key. Whoever listens can learn to read them, \
     and whoever reaches the port can add some. For a trusted network only.";

/// A decoder that answers, and what it has answered since the last flush.
pub(crate) struct SeedMode {
    pub(crate) core: Arc<Core>,
    model: SeedModel,
    curve: Option<Curve>,
    queue: Queue,
}

impl SeedMode {
    /// Measures the model and reads which names there are.
    pub(crate) async fn open(core: Arc<Core>, model: SeedModel) -> Result<Self, StoreError> {
        let known = core.store.seed_series().await?.into_iter().map(|series| series.device);
        // Whoever invents names shall not take the place of the boards that name none.
        let names = known.chain([core.config.seed.device.clone()]);
        let curve = Curve::measure(&model);
        Ok(Self { curve, queue: Queue::new(names), model, core })
    }

    /// Decodes one latent, queues its readings for the store and gives the answer's body, JSON.
    ///
    /// `device`: a name to keep them under, if the request has one.
    pub(crate) fn take(&self, bytes: &[u8], device: Option<&str>) -> Result<String, Refused> {
        let given = body::parse(bytes, self.model.latent_len())?;
        let latent = given.latent_f32();
        let values = self.model.decode(&latent).map_err(|_| Refused::Foreign)?;
        self.check(&latent, &values)?;
        let config = &self.core.config.seed;
        let t_last = self.core.clock.now_ms().saturating_sub(given.age_ms);
        let period_ms = i64::try_from(config.period_ms).unwrap_or(i64::MAX);
        let back = |i: usize| i64::try_from(self.model.n_samples() - 1 - i).unwrap_or(0);
        let times = (0..self.model.n_samples()).map(|i| t_last.saturating_sub(back(i) * period_ms));
        self.queue.push(device.unwrap_or(&config.device), times, &values)?;
        Ok(reply::body(&self.model, config.plaintext_reply, &values, &given.latent))
    }

    /// Refuses what the encoder of this bundle cannot have made.
    fn check(&self, latent: &[f32], values: &[f32]) -> Result<(), Refused> {
        let fits = match &self.curve {
            Some(curve) => curve.holds(&self.model, latent, values),
            // Without an encoder, and for windows: at least the sensors could have measured it.
            None => values.iter().zip(self.model.channels().iter().cycle()).all(|(value, channel)| {
                let (lo, hi) = channel.range;
                let room = 0.02 * (hi - lo);
                (lo - room..=hi + room).contains(value)
            }),
        };
        if fits { Ok(()) } else { Err(Refused::Foreign) }
    }

    /// Counts a refusal; the log hears of them once a minute at most.
    pub(crate) fn count(&self, refused: &Refused) {
        self.queue.count(refused.word());
    }

    /// Longest body that is read: the latent's numbers and room for spaces and fields that others add.
    pub(crate) fn body_len_max(&self) -> usize {
        4096 + 64 * self.model.latent_len()
    }

    /// Says in the log what is served here.
    pub(crate) fn announce(&self, addr: std::net::SocketAddr) {
        let fingerprint: String = self.model.fingerprint().iter().map(|b| format!("{b:02x}")).collect();
        tracing::warn!(%addr, bundle = fingerprint, "POST /decode is served. {WHAT_IT_IS}");
        if self.curve.is_none() {
            tracing::warn!(
                "the bundle has no encoder, or codes windows: latents of another training cannot be told from its own"
            );
        }
    }
}

/// Reads a seed-mode bundle.
pub(crate) fn load(path: &Path) -> Result<SeedModel, RunError> {
    let failed = |why: String| RunError::SeedBundle { path: path.display().to_string(), why };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    let mut limited = std::io::Read::take(file, FILE_LEN_MAX as u64 + 1);
    std::io::Read::read_to_end(&mut limited, &mut bytes).map_err(|e| failed(e.to_string()))?;
    SeedModel::parse(&bytes).map_err(|e| failed(e.to_string()))
}
