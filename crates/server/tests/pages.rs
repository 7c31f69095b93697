//! The dashboard as HTML: complete, escaped, nothing from elsewhere, usable without a mouse.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use common::{Rig, T0, bundle, code, request};

const VOID: [&str; 8] = ["meta", "link", "br", "hr", "img", "input", "line", "circle"];

/// Opening tags of a page, after checking that every one is closed in order and every attribute is quoted.
fn check_html(page: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a stray > in {:?}", &rest[..at]);
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap().to_owned();
        if tag.starts_with('!') {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name.as_str()), "{tag}");
        } else {
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if !VOID.contains(&name.as_str()) && !tag.ends_with('/') {
                open.push(name.clone());
            } else if matches!(name.as_str(), "line" | "circle") && rest.starts_with(&format!("</{name}>")) {
                rest = &rest[name.len() + 3..];
            }
            tags.push(tag.to_owned());
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    tags
}

/// Nothing that the policy forbids, nothing from elsewhere.
fn check_policy(tags: &[String]) {
    for tag in tags {
        assert!(!tag.contains(" style="), "{tag}");
        assert!(!tag.split(' ').any(|part| part.starts_with("on")), "{tag}");
        assert!(!tag.contains("javascript:"), "{tag}");
        let is_namespace = tag.contains("xmlns=");
        assert!(
            is_namespace || !(tag.contains("http:") || tag.contains("https:") || tag.contains("\"//")),
            "{tag}"
        );
    }
    let scripts: Vec<_> = tags.iter().filter(|tag| tag.starts_with("script")).collect();
    assert!(scripts.iter().all(|tag| tag.contains("src=\"/assets/")), "{scripts:?}");
}

fn check_charts(tags: &[String]) -> usize {
    let charts: Vec<_> = tags.iter().filter(|tag| tag.starts_with("svg") && tag.contains("chart")).collect();
    assert!(
        charts.iter().all(|tag| tag.contains("role=\"img\"") && tag.contains("aria-label=\"")),
        "{charts:?}"
    );
    charts.len()
}

#[tokio::test]
async fn pages_hold_together() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let empty = rig.get("/").await.text();
    check_policy(&check_html(&empty));
    assert!(empty.contains("No devices yet") && empty.contains("kinglet device add cellar"));

    let hostile = "<script>alert(1)</script>\" onload=\"x";
    rig.core.registry.add("quiet", hostile, T0).await.unwrap();
    let mut device = rig.ready_device("cellar").await;
    let bundle = bundle("climate", 8);
    for i in 0..20 {
        let code = code(&bundle, |k| [200 + i + k as i32, 40]);
        rig.post_frame(&device.window(T0 - 3_600_000 + i64::from(i) * 80_000, &code)).await;
    }
    rig.settle().await;

    let overview = rig.get("/").await.text();
    let tags = check_html(&overview);
    check_policy(&tags);
    assert!(overview.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload="), "{overview}");
    assert!(overview.contains("Waiting for its first frame.") && overview.contains("never heard"));
    assert!(
        tags.iter().any(|tag| tag == "html lang=\"en\"") && tags.iter().any(|tag| tag.starts_with("main"))
    );
    for asset in tags.iter().filter_map(|tag| tag.split("/assets/").nth(1)?.split('"').next()) {
        assert_eq!(rig.get(&format!("/assets/{asset}")).await.status, 200, "{asset}");
    }

    for range in ["10m", "1h", "6h", "24h", "7d", "30d"] {
        let page = rig.get(&format!("/devices/cellar?range={range}")).await.text();
        let tags = check_html(&page);
        check_policy(&tags);
        let current: Vec<_> = tags.iter().filter(|tag| tag.contains("aria-current")).collect();
        assert!(current.len() == 1 && current[0].contains(&format!("range={range}")), "{current:?}");
        assert!(page.contains("What an eavesdropper sees") && page.contains("What the server reads"));
    }
    let page = rig.get("/devices/cellar?range=6h").await.text();
    // Two channels, each for wide and narrow pages.
    assert_eq!(check_charts(&check_html(&page)), 4);
    assert!(
        page.contains("160 readings") && page.contains("± 0.2\u{a0}°C, shaded") && page.contains(">exact<"),
        "{page}"
    );
    assert!(page.contains("missing in this range</dt><dd>nothing"), "{page}");
    let fragment = rig.get("/live/devices/cellar?range=6h").await.text();
    assert!(!fragment.contains("<html") && check_charts(&check_html(&fragment)) == 4);
    check_html(&rig.get("/live/devices").await.text());

    assert!(!page.contains("is wrong"), "{page}");
    rig.post_frame(&device.window(T0 + 86_400_000, &code(&bundle, |_| [200, 40]))).await;
    rig.settle().await;
    let ahead = rig.get("/devices/cellar?range=6h").await.text();
    assert!(ahead.contains("which is to come"), "{ahead}");

    let quiet = rig.get("/devices/quiet").await.text();
    check_policy(&check_html(&quiet));
    assert!(quiet.contains("No readings yet"));
    let nobody = rig.get("/devices/%3Cscript%3E").await;
    assert_eq!(nobody.status, 404);
    check_policy(&check_html(&nobody.text()));
    assert!(!nobody.text().contains("<script>"));
    assert_eq!(rig.get("/devices/cellar?range=1y").await.status, 400);
    rig.stop().await;
}

