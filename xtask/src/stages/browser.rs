//! The dashboard as people see it: a running demo in Chromium, screenshots kept under `target/screenshots`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::release_binary;
use crate::Result;
use crate::cdp::Browser;
use crate::context::Context;
use crate::counts::Tally;
use crate::serving::{self, Serving};

/// Name, width, height, phone, dark.
const SCREENS: &[(&str, u32, u32, bool, bool)] = &[
    ("light", 1280, 900, false, false),
    ("dark", 1280, 900, false, true),
    ("phone", 390, 844, true, false),
    ("phone-dark", 390, 844, true, true),
];

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let program = release_binary(context)?;
    let shots = context.target().join("screenshots");
    let home = context.target().join("browser-home");
    for dir in [&shots, &home] {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    let addr = serving::free_addr()?;
    // The demo learns before it listens.
    let demo =
        Serving::start(&program, &["demo", "--seconds", "600"], addr, &home, Duration::from_secs(180))?;
    let mut browser = Browser::start("chromium", &home.join("chromium"))?;
    let origin = format!("http://{addr}");
    let mut tally = Tally::default();
    let mut check = |what: &str, is: Result<()>| {
        tally.add(Tally::one(is.is_ok()));
        match is {
            Ok(()) => context.say(&format!("{} {what}", context.paint("32", "ok"))),
            Err(why) => context.say(&format!("{} {what}: {why}", context.paint("31", "FAILED"))),
        }
    };

    browser.screen(1280, 900, false, false)?;
    browser.open(&origin)?;
    check(
        "the dashboard lists devices",
        browser.until("a link to a device", &format!("{DEVICES}.length > 0")),
    );
    check("it lives without being reloaded", lives(&mut browser));
    let device = browser.eval(&format!("{DEVICES}[0]?.href"))?;
    look(&mut browser, &mut check, "dashboard", &origin, &origin, &shots)?;

    let device = device.as_str().ok_or("the dashboard links to no device")?.to_string();
    browser.screen(1280, 900, false, false)?;
    browser.open(&device)?;
    check("a device's page draws a chart", browser.until("an SVG with a line in it", CHART));
    check("it lives without being reloaded", lives(&mut browser));
    look(&mut browser, &mut check, "device", &device, &origin, &shots)?;

    check(
        "an unknown device is said to be unknown",
        match serving::get(addr, "/devices/nobody")? {
            (404, _) => Ok(()),
            (status, _) => Err(format!("status {status}")),
        },
    );
    drop(demo);
    people(&program, &home, &mut browser, &mut check, &shots)?;
    drop(browser);
    context.say(&format!("screenshots: {}", shots.display()));
    Ok(tally)
}

/// A server with a user: the way in and out by keyboard, and the page of its API.
fn people(
    program: &Path,
    home: &Path,
    browser: &mut Browser,
    check: &mut impl FnMut(&str, Result<()>),
    shots: &Path,
) -> Result<()> {
    let data = home.join("people");
    // Left from an earlier run.
    let _ = std::fs::remove_dir_all(&data);
    let data = data.display().to_string();
    let mut add = Command::new(program);
    add.args(["user", "add", "anna", "--role", "admin", "--data", &data])
        .env("HOME", home)
        .stdin(Stdio::piped());
    let mut add = add.stdout(Stdio::null()).spawn().map_err(|e| format!("kinglet user add: {e}"))?;
    let mut stdin = add.stdin.take().ok_or("no standard input")?;
    stdin.write_all(PASSWORD.as_bytes()).map_err(|e| format!("kinglet user add: {e}"))?;
    drop(stdin);
    let added = add.wait().map_err(|e| format!("kinglet user add: {e}"))?;
    check("a user is added", if added.success() { Ok(()) } else { Err(added.to_string()) });
    let addr = serving::free_addr()?;
    let rules = home.join("alerts.toml");
    std::fs::write(&rules, RULES).map_err(|e| format!("{}: {e}", rules.display()))?;
    let serve = ["serve", "--data", &data, "--config", &rules.display().to_string()];
    let _server = Serving::start(program, &serve, addr, home, Duration::from_secs(60))?;
    let origin = format!("http://{addr}");
    let login = format!("{origin}/login?next=%2Fdocs");
    look(browser, check, "login", &login, &origin, shots)?;
    browser.open(&format!("{origin}/docs"))?;
    check("whoever is not logged in is led to the login", browser.until("the form", IS_LOGIN));
    type_in(browser, "wrong wrong wrong")?;
    let refused =
        format!("{IS_LOGIN} && document.querySelector('[role=alert]')?.textContent.includes('wrong')");
    check("a wrong password is said to be wrong", browser.until("the form again", &refused));
    browser.screenshot(&shots.join("login-refused.png"))?;
    type_in(browser, PASSWORD)?;
    check(
        "and the right one leads where one wanted to go",
        browser.until("the page", "location.pathname === '/docs'"),
    );
    let hidden = browser.eval("document.cookie")?;
    check("no script sees the cookie", if hidden == "" { Ok(()) } else { Err(hidden.to_string()) });
    look(browser, check, "api", &format!("{origin}/docs"), &origin, shots)?;
    seen_to(browser, check, &origin, shots)?;
    let mut fleet = Command::new(program);
    fleet.args([
        "simulate",
        "--devices",
        "3",
        "--rate",
        "9/s",
        "--seconds",
        "1",
        "--data",
        &data,
        "--server",
        &origin,
    ]);
    let fleet = crate::run::quiet(fleet.env("HOME", home), Duration::from_secs(60))?;
    check("a fleet comes", if fleet.ok { Ok(()) } else { Err(fleet.text) });
    std::thread::sleep(Duration::from_secs(3));
    look(browser, check, "alerts", &format!("{origin}/alerts"), &origin, shots)?;
    check(
        "alerts are listed",
        browser.until("a row", "document.querySelectorAll('tbody .badge').length > 0"),
    );
    look(browser, check, "dashboard-alerts", &origin, &origin, shots)?;
    check("and stand above the devices", browser.until("them", "document.querySelector('section.alerts + * a[href*=\"/devices/\"], section.alerts ~ * a[href*=\"/devices/\"]') !== null"));
    browser.open(&origin)?;
    browser.until("the way out", "document.querySelector('form.out button') !== null")?;
    browser.screenshot(&shots.join("logged-in.png"))?;
    browser.eval("document.querySelector('form.out button').click(); true")?;
    check("the way out leads to the login", browser.until("the form", IS_LOGIN));
    browser.open(&origin)?;
    check("and back there is no way", browser.until("the form", IS_LOGIN));
    Ok(())
}

