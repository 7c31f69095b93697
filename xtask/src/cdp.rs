//! A browser driven through the Chrome DevTools Protocol.
//!
//! Over its pipe (`--remote-debugging-pipe`: file descriptors 3 and 4, JSON ended by a zero byte), so that
//! neither a port nor a WebSocket library is needed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running headless browser with one page.
pub(crate) struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: String,
    next_id: u64,
    /// Events not yet looked at.
    events: VecDeque<Value>,
}

impl Browser {
    /// Starts `program` with a fresh profile in `dir`.
    pub(crate) fn start(program: &str, dir: &Path) -> Result<Self> {
        // A profile left from an earlier run would bring its cache along.
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let (to, from) = (fifo(dir, "to")?, fifo(dir, "from")?);
        let mut args = vec![
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--mute-audio",
            "--hide-scrollbars",
            "--no-default-browser-check",
            "--force-color-profile=srgb",
        ];
        // The sandbox refuses to run as root; only our own pages are opened.
        args.push("--no-sandbox");
        let log = File::create(dir.join("log")).map_err(|e| format!("the browser's log: {e}"))?;
        let child = Command::new("sh")
            .arg("-c")
            .arg("to=$1 from=$2; shift 2; exec \"$@\" 3<\"$to\" 4>\"$from\"")
            .arg("sh")
            .args([&to, &from])
            .arg(program)
            .args(args)
            .arg(format!("--user-data-dir={}", dir.join("profile").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{program} could not be started: {e}"))?;
        // Each open waits for the other side: the order is the shell's.
        let to = File::options().write(true).open(&to).map_err(|e| format!("pipe to the browser: {e}"))?;
        let from = File::open(&from).map_err(|e| format!("pipe from the browser: {e}"))?;
        let mut browser = Self {
            child,
            to,
            from: reader(from),
            session: String::new(),
            next_id: 0,
            events: VecDeque::new(),
        };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attached = browser
            .call("Target.attachToTarget", json!({ "targetId": page["targetId"], "flatten": true }))?;
        browser.session = attached["sessionId"].as_str().ok_or("the browser gave no session")?.into();
        for domain in ["Page.enable", "Runtime.enable", "Network.enable", "Log.enable"] {
            browser.call(domain, json!({}))?;
        }
        Ok(browser)
    }

    /// Calls a method and waits for its answer.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.next_id += 1;
        let id = self.next_id;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).map_err(|e| format!("the browser is gone: {e}"))?;
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer =
                self.from.recv_timeout(left).map_err(|_| format!("the browser does not answer {method}"))?;
            if answer["id"] == json!(id) {
                return match answer.get("error") {
                    Some(error) => Err(format!("{method}: {error}")),
                    None => Ok(answer["result"].clone()),
                };
            }
            if answer["method"].is_string() {
                self.events.push_back(answer);
            }
        }
    }

    /// Opens `url` and waits until it is loaded; streams may stay open.
    pub(crate) fn open(&mut self, url: &str) -> Result<()> {
        self.events.clear();
        let went = self.call("Page.navigate", json!({ "url": url }))?;
        if let Some(error) = went["errorText"].as_str() {
            return Err(format!("{url}: {error}"));
        }
        self.until(&format!("{url} to load"), "document.readyState == 'complete'")
    }

    /// The value of a JavaScript expression.
    pub(crate) fn eval(&mut self, expression: &str) -> Result<Value> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", params)?;
        match result.get("exceptionDetails") {
            Some(thrown) => Err(format!("{expression}: {}", thrown["exception"]["description"])),
            None => Ok(result["result"]["value"].clone()),
        }
    }

    /// Waits until an expression is true.
    pub(crate) fn until(&mut self, what: &str, expression: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.eval(expression)? == Value::Bool(true) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("waited {} s for {what}", PATIENCE.as_secs()))
    }

    /// Events of a kind since the page was opened.
    pub(crate) fn events(&self, method: &str) -> Vec<Value> {
        self.events.iter().filter(|e| e["method"] == json!(method)).map(|e| e["params"].clone()).collect()
    }

    /// Width, height and colour scheme of the screen.
    pub(crate) fn screen(&mut self, width: u32, height: u32, phone: bool, dark: bool) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.call("Emulation.setDeviceMetricsOverride", metrics)?;
        let scheme =
            json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": scheme }))?;
        Ok(())
    }

    /// Saves the whole page as PNG.
    pub(crate) fn screenshot(&mut self, to: &Path) -> Result<()> {
        let shot =
            self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }))?;
        let bytes =
            unbase64(shot["data"].as_str().unwrap_or_default()).ok_or("the screenshot is no base64")?;
        std::fs::write(to, bytes).map_err(|e| format!("{}: {e}", to.display()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session.clear();
        // It may be gone already; then there is nothing to close.
        let _ = self.call("Browser.close", json!({}));
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fifo(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    let made = Command::new("mkfifo").arg(&path).status();
    match made {
        Ok(status) if status.success() => Ok(path),
        _ => Err(format!("mkfifo {} failed", path.display())),
    }
}

fn reader(from: File) -> Receiver<Value> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut message = Vec::new();
        while matches!(from.read_until(0, &mut message), Ok(1..)) {
            if message.last() == Some(&0) {
                message.pop();
            }
            if let Ok(value) = serde_json::from_slice(&message)
                && send.send(value).is_err()
            {
                return;
            }
            message.clear();
        }
    });
    receive
}

/// RFC 4648, as the protocol sends pictures.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut n) = (0_u32, 0);
    for c in text.bytes().filter(|&c| c != b'=') {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        n += 6;
        if n >= 8 {
            n -= 8;
            out.push((bits >> n) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_opened_looked_at_and_kept() {
        if !crate::run::on_path("chromium") {
            println!("skipped: no chromium on the path");
            return;
        }
        let dir = std::env::temp_dir().join(format!("kinglet-cdp-{}", std::process::id()));
        let mut browser = Browser::start("chromium", &dir).expect("a browser");
        browser.screen(400, 300, false, true).expect("a screen");
        let page =
            "<body>wren</body><script>setTimeout(() => { document.body.append('s'); boom() }, 300)</script>";
        browser.open(&format!("data:text/html,{page}")).expect("a page");
        browser.until("the page to change", "document.body.innerText == 'wrens'").expect("it changes");
        assert_eq!(browser.eval("innerWidth").expect("a number"), 400);
        assert_eq!(
            browser.eval("matchMedia('(prefers-color-scheme: dark)').matches").expect("a truth"),
            true
        );
        assert_eq!(browser.events("Runtime.exceptionThrown").len(), 1, "the page's own error is seen");
        let png = dir.join("page.png");
        browser.screenshot(&png).expect("a picture");
        assert!(std::fs::read(&png).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG")));
        assert!(browser.eval("nobody.knows").is_err());
        assert!(browser.open("http://127.0.0.1:1/").is_err());
        drop(browser);
        // The browser's helpers may still be writing: what is left lies in the system's temporary files.
        let _ = std::fs::remove_dir_all(&dir);
    }

    #[test]
    fn base64_of_the_rfc() {
        for (text, want) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(unbase64(text).as_deref(), Some(want.as_bytes()), "{text}");
        }
        assert_eq!(unbase64("a b"), None);
    }
}