#[tokio::test]
async fn a_thousand_devices_are_looked_through_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    for i in 0..401 {
        rig.core.registry.add(&format!("m{i}"), "", T0).await.unwrap();
    }
    let (mut path, mut seen) = (String::from("/"), Vec::new());
    for n in [200, 200, 1] {
        let page = rig.get(&path).await.text();
        check_policy(&check_html(&page));
        assert!(page.contains("<dt>devices</dt><dd>401</dd>"), "{path}");
        assert!(page.contains(&format!("{n} of 401 on this page")), "{path}");
        let live = page.split("data-from=\"").nth(1).unwrap().split('"').next().unwrap();
        let ids = |page: &str| -> Vec<String> {
            page.split("href=\"/devices/").skip(1).map(|at| at.split('"').next().unwrap().into()).collect()
        };
        assert_eq!(ids(&rig.get(live).await.text()), ids(&page), "what is renewed is what is shown");
        seen.extend(ids(&page));
        path = match page.split("href=\"/?after=").nth(1) {
            Some(at) => format!("/?after={}", at.split('"').next().unwrap()),
            None => break,
        };
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 401);
    assert!(rig.get("/?after=4000000000").await.text().contains("0 of 401 on this page"));
    assert_eq!(rig.get("/?after=x").await.status, 400);
    rig.stop().await;
}

#[tokio::test]
async fn the_way_in_and_the_api_hold_together() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let api = rig.get("/docs").await.text();
    check_policy(&check_html(&api));
    for (path, methods) in rig.get("/openapi.json").await.json()["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            assert!(
                api.contains(&format!("{} {path}<", method.to_uppercase())),
                "{method} {path} is not shown"
            );
        }
    }
    check_policy(&check_html(&rig.get("/login").await.text()));
    let password = "correct horse battery".to_owned().into();
    rig.core.access.add_user("anna", kinglet_server::store::Role::Viewer, password, T0).await.unwrap();
    let page = rig.get("/login?next=/devices/%22%3E%3Cscript%3E").await.text();
    let tags = check_html(&page);
    check_policy(&tags);
    let labels: Vec<_> = tags.iter().filter_map(|tag| tag.split("label for=").nth(1)).collect();
    assert_eq!(labels, ["\"name\"", "\"password\""]);
    for label in labels {
        assert!(tags.iter().any(|tag| tag.starts_with("input") && tag.contains(&format!("id={label}"))));
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_eavesdropper_sees_no_reading() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    let frame = device.window(T0, &code(&bundle("climate", 8), |_| [215, 40]));
    rig.post_frame(&frame).await;
    rig.settle().await;
    let page = request(rig.addr, "GET", "/devices/cellar", &[], b"").await.text();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    assert!(page.contains(&hex(&frame[..10])) && page.contains(&hex(&frame[frame.len() - 16..])));
    assert!(
        page.contains(&format!("{} bytes", frame.len())) && page.contains("21.5") && page.contains(">40<")
    );
    rig.stop().await;
}
