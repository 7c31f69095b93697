//! MQTT as others speak it: a device in Python on paho, mosquitto's clients, and our own fleet, against the release binary.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::release_binary;
use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::serving::{self, Serving};
use crate::{need, run};

const PATIENCE: Duration = Duration::from_secs(120);
/// Windows the device in Python sends, and the one it leaves for mosquitto.
const WINDOWS: u64 = 41;

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let dir = context.target().join("mqtt");
    // Left from an earlier run.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let ports = [serving::free_addr()?, serving::free_addr()?];
    let script = context.root.join("crates/server/tests/interop/mqtt_device.py");
    let story =
        Story { program: release_binary(context)?, python: need::python(context), script, dir, ports };
    let [mqtt, mqtts] = ports.map(|addr| addr.to_string());
    let args = ["serve", "--data", "data", "--mqtt", &mqtt, "--mqtts", &mqtts];
    let addr = serving::free_addr()?;
    let server = Serving::start(&story.program, &args, addr, &story.dir, Duration::from_secs(30))?;
    let mut tally = Tally::default();
    let steps: &[Step] = &[
        ("a device in Python on paho, MQTT 3.1.1", |s| s.paho("porch", "3", false)),
        ("a device in Python on paho, MQTT 5 by TLS", |s| s.paho("attic", "5", true)),
        ("mosquitto_pub and mosquitto_sub, MQTT 3.1.1", |s| s.mosquitto("porch", "311")),
        ("mosquitto_pub and mosquitto_sub, MQTT 5", |s| s.mosquitto("attic", "5")),
        ("nothing leaks to wildcards and strangers", Story::strangers),
        ("a fleet of ours with losses, by MQTT and by TLS", Story::fleet),
    ];
    for (what, step) in steps {
        let done = step(&story);
        tally.add(Tally::one(done.is_ok()));
        match done {
            Ok(()) => context.say(&format!("{} {what}", context.paint("32", "ok"))),
            Err(why) => context.say(&format!(
                "{} {what}: {why}\nthe server said:\n{}",
                context.paint("31", "FAILED"),
                server.said()
            )),
        }
    }
    Ok(tally)
}

