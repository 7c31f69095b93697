use super::*;

fn make(sensor: Sensor, seed: u64) -> Recording {
    generate(&ClimateOptions { sensor, seed, ..ClimateOptions::default() }).unwrap()
}

/// A channel in figures.
struct Figures {
    mean: f64,
    deviation: f64,
    /// Correlation of one reading with the next.
    memory: f64,
    /// Share of readings equal to the one before.
    still: f64,
    /// Mean size of a change.
    change: f64,
    /// Correlation of one change with the next: noise makes it negative.
    swing: f64,
}

impl Figures {
    fn of(channel: &RecordedChannel) -> Self {
        let values: Vec<f64> =
            channel.values.iter().flatten().map(|v| v.to_string().parse().unwrap()).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        let changes: Vec<f64> = values.windows(2).map(|v| v[1] - v[0]).collect();
        let memory = values.windows(2).map(|v| (v[0] - mean) * (v[1] - mean)).sum::<f64>() / n / variance;
        let squares: f64 = changes.iter().map(|c| c * c).sum();
        Self {
            mean,
            deviation: variance.sqrt(),
            memory,
            still: changes.iter().filter(|c| c.abs() < 1e-9).count() as f64 / n,
            change: changes.iter().map(|c| c.abs()).sum::<f64>() / n,
            swing: changes.windows(2).map(|c| c[0] * c[1]).sum::<f64>() / squares,
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_recording_and_another_another() {
    assert_eq!(make(Sensor::Dht22, 5), make(Sensor::Dht22, 5));
    assert_ne!(make(Sensor::Dht22, 5), make(Sensor::Dht22, 6));
}

#[test]
fn steps_and_channels_are_those_of_the_sensor() {
    use crate::recording::Quantum;
    for (sensor, steps) in [
        (Sensor::Dht11, &["1", "1"][..]),
        (Sensor::Dht22, &["0.1", "0.1"]),
        (Sensor::Bme280, &["0.01", "0.01", "0.01"]),
    ] {
        let recording = make(sensor, 1);
        assert_eq!(recording.channels().len(), steps.len());
        for (channel, step) in recording.channels().iter().zip(steps) {
            let quantum = Quantum::find(&channel.values).unwrap();
            assert_eq!(
                (quantum.step.to_string().as_str(), quantum.share()),
                (*step, 1.0),
                "{}",
                channel.name
            );
        }
    }
}

#[test]
fn rooms_are_warm_and_change_as_real_ones_do() {
    for seed in 1..=6 {
        for sensor in [Sensor::Dht11, Sensor::Dht22, Sensor::Bme280] {
            let recording = make(sensor, seed);
            for channel in recording.channels() {
                let f = Figures::of(channel);
                println!(
                    "{sensor:?} {seed} {:11} mean {:7.2} deviation {:5.2} memory {:.4} still {:.3} change {:.4} swing {:+.3}",
                    channel.name, f.mean, f.deviation, f.memory, f.still, f.change, f.swing
                );
                let (mean, deviation, memory) = match channel.name.as_str() {
                    "temperature" => (15.0..26.0, 0.3..3.0, 0.93),
                    "humidity" => (25.0..70.0, 1.5..12.0, 0.97),
                    _ => (970.0..1010.0, 2.0..15.0, 0.999),
                };
                assert!(
                    mean.contains(&f.mean) && deviation.contains(&f.deviation),
                    "{} {}",
                    f.mean,
                    f.deviation
                );
                assert!(f.memory > memory, "{}", f.memory);
                // A real DHT22 once a minute stands still in 63 % and 36 % of its readings.
                let still = match (sensor, channel.name.as_str()) {
                    (Sensor::Dht22, "temperature") => 0.45..0.75,
                    (Sensor::Dht22, _) => 0.2..0.5,
                    (Sensor::Dht11, _) => 0.6..0.95,
                    (Sensor::Bme280, _) => 0.02..0.3,
                };
                assert!(still.contains(&f.still), "{sensor:?} {} {}", channel.name, f.still);
            }
        }
    }
}

#[test]
fn readings_fail_and_outages_happen() {
    let recording = make(Sensor::Dht22, 2);
    let n_missing = recording.channels()[0].values.iter().filter(Option::is_none).count();
    assert!((20..300).contains(&n_missing), "{n_missing}");
    let n_gaps = recording.gaps().count();
    assert!((1..20).contains(&n_gaps), "{n_gaps}");
}

#[test]
fn any_period_start_and_seed_will_do() {
    for (period_ms, start_t_ms) in
        [(1, 0), (10_000, -1), (3_600_000, i64::MIN), (u32::MAX, i64::MAX - 1), (1000, 1 << 60)]
    {
        let options =
            ClimateOptions { rows: 20, period_ms, start_t_ms, seed: u64::MAX, ..ClimateOptions::default() };
        assert_eq!(generate(&options).unwrap().len(), 20);
    }
    assert!(generate(&ClimateOptions { rows: 1, ..ClimateOptions::default() }).is_err());
    assert!(generate(&ClimateOptions { period_ms: 0, ..ClimateOptions::default() }).is_err());
}

/// A change here changes the starter bundles and every figure made from the generated climate.
#[test]
fn the_first_day_is_the_same_on_every_machine_and_for_ever() {
    for (sensor, want) in [
        (Sensor::Dht11, 0x544e_2dd2_b3e1_5f64),
        (Sensor::Dht22, 0x9936_ef32_adae_5605),
        (Sensor::Bme280, 0xe5dc_9c35_f74b_38d0),
    ] {
        let recording =
            generate(&ClimateOptions { sensor, rows: 1440, ..ClimateOptions::default() }).unwrap();
        let values = recording.channels().iter().flat_map(|c| c.values.iter());
        let mantissas = values.map(|v| v.map_or(i64::MIN, Decimal::mantissa));
        // FNV-1a over times and readings.
        let hash = recording.times_ms().iter().copied().chain(mantissas).fold(
            0xcbf2_9ce4_8422_2325u64,
            |hash, word| {
                word.to_le_bytes()
                    .iter()
                    .fold(hash, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
            },
        );
        assert_eq!(hash, want, "{sensor:?}");
    }
}