/// An administrator at work: each step by the page's own forms.
fn seen_to(
    browser: &mut Browser,
    check: &mut impl FnMut(&str, Result<()>),
    origin: &str,
    shots: &Path,
) -> Result<()> {
    browser.screen(1280, 900, false, false)?;
    browser.open(&format!("{origin}/people"))?;
    browser.eval(&format!(
        "document.getElementById('user-name').value = 'bob'; document.getElementById('user-password').value = '{PASSWORD}'; \
         document.querySelector('form[action=\"/people/users\"] button').click(); true"
    ))?;
    check("a user is added in the browser", browser.until("bob", &format!("{BOB} !== null")));
    browser.eval(&format!(
        "{BOB}.querySelector('select').value = 'operator'; window.before = true; {BOB}.querySelector('button').click(); true"
    ))?;
    let operator = format!(
        "window.before === undefined && {BOB} !== null && {BOB}.querySelector('select').value === 'operator'"
    );
    check("a role is changed", browser.until("the page again", &operator));
    browser.eval(
        "document.getElementById('token-name').value = 'grafana'; \
         document.querySelector('form[action=\"/people/tokens\"] button').click(); true",
    )?;
    let token = "document.getElementById('token')?.textContent.startsWith('kinglet_')";
    check("a token is shown", browser.until("it", token));
    browser.screenshot(&shots.join("token-made.png"))?;
    look(browser, check, "people", &format!("{origin}/people"), origin, shots)?;
    let gone = "document.getElementById('token') === null && document.body.innerText.includes('grafana')";
    check("and once only", browser.until("the list without it", gone));
    browser.eval(
        "document.querySelector('form[action=\"/people/users/bob/remove\"]').closest('details').open = true",
    )?;
    browser.screenshot(&shots.join("people-remove.png"))?;
    browser
        .eval("document.querySelector('form[action=\"/people/users/bob/remove\"] button').click(); true")?;
    let removed = format!(
        "location.pathname === '/people' && document.getElementById('user-name') !== null && {BOB} === null"
    );
    check("a user is removed", browser.until("the list without bob", &removed));
    Ok(())
}

/// The form with bob's role, if there is a bob.
const BOB: &str = "document.querySelector('form[action=\"/people/users/bob/role\"]')";
/// Something is wrong with every device.
const RULES: &str = "[[alert]]\nkind = \"range\"\nname = \"warm\"\nchannel = \"temperature\"\nabove = -90\n";
const PASSWORD: &str = "correct horse battery";
const IS_LOGIN: &str =
    "location.pathname === '/login' && document.querySelector('input[type=password]') !== null";