/// What holds, and the part of the story that shows it.
type Step = (&'static str, fn(&Story) -> Result<()>);

struct Story {
    program: PathBuf,
    python: PathBuf,
    script: PathBuf,
    dir: PathBuf,
    /// Without and with TLS.
    ports: [SocketAddr; 2],
}

impl Story {
    fn kinglet(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.dir).env("HOME", &self.dir);
        for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "KINGLET_SERVER", "KINGLET_CONFIG"]
        {
            command.env_remove(name);
        }
        self.ok(&mut command)
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.kinglet(args)?;
        let line = text.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(line).map_err(|e| format!("kinglet {}: {e}: {text}", args.join(" ")))
    }

    fn ok(&self, command: &mut Command) -> Result<String> {
        let ran = run::quiet(command.current_dir(&self.dir), PATIENCE)?;
        if ran.ok { Ok(ran.text) } else { Err(format!("{} failed:\n{}", run::line_of(command), ran.text)) }
    }

    fn paho(&self, device: &str, version: &str, by_tls: bool) -> Result<()> {
        let bundle = self.dir.join("dht22.kinglet");
        if !bundle.exists() {
            self.kinglet(&["bundles", "export", "dht22", "--out", "dht22.kinglet"])?;
        }
        let key = format!("{device}.key");
        let add = ["device", "add", device, "--bundle", "dht22.kinglet", "--key-out", &key];
        let added = self.json(&[&add[..], &["--data", "data", "--json"]].concat())?;
        let fingerprint = added["bundle"].as_str().unwrap_or_default();
        let addr = self.ports[usize::from(by_tls)];
        let mut command = Command::new(&self.python);
        command.arg(&self.script).args([&key, fingerprint, "localhost", &addr.port().to_string(), version]);
        if by_tls {
            command.arg("data/tls.crt");
        }
        self.ok(&mut command)?;
        std::fs::rename(self.dir.join("next.frame"), self.dir.join(format!("{device}.frame")))
            .map_err(|e| format!("next.frame: {e}"))
    }

    /// `mosquitto_pub` or `mosquitto_sub` as this device.
    fn client(&self, program: &str, device: &str, version: &str) -> Result<Command> {
        let token = self.json(&["device", "token", device, "--data", "data", "--json"])?;
        let password = token["password"].as_str().unwrap_or_default();
        let mut command = Command::new(program);
        command.current_dir(&self.dir);
        command.args(["-V", version, "-h", "127.0.0.1", "-p", &self.ports[0].port().to_string()]);
        command.args(["-i", &format!("{device}-{program}"), "-u", device, "-P", password]);
        Ok(command)
    }

    /// One client reads the ack of what the other sends.
    fn mosquitto(&self, device: &str, version: &str) -> Result<()> {
        let mut sub = self.client("mosquitto_sub", device, version)?;
        sub.args(["-t", &format!("kinglet/{device}/down"), "-C", "1", "-W", "20", "-F", "%x"]);
        let sub = sub.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        std::thread::sleep(Duration::from_millis(500));
        let mut publish = self.client("mosquitto_pub", device, version)?;
        publish.args(["-q", "1", "-t", &format!("kinglet/{device}/up"), "-f", &format!("{device}.frame")]);
        let sent = self.ok(&mut publish);
        let heard = sub.wait_with_output().map_err(|e| e.to_string())?;
        sent?;
        let ack = String::from_utf8_lossy(&heard.stdout);
        if !ack.trim().to_lowercase().starts_with("68") {
            return Err(format!("no sealed ack was heard: {ack}{}", String::from_utf8_lossy(&heard.stderr)));
        }
        let shown = self.json(&["device", "show", device, "--data", "data", "--json"])?;
        match (shown["windows"].as_u64(), shown["repeats"].as_u64()) {
            (Some(WINDOWS), Some(1)) => Ok(()),
            _ => Err(format!("not {WINDOWS} windows and one repeat: {shown}")),
        }
    }

    fn strangers(&self) -> Result<()> {
        for (version, topic) in
            [("311", "#"), ("5", "kinglet/+/down"), ("5", "kinglet/attic/down"), ("5", "$SYS/#")]
        {
            let mut sub = self.client("mosquitto_sub", "porch", version)?;
            let ran = run::quiet(sub.args(["-t", topic, "-C", "1", "-W", "2"]), PATIENCE)?;
            if !ran.text.contains("denied") {
                return Err(format!("a subscription to {topic} was served:\n{}", ran.text));
            }
        }
        let mut other = self.client("mosquitto_pub", "porch", "5")?;
        other.args(["-q", "1", "-t", "kinglet/porch/up", "-m", "x", "-P", &"0".repeat(64)]);
        match run::quiet(&mut other, PATIENCE)? {
            ran if ran.ok => Err("a wrong password was let in".into()),
            _ => Ok(()),
        }
    }

    fn fleet(&self) -> Result<()> {
        let [mqtt, mqtts] = self.ports;
        let fleet =
            ["simulate", "--devices", "20", "--rate", "100", "--seconds", "4", "--loss", "5%", "--json"];
        let to = [format!("mqtt://{mqtt}"), format!("mqtts://localhost:{}", mqtts.port())];
        for url in &to {
            let trust: &[&str] = if url.starts_with("mqtts") { &["--ca", "data/tls.crt"] } else { &[] };
            let said = self.json(&[&fleet[..], &["--server", url, "--data", "data"], trust].concat())?;
            if said["windows_stored"].as_u64().unwrap_or(0) < 50 {
                return Err(format!("hardly anything was stored: {said}"));
            }
        }
        Ok(())
    }
}
