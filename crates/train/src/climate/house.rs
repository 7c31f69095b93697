//! A room: heat, water in the air, and the people in it.

use super::chance::{Chance, Wander, approach};
use super::weather::Weather;
use super::{Clock, vapour_full_hpa};

const HOUR_S: f64 = 3600.0;

/// A room with a radiator, at one time.
pub(super) struct House {
    /// Air.
    pub celsius: f64,
    /// Partial pressure of water vapour in the air, hPa.
    pub vapour_hpa: f64,
    walls_celsius: f64,
    radiator_celsius: f64,
    /// Relative damp of walls and furniture, 0..=1.
    walls_damp: f64,
    is_heating: bool,
    draught: Wander,
    plan: Plan,
    habits: Habits,
    build: Build,
}

/// What differs from house to house and stays.
struct Build {
    /// Time constants, seconds: walls to the air outside, air to walls.
    walls_s: f64,
    air_s: f64,
    /// Changes of air per hour with closed windows.
    leak_per_h: f64,
    /// Kelvin per hour that full sun adds.
    sun_k_per_h: f64,
    day_celsius: f64,
    night_celsius: f64,
    hysteresis_k: f64,
    /// The boiler's answer to cold: water temperature at 20 °C and at -10 °C outside.
    mild_celsius: f64,
    cold_celsius: f64,
}

/// What people here do, in hours of the day.
struct Habits {
    up: f64,
    leave: f64,
    back: f64,
    bed: f64,
    works_at_home: f64,
    airing_per_h: f64,
    showers: f64,
}

/// What happens now.
struct Plan {
    day: i64,
    up: f64,
    leave: f64,
    back: f64,
    bed: f64,
    is_home_all_day: bool,
    /// Seconds left.
    window_s: f64,
    shower_s: f64,
    cooking_s: f64,
}

impl House {
    pub(super) fn new(chance: &mut Chance) -> Self {
        let build = Build {
            walls_s: chance.between(45.0, 110.0) * HOUR_S,
            air_s: chance.between(0.9, 1.8) * HOUR_S,
            leak_per_h: chance.between(0.15, 0.5),
            sun_k_per_h: chance.between(0.3, 1.4),
            day_celsius: chance.between(19.8, 22.3),
            night_celsius: chance.between(16.5, 18.5),
            hysteresis_k: chance.between(0.2, 0.5),
            mild_celsius: chance.between(28.0, 33.0),
            cold_celsius: chance.between(50.0, 62.0),
        };
        let habits = Habits {
            up: chance.between(5.8, 7.5),
            leave: chance.between(7.8, 9.0),
            back: chance.between(15.5, 18.5),
            bed: chance.between(21.8, 23.6),
            works_at_home: chance.even() * 0.6,
            airing_per_h: chance.between(0.06, 0.22),
            showers: chance.between(0.5, 1.0),
        };
        let (draught, celsius) = (Wander::new(0.03, 300.0, chance), build.day_celsius);
        Self {
            celsius,
            vapour_hpa: 0.45 * vapour_full_hpa(celsius),
            walls_celsius: celsius - 1.5,
            radiator_celsius: celsius,
            walls_damp: 0.45,
            is_heating: false,
            draught,
            plan: Plan::of(-1, &habits, chance, false),
            habits,
            build,
        }
    }

    pub(super) fn run(&mut self, dt_s: f64, clock: Clock, weather: &Weather, chance: &mut Chance) {
        if clock.day != self.plan.day {
            self.plan = Plan::of(clock.day, &self.habits, chance, clock.is_weekend());
        }
        let people = self.live(dt_s, clock, weather, chance);
        self.heat(dt_s, clock, weather, people);
        self.damp(dt_s, weather, people);
        self.draught.run(dt_s, chance);
    }

    /// Temperature of the air that moves past a sensor.
    pub(super) fn local_celsius(&self) -> f64 {
        self.celsius + self.draught.now
    }

    /// Changes of air per hour.
    fn air_changes(&self, weather: &Weather) -> f64 {
        let window = if self.plan.window_s > 0.0 { 7.0 } else { 0.0 };
        (self.build.leak_per_h + window) * weather.wind
    }

