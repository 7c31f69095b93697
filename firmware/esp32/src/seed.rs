//! The seed's own use: one temperature, its latent as JSON, the answer on the console. No key, no bound, no ack.

use embassy_time::{Duration, Instant, Timer, with_timeout};
use kinglet_esp32_parts::exchange::Outgoing;
use kinglet_esp32_parts::seed::{Activation, Encoder, Layer, body};

use crate::Board;
use crate::radio::{ANSWERS, REQUESTS};
use crate::say;

include!(concat!(env!("OUT_DIR"), "/encoder.rs"));

/// As the seed's sketch does.
const PERIOD: Duration = Duration::from_secs(5);

/// Runs as long as the board does.
pub async fn run(board: Board) -> &'static str {
    let Board { given, mut driver, stack, mut watchdog, .. } = board;
    let Some(stack) = stack else { return "the radio was not started" };
    let mut next = Instant::now();
    loop {
        watchdog.feed();
        let sample = driver.measure().await;
        // Tenths of a degree fit a float exactly enough.
        let value = sample.temperature.map(|t| t.at_scale(3) as f32 / 1000.0);
        let latent = value.and_then(|value| ENCODER.encode(value));
        if let (Some(value), Some(latent), true) = (value, latent, stack.is_config_up()) {
            say::info!("{value} °C, latent {latent:?}");
            let base = given.server.trim_end_matches('/');
            let path = if base.ends_with("/decode") { "" } else { "/decode" };
            let text = body(&latent);
            REQUESTS
                .send(Outgoing {
                    path: path.into(),
                    kind: "application/json",
                    body: text.into_bytes(),
                    n_frames: 0,
                })
                .await;
            if let Ok(Some(answer)) = with_timeout(Duration::from_secs(20), ANSWERS.receive()).await {
                say::info!("HTTP {}: {}", answer.status, core::str::from_utf8(&answer.body).unwrap_or("?"));
            }
        }
        next = Instant::now().max(next + PERIOD);
        Timer::at(next).await;
    }
}