/// Fills the form in and sends it, as a person does: by the button.
fn type_in(browser: &mut Browser, password: &str) -> Result<()> {
    browser.eval(&format!(
        "document.getElementById('name').value = 'anna'; document.getElementById('password').value = '{password}'; \
         document.querySelector('.login button').click(); true"
    ))?;
    Ok(())
}

const DEVICES: &str = "document.querySelectorAll('a[href*=\"/devices/\"]')";
const CHART: &str = "[...document.querySelectorAll('svg')].some(svg => svg.getBoundingClientRect().width > 100 && \
    [...svg.querySelectorAll('path, polyline')].some(line => line.getBoundingClientRect().width > 50))";

/// Something on the page changes while the page stays the same one.
fn lives(browser: &mut Browser) -> Result<()> {
    browser.eval("window.sameKinglet = document.body.innerText; true")?;
    browser.until(
        "live readings",
        "window.sameKinglet !== undefined && document.body.innerText !== window.sameKinglet",
    )
}

/// One page on every screen: nothing hangs over, nothing is fetched from elsewhere, nothing goes wrong.
fn look(
    browser: &mut Browser,
    check: &mut impl FnMut(&str, Result<()>),
    name: &str,
    url: &str,
    origin: &str,
    shots: &Path,
) -> Result<()> {
    let mut grounds = Vec::new();
    for &(screen, width, height, phone, dark) in SCREENS {
        browser.screen(width, height, phone, dark)?;
        browser.open(url)?;
        browser.until("the page to have text", "document.body.innerText.trim().length > 20")?;
        // Fonts, the first event of the stream.
        std::thread::sleep(Duration::from_millis(700));
        let wide = browser.eval("document.documentElement.scrollWidth")?.as_u64().unwrap_or(u64::MAX);
        let fits =
            if wide <= width.into() { Ok(()) } else { Err(format!("{wide} px wide on a screen of {width}")) };
        check(&format!("{name} fits the {screen} screen"), fits);
        check(&format!("{name} can be read on the {screen} screen"), contrast(browser));
        check(
            &format!("{name} on the {screen} screen stays at home and makes no errors"),
            clean(browser, origin),
        );
        grounds.push(browser.eval("getComputedStyle(document.body).backgroundColor")?);
        browser.screenshot(&shots.join(format!("{name}-{screen}.png")))?;
    }
    check(
        &format!("{name} has a dark face"),
        if grounds[0] == grounds[1] { Err("light and dark look the same".into()) } else { Ok(()) },
    );
    Ok(())
}

/// Text against its ground: at least 4.5 (WCAG 2.2, 1.4.3), large text 3.
fn contrast(browser: &mut Browser) -> Result<()> {
    let poor = browser.eval(CONTRAST)?;
    match poor.as_array().map(Vec::as_slice) {
        Some([]) => Ok(()),
        Some(poor) => {
            Err(poor.iter().take(5).map(|p| p.as_str().unwrap_or_default()).collect::<Vec<_>>().join("; "))
        }
        None => Err("contrast could not be measured".into()),
    }
}

const CONTRAST: &str = r"(() => {
  const parse = c => { const m = c.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0]; return [m[0], m[1], m[2], m[3] ?? 1]; };
  const light = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const ground = e => { const chain = []; for (; e; e = e.parentElement) chain.push(parse(getComputedStyle(e).backgroundColor));
    return chain.reverse().reduce((under, top) => over(top, under),
      matchMedia('(prefers-color-scheme: dark)').matches && getComputedStyle(document.documentElement).colorScheme.includes('dark') ? [18, 18, 18] : [255, 255, 255]); };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), e = walk.currentNode.parentElement;
    if (!text || !e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || e.closest('script, style, svg')) continue;
    const style = getComputedStyle(e), under = ground(e), ink = over(parse(style.color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) poor.push(`'${text.slice(0, 30)}' has contrast ${ratio.toFixed(2)}`);
  }
  return poor;
})()";

fn clean(browser: &Browser, origin: &str) -> Result<()> {
    let abroad = browser.events("Network.requestWillBeSent").into_iter().filter_map(|e| {
        let url = e["request"]["url"].as_str()?.to_string();
        (!url.starts_with(origin) && !url.starts_with("data:") && !url.starts_with("blob:")).then_some(url)
    });
    let thrown = browser
        .events("Runtime.exceptionThrown")
        .into_iter()
        .map(|e| e["exceptionDetails"]["text"].to_string());
    let logged = browser.events("Log.entryAdded").into_iter().filter_map(|e| {
        let entry = &e["entry"];
        (entry["level"] == "error").then(|| format!("{} {}", entry["text"], entry["url"]))
    });
    let trouble: Vec<String> = abroad.chain(thrown).chain(logged).collect();
    if trouble.is_empty() { Ok(()) } else { Err(trouble.join("; ")) }
}
