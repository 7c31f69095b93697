//! The page needs nothing else, says what it should, and keeps hostile names as text.

use std::ops::ControlFlow;

use kinglet_train::climate::{ClimateOptions, generate};
use kinglet_train::fit::{Effort, FitOptions, picture, train};
use kinglet_train::recording::{Bound, Cut, RecordedChannel, Recording, Split};

use super::*;

fn page(recording: &Recording, bound: &str, yardsticks: &[Yard]) -> String {
    let options = FitOptions {
        bounds: Bound::parse_list(bound).unwrap(),
        effort: Effort::Fast,
        name: "<room>".into(),
        ..FitOptions::default()
    };
    let trained = train(recording, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let (bundle, test) = (&trained.bundle, Split::by_time(recording.len(), 70).test);
    Report {
        name: bundle.name(),
        origin: "room.csv",
        identity: "00ff".into(),
        seconds: 3.0,
        bundle_bytes: bundle.emit().len(),
        samples_per_window: bundle.model().samples(),
        max_delay_ms: bundle.model().max_delay_ms(),
        understood: None,
        report: &trained.report,
        picture: &picture(&bundle.model(), recording, test, Cut::AtGaps),
        curves: &trained.curves,
        yardsticks,
        assumptions: kinglet_train::lora::ASSUMPTIONS,
    }
    .html()
}

fn climate() -> Recording {
    generate(&ClimateOptions { rows: 4000, ..ClimateOptions::default() }).unwrap()
}

#[test]
fn the_page_is_whole_and_needs_nothing_else() {
    let yards = [("Sprintz-like", 30.0, false), ("Kinglet", 20.0, true)]
        .map(|(name, bytes_mean, is_ours)| Yard { name: name.into(), bytes_mean, is_ours });
    let page = page(&climate(), "0.25,1", &yards);
    for resource in ["http://", "https://", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(resource), "{resource}");
    }
    for part in ["The recording", "Bytes per window", "What comes back", "Learning", "Frames and air", "SF12"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains("33 % fewer bytes") && page.contains("prefers-color-scheme: dark"));
    assert!(!page.contains("NaN") && !page.contains("Infinity"));
    // A name is text wherever it stands.
    assert!(page.contains("&lt;room&gt;") && !page.contains("<room>"));
    let json = page.split("id=\"report\">").nth(1).unwrap().split("</script>").next().unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["name"], "<room>");
    assert!(json["report"]["evaluation"]["payload_bytes_mean"].is_number());
    assert!(json["picture"]["channels"][0]["stretch"].as_array().unwrap().len() > 100);
    assert!(!json["curves"].as_array().unwrap().is_empty());
}

#[test]
fn hostile_and_empty_channels_are_drawn_too() {
    let still = (0..800).map(|_| "5".parse().ok()).collect();
    let sparse = (0..800).map(|i| if i % 400 == 0 { "1.5".parse().ok() } else { None }).collect();
    let channel =
        |name: &str, values| RecordedChannel { name: name.into(), unit: "</script>".into(), values };
    let channels = vec![channel("a<b>\"&", still), channel("sparse", sparse)];
    let recording = Recording::new((0..800).map(|i| i * 1000).collect(), channels, 1000).unwrap();
    let page = page(&recording, "0.5", &[]);
    assert_eq!(page.matches("</script>").count(), 1);
    assert!(page.contains("a&lt;b&gt;&quot;&amp;") && !page.contains("NaN"), "{page}");
}
