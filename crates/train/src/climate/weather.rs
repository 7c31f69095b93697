//! The air outside: season, day, fronts.

use super::chance::{Chance, Wander, approach};
use super::{Clock, vapour_full_hpa};

const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 24.0 * HOUR_S;

/// The air outside, at one time. A temperate climate, some 200 m above the sea.
pub(super) struct Weather {
    pub celsius: f64,
    /// Partial pressure of water vapour, hPa.
    pub vapour_hpa: f64,
    pub pressure_hpa: f64,
    /// Sun on a window, 0..=1.
    pub sun: f64,
    /// Wind as a factor on draughts, around 1.
    pub wind: f64,
    front: Wander,
    hourly: Wander,
    gust: Wander,
    dryness: Wander,
    cloud: Wander,
    front_hpa: Wander,
    smooth_hpa: f64,
}

impl Weather {
    pub(super) fn new(chance: &mut Chance) -> Self {
        Self {
            celsius: 8.0,
            vapour_hpa: 8.0,
            pressure_hpa: 990.0,
            sun: 0.0,
            wind: 1.0,
            front: Wander::new(3.2, 2.5 * DAY_S, chance),
            hourly: Wander::new(0.35, 0.7 * HOUR_S, chance),
            gust: Wander::new(0.45, 0.3 * HOUR_S, chance),
            dryness: Wander::new(1.8, 0.8 * DAY_S, chance),
            cloud: Wander::new(1.3, 9.0 * HOUR_S, chance),
            front_hpa: Wander::new(9.0, 1.6 * DAY_S, chance),
            smooth_hpa: 0.0,
        }
    }

    pub(super) fn run(&mut self, dt_s: f64, clock: Clock, chance: &mut Chance) {
        let season = -libm::cos((clock.year_share - 0.055) * std::f64::consts::TAU);
        let clear = 1.0 / (1.0 + libm::exp(self.cloud.run(dt_s, chance)));
        let elevation = sun_elevation(clock);
        self.sun = elevation.max(0.0) * (0.15 + 0.85 * clear);
        let front = self.front.run(dt_s, chance);
        let daily = (1.2 + 3.8 * clear) * (1.0 + 0.35 * season) * clock.daily(15.0);
        self.celsius = 9.5 + 9.0 * season + front + daily + self.hourly.run(dt_s, chance);
        // The dew point follows the front and not the day: afternoons are dry, nights damp.
        let dew = 5.6 + 7.5 * season + 0.8 * front + self.dryness.run(dt_s, chance);
        self.vapour_hpa = vapour_full_hpa(dew.min(self.celsius - 0.2));
        self.wind = libm::exp(self.gust.run(dt_s, chance));
        // A front passes smoothly: the wander is filtered once more.
        let front_hpa = self.front_hpa.run(dt_s, chance);
        self.smooth_hpa = approach(self.smooth_hpa, front_hpa, dt_s, 5.0 * HOUR_S);
        let tide = 0.6 * libm::cos((clock.hour - 10.0) * std::f64::consts::TAU / 12.0);
        self.pressure_hpa = 990.0 + self.smooth_hpa + tide - 0.012 * self.gust.now;
    }
}

/// Sine of the sun's height at 50° north.
fn sun_elevation(clock: Clock) -> f64 {
    let tilt = 23.45f64.to_radians() * libm::sin((clock.year_share + 284.0 / 365.0) * std::f64::consts::TAU);
    let (north, noon) = (50f64.to_radians(), clock.daily(12.0));
    libm::sin(north) * libm::sin(tilt) + libm::cos(north) * libm::cos(tilt) * noon
}
