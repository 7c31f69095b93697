use std::ops::ControlFlow;

use kinglet_codec::seed::{Activation, SeedChannel, SeedModel};

use super::*;
use crate::nn::{Isa, Rng};

fn quick() -> SeedOptions {
    SeedOptions { n_steps: 6000, max_error: Some(2.0), ..SeedOptions::default() }
}

fn run(options: &SeedOptions) -> Result<SeedTrained, SeedTrainError> {
    train(options, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let options = SeedOptions { n_steps: 2000, max_error: Some(50.0), ..quick() };
    let (a, b) = (run(&options).unwrap(), run(&options).unwrap());
    assert_eq!(a.model.emit(), b.model.emit());
    let c = run(&SeedOptions { seed: 1, ..options }).unwrap();
    assert_ne!(a.model.identity(), c.model.identity());
}

#[test]
fn the_seeds_workload_learns_its_whole_range() {
    let SeedTrained { model, report } = run(&SeedOptions::default()).unwrap();
    let range = report.range.clone().unwrap();
    assert!(range.max < 0.3 && range.mean < 0.1 && range.mean < range.max, "{range:?}");
    assert_eq!((range.n_whole, range.n_whole_wrong), (51, 0));
    assert!((24_000..=25_000).contains(&report.n_steps), "{}", report.n_steps);
    assert_eq!((report.n_train, report.n_validation, report.n_test), (3500, 750, 750));
    let again = SeedModel::parse(&model.emit()).unwrap();
    assert_eq!(again.report()["n_test"], 750);
    let latent = again.encode(&[21.5]).unwrap();
    assert!((again.decode(&latent).unwrap()[0] - 21.5).abs() <= range.max + 1e-4);
    // The kept epoch is the best of the curve.
    let least = report.curve.iter().map(|p| p.validation).fold(f64::INFINITY, f64::min);
    assert_eq!(report.curve[report.best_epoch].validation, least);
}

#[test]
fn kerass_recipe_keeps_the_last_of_200_epochs() {
    let options = SeedOptions { recipe: Recipe::Seed, max_error: Some(50.0), ..SeedOptions::default() };
    let report = run(&options).unwrap().report;
    assert_eq!((report.n_steps, report.curve.len(), report.best_epoch), (25_000, 200, 199));
    assert_eq!((report.n_train, report.n_validation), (4000, 1000));
}

#[test]
fn what_is_too_inaccurate_is_refused_with_the_next_step() {
    let options = SeedOptions { n_steps: 300, max_error: Some(0.01), ..SeedOptions::default() };
    let error = run(&options).unwrap_err();
    assert!(error.to_string().contains("--max-error"), "{error}");
    let SeedTrainError::TooInaccurate { max, trained, .. } = error else { panic!("{error}") };
    assert!(max > 0.01 && trained.report.range.is_some());
}

#[test]
fn integers_stay_within_half_a_degree() {
    let SeedTrained { model, report } = run(&SeedOptions { int8: true, ..SeedOptions::default() }).unwrap();
    assert!(model.is_int8() && report.int8);
    let range = report.range.unwrap();
    assert!(range.max < 0.5 && range.n_whole_wrong == 0, "{range:?}");
}

#[test]
fn readings_in_a_narrow_band_still_teach_the_whole_range() {
    let mut rng = Rng::new(3);
    let readings = (0..3000).map(|_| 19.0 + 4.0 * rng.uniform()).collect();
    let options = SeedOptions { readings: Some(readings), n_steps: 12_000, max_error: Some(1.0), ..quick() };
    let range = run(&options).unwrap().report.range.unwrap();
    assert!(range.max < 1.0, "{range:?}");
}

#[test]
fn windows_channels_and_convolutions_train() {
    let mut rng = Rng::new(4);
    let mut readings = Vec::new();
    for i in 0..4000 {
        let day = (i as f32 * 0.02).sin();
        readings.extend([20.0 + 5.0 * day + 0.2 * rng.uniform(), 50.0 - 20.0 * day + rng.uniform()]);
    }
    let options = SeedOptions {
        channels: vec![SeedChannel::temperature(), SeedChannel::new("humidity", "%", 0.0, 100.0)],
        readings: Some(readings),
        n_samples: 8,
        latent: 6,
        hidden: vec![24],
        conv: vec![SeedConv { channels: 6, kernel: 3, stride: 1 }],
        activation: Activation::Tanh,
        max_error: Some(8.0),
        ..quick()
    };
    let SeedTrained { model, report } = run(&options).unwrap();
    assert!(report.test.len() == 2 && report.range.is_none());
    assert!(report.test[0].mean < 1.0 && report.test[1].mean < 2.0, "{:?}", report.test);
    assert_eq!((model.input_len(), model.latent_len()), (16, 6));
    let int8 = SeedOptions { activation: Activation::Relu, int8: true, max_error: Some(20.0), ..options };
    let report = run(&int8).unwrap().report;
    assert!(report.test[0].mean < 1.5, "{:?}", report.test);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    type Change = fn(&mut SeedOptions);
    let changes: [Change; 9] = [
        |o| o.channels.clear(),
        |o| o.latent = 0,
        |o| o.hidden = vec![2000],
        |o| o.n_steps = 0,
        |o| o.max_error = Some(f32::NAN),
        |o| o.n_samples = 4,
        |o| o.conv = vec![SeedConv { channels: 2, kernel: 3, stride: 1 }],
        |o| (o.int8, o.output) = (true, Some(Activation::Sigmoid)),
        |o| o.channels[0].range = (5.0, 5.0),
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut options = quick();
        change(&mut options);
        assert!(matches!(run(&options), Err(SeedTrainError::Setting(_))), "{i}");
    }
    let outside = SeedOptions { readings: Some(vec![20.0, 51.0]), ..quick() };
    assert!(matches!(run(&outside), Err(SeedTrainError::Reading { idx: 1, .. })));
    let few = SeedOptions { readings: Some(vec![20.0]), ..quick() };
    assert!(matches!(run(&few), Err(SeedTrainError::TooFew { .. })));
}

#[test]
fn training_can_be_stopped() {
    let error = train(&quick(), &mut |p| {
        if p.step > 500 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(error, Err(SeedTrainError::Training(crate::nn::NnError::Cancelled))));
}

#[test]
fn pictures_are_whole_svg_documents() {
    let options = SeedOptions { n_steps: 2000, max_error: Some(50.0), isa: Isa::portable(), ..quick() };
    let mut report = run(&options).unwrap().report;
    report.test[0].unit = "<°C>".into();
    for svg in [learning_curve_svg(&report), reconstruction_svg(&report)] {
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.len() < 100_000, "{}", svg.len());
        assert!(!svg.contains("NaN") && !svg.contains("<°C>"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
    report.curve.clear();
    report.picture.clear();
    assert!(!learning_curve_svg(&report).contains("NaN") && !reconstruction_svg(&report).contains("NaN"));
}

#[test]
fn columns_of_a_recording_become_readings_and_what_is_left_out_is_counted() {
    use crate::recording::{RecordedChannel, Recording, Values};
    let column = |name: &str, values: [Option<&str>; 4]| {
        let mut all = Values::default();
        values.iter().for_each(|v| all.push(v.map(|v| v.parse().unwrap())));
        RecordedChannel { name: name.into(), unit: "°C".into(), values: all }
    };
    let columns = vec![
        column("other", [Some("1"); 4]),
        column("temperature", [Some("20.5"), None, Some("50.1"), Some("-0")]),
    ];
    let recording = Recording::new(vec![0, 1000, 2000, 3000], columns, 1000).unwrap();
    let (readings, dropped) = readings_from(&recording, &[SeedChannel::temperature()]).unwrap();
    assert_eq!((readings, dropped), (vec![20.5, 0.0], Dropped { missing: 1, out_of_range: 1 }));
    let missing = readings_from(&recording, &[SeedChannel::new("humidity", "%", 0.0, 100.0)]).unwrap_err();
    assert!(missing.to_string().contains("other, temperature"), "{missing}");
}