    /// Lets people do what they do; returns how many of them are awake and there.
    fn live(&mut self, dt_s: f64, clock: Clock, weather: &Weather, chance: &mut Chance) -> f64 {
        let (plan, habits) = (&mut self.plan, &self.habits);
        for left in [&mut plan.window_s, &mut plan.shower_s, &mut plan.cooking_s] {
            *left -= dt_s;
        }
        let hour = clock.hour;
        let is_up = hour > plan.up && hour < plan.bed;
        let is_there = plan.is_home_all_day || hour < plan.leave || hour > plan.back;
        if !(is_up && is_there) {
            return if is_there { 0.6 } else { 0.0 };
        }
        // Nobody keeps a window open for long in the frost; in summer it stays open.
        let airing_s = 60.0 * chance.between(4.0, 12.0) * if weather.celsius > 16.0 { 5.0 } else { 1.0 };
        let stuffy = if self.celsius > 24.0 { 4.0 } else { 1.0 };
        if plan.window_s <= 0.0 && chance.happens(habits.airing_per_h * stuffy, dt_s) {
            plan.window_s = airing_s;
        }
        let is_shower_time = hour < plan.up + 1.0 || hour > plan.bed - 1.5;
        if plan.shower_s <= 0.0 && is_shower_time && chance.happens(0.8 * habits.showers, dt_s) {
            plan.shower_s = 60.0 * chance.between(5.0, 12.0);
        }
        let is_cooking_time = (hour - 12.5).abs() < 0.8 || (hour - 18.7).abs() < 1.0;
        if plan.cooking_s <= 0.0 && is_cooking_time && chance.happens(0.7, dt_s) {
            plan.cooking_s = 60.0 * chance.between(15.0, 45.0);
        }
        1.6
    }

    fn heat(&mut self, dt_s: f64, clock: Clock, weather: &Weather, people: f64) {
        let build = &self.build;
        let is_day = clock.hour > self.plan.up - 0.8 && clock.hour < self.plan.bed - 0.3;
        let goal = if is_day { build.day_celsius } else { build.night_celsius };
        if self.celsius < goal - build.hysteresis_k {
            self.is_heating = true;
        } else if self.celsius > goal + build.hysteresis_k {
            self.is_heating = false;
        }
        let cold = ((20.0 - weather.celsius) / 30.0).clamp(0.0, 1.0);
        let water = build.mild_celsius + cold * (build.cold_celsius - build.mild_celsius);
        let radiator_goal = if self.is_heating { water } else { self.celsius };
        self.radiator_celsius = approach(self.radiator_celsius, radiator_goal, dt_s, 1200.0);
        // Kelvin per hour on the air: radiator, sun, people and stove, draughts, walls.
        let cooking = if self.plan.cooking_s > 0.0 { 0.9 } else { 0.0 };
        let gains = 0.2 * (self.radiator_celsius - self.celsius)
            + build.sun_k_per_h * weather.sun
            + 0.12 * people
            + cooking;
        // What is exchanged with outside and walls is a goal the air is drawn to, so that no step overshoots.
        let (to_outside, to_walls) = (0.3 * self.air_changes(weather), HOUR_S / build.air_s);
        let rate = to_outside + to_walls;
        let rest = (to_outside * weather.celsius + to_walls * self.walls_celsius + gains) / rate;
        self.celsius = approach(self.celsius, rest, dt_s, HOUR_S / rate);
        let walls_rest = approach(self.walls_celsius, self.celsius, dt_s, 9.0 * HOUR_S);
        self.walls_celsius = approach(walls_rest, weather.celsius, dt_s, build.walls_s);
    }

    fn damp(&mut self, dt_s: f64, weather: &Weather, people: f64) {
        let full = vapour_full_hpa(self.celsius);
        let shower = if self.plan.shower_s > 0.0 { 9.0 } else { 0.0 };
        let cooking = if self.plan.cooking_s > 0.0 { 3.0 } else { 0.0 };
        // hPa per hour into the air: people and plants, shower, stove.
        let sources = 0.12 + 0.55 * people + shower + cooking;
        let (to_outside, to_walls) = (self.air_changes(weather), 1.3);
        let rate = to_outside + to_walls;
        let rest = (to_outside * weather.vapour_hpa + to_walls * self.walls_damp * full + sources) / rate;
        self.vapour_hpa =
            approach(self.vapour_hpa, rest, dt_s, HOUR_S / rate).clamp(0.05 * full, 0.98 * full);
        self.walls_damp = approach(self.walls_damp, self.vapour_hpa / full, dt_s, 16.0 * HOUR_S);
    }
}

impl Plan {
    /// A day: the habits, a little early or late, and later on weekends.
    fn of(day: i64, habits: &Habits, chance: &mut Chance, is_weekend: bool) -> Self {
        let late = if is_weekend { 1.3 } else { 0.0 };
        let mut about = |hour: f64, spread: f64| hour + spread * chance.normal();
        let (up, leave) = (about(habits.up + late, 0.25), about(habits.leave + 2.0 * late, 0.3));
        let (back, bed) = (about(habits.back, 0.8), about(habits.bed + 0.4 * late, 0.4).min(23.9));
        let at_home = if is_weekend { 0.6 } else { habits.works_at_home };
        let is_home_all_day = chance.even() < at_home;
        Self { day, up, leave, back, bed, is_home_all_day, window_s: 0.0, shower_s: 0.0, cooking_s: 0.0 }
    }
}
