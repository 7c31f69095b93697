//! Readings passed on to a real mosquitto and a real InfluxDB that are away for a while, and metrics as promtool reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::release_binary;
use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::run;
use crate::serving::{self, Serving};

const PATIENCE: Duration = Duration::from_secs(60);
const DEVICES: usize = 5;
const PASSWORD: &str = "not-for-the-log";

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let dir = context.target().join("forward");
    // Left from an earlier run.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let [broker, influx, backup, http, nobody] = [(); 5].map(|()| serving::free_addr());
    let mut story = Story {
        program: release_binary(context)?,
        dir,
        broker: broker?,
        influx: influx?,
        influx_backup: backup?,
        http: http?,
        nobody: nobody?,
        running: BTreeMap::new(),
        server: None,
        said: String::new(),
    };
    story.prepare()?;
    let mut tally = Tally::default();
    let steps: &[Step] = &[
        ("every window is with the broker and every sample in InfluxDB", Story::all_is_passed_on),
        ("broker and database go away, the server is killed: nothing is missing", Story::nothing_is_lost),
        ("each alert was raised once, whatever was away", Story::alerts),
        ("promtool takes the metrics, and a target that is nowhere shows", Story::metrics),
        ("a stop says so, and no secret was written", Story::goodbye),
    ];
    for (what, step) in steps {
        let done = step(&mut story);
        tally.add(Tally::one(done.is_ok()));
        match done {
            Ok(()) => context.say(&format!("{} {what}", context.paint("32", "ok"))),
            Err(why) => {
                let said = story.server.as_ref().map(Serving::said).unwrap_or_default();
                context.say(&format!(
                    "{} {what}: {why}\nthe server said:\n{said}",
                    context.paint("31", "FAILED")
                ));
            }
        }
    }
    Ok(tally)
}

/// What holds, and the part of the story that shows it.
type Step = (&'static str, fn(&mut Story) -> Result<()>);

struct Story {
    program: PathBuf,
    dir: PathBuf,
    broker: SocketAddr,
    influx: SocketAddr,
    influx_backup: SocketAddr,
    http: SocketAddr,
    /// Nobody listens there.
    nobody: SocketAddr,
    running: BTreeMap<&'static str, Running>,
    server: Option<Serving>,
    /// What servers that are gone have said.
    said: String,
}

/// A program that ends with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Story {
    fn prepare(&mut self) -> Result<()> {
        let (broker, nobody) = (self.broker, self.nobody);
        let mut passwd = Command::new("mosquitto_passwd");
        passwd.args(["-b", "-c", "users", "kinglet", PASSWORD]).current_dir(&self.dir);
        std::fs::write(self.dir.join("users"), "").map_err(|e| e.to_string())?;
        if !run::quiet(&mut passwd, PATIENCE)?.ok {
            return Err("mosquitto_passwd failed".into());
        }
        let user = if crate::need::is_root() { "user root\n" } else { "" };
        let mosquitto = format!(
            "listener {} 127.0.0.1\nallow_anonymous false\npassword_file {}/users\npersistence false\n{user}",
            broker.port(),
            self.dir.display()
        );
        let influx = format!(
            "reporting-disabled = true\nbind-address = \"{}\"\n[meta]\ndir = \"influx/meta\"\n[data]\ndir = \"influx/data\"\n\
             wal-dir = \"influx/wal\"\n[monitor]\nstore-enabled = false\n[http]\nbind-address = \"{}\"\n",
            self.influx_backup, self.influx
        );
        let server = format!(
            "[[forward]]\nkind = \"mqtt\"\nname = \"broker\"\nurl = \"mqtt://{broker}\"\nuser = \"kinglet\"\n\
             password_file = \"password\"\nhome_assistant = true\n\
             [[forward]]\nkind = \"mqtt\"\nname = \"packs\"\nurl = \"mqtt://{broker}\"\nuser = \"kinglet\"\n\
             password_file = \"password\"\ntopic = \"packs\"\nformat = \"senml\"\n\
             [[forward]]\nkind = \"influx\"\nurl = \"http://{}\"\ndatabase = \"kinglet\"\nhistory = true\n\
             [[forward]]\nkind = \"webhook\"\nurl = \"http://{nobody}\"\n\
             [[alert]]\nkind = \"range\"\nname = \"warm\"\nchannel = \"temperature\"\nabove = -90\n\
             to = [\"broker\", \"webhook\"]\n",
            self.influx
        );
        let files = [
            ("mosquitto.conf", mosquitto),
            ("influx.conf", influx),
            ("server.toml", server),
            ("password", format!("{PASSWORD}\n")),
        ];
        for (name, text) in files {
            std::fs::write(self.dir.join(name), text).map_err(|e| format!("{name}: {e}"))?;
        }
        self.start("mosquitto", &["-c", "mosquitto.conf"], broker)?;
        self.start("influxd", &["run", "-config", "influx.conf"], self.influx)?;
        self.query("CREATE DATABASE kinglet")?;
        let port = broker.port().to_string();
        let record = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-u",
            "kinglet",
            "-P",
            PASSWORD,
            "-q",
            "1",
            "-t",
            "#",
            "-F",
            "%r %t %p",
        ];
        self.spawn("mosquitto_sub", &record)?;
        // The recorder is to hear the first word.
        std::thread::sleep(Duration::from_millis(500));
        self.serve()
    }

    fn spawn(&mut self, program: &'static str, args: &[&str]) -> Result<()> {
        let log = self.dir.join(format!("{program}.log"));
        let out = File::options().append(true).create(true).open(&log).map_err(|e| e.to_string())?;
        let err = out.try_clone().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.dir).stdin(Stdio::null()).stdout(out);
        if program == "mosquitto_sub" {
            command.stderr(Stdio::null())
        } else {
            command.stderr(err)
        };
        let child = command.spawn().map_err(|e| format!("{program}: {e}"))?;
        self.running.insert(program, Running(child));
        Ok(())
    }

    fn start(&mut self, program: &'static str, args: &[&str], addr: SocketAddr) -> Result<()> {
        self.spawn(program, args)?;
        until(&format!("{program} does not listen"), || Ok(TcpStream::connect(addr).is_ok()))
    }

    fn signal(&self, program: &str, signal: &str) -> Result<()> {
        let pid = self.running.get(program).map(|running| running.0.id().to_string()).unwrap_or_default();
        run::stdout(Command::new("kill").args([signal, &pid])).map(drop)
    }

    fn serve(&mut self) -> Result<()> {
        let args = ["serve", "--data", "data", "--config", "server.toml"];
        self.server =
            Some(Serving::start(&self.program, &args, self.http, &self.dir, Duration::from_secs(30))?);
        Ok(())
    }

    /// Five devices that are new; the more windows a second, the further back their readings begin.
    fn simulate(&self, rate: &str, seconds: &str) -> Result<()> {
        let url = format!("http://{}", self.http);
        let mut command = Command::new(&self.program);
        let fleet =
            ["simulate", "--rate", rate, "--loss", "5%", "--seconds", seconds, "--data", "data", "--json"];
        command.args(fleet).args(["--devices", &DEVICES.to_string(), "--server", &url]);
        let ran = run::quiet(command.current_dir(&self.dir).env("HOME", &self.dir), PATIENCE)?;
        if ran.ok { Ok(()) } else { Err(format!("the fleet failed:\n{}", ran.text)) }
    }

    /// Everything the recorder has heard: retained or not, topic, body.
    fn heard(&self) -> Result<Vec<(bool, String, Value)>> {
        let text = std::fs::read_to_string(self.dir.join("mosquitto_sub.log")).map_err(|e| e.to_string())?;
        let line = |line: &str| {
            let mut parts = line.splitn(3, ' ');
            let (retained, topic, body) = (parts.next()?, parts.next()?, parts.next()?);
            Some((retained == "1", topic.to_owned(), serde_json::from_str(body).unwrap_or(Value::from(body))))
        };
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map(|(whole, _)| whole).unwrap_or_default();
        Ok(whole.lines().filter_map(line).collect())
    }

    /// A statement for InfluxDB.
    fn query(&self, statement: &str) -> Result<Value> {
        let wrong = |e: std::io::Error| format!("InfluxDB: {e}");
        let body = format!("q={}", statement.replace(' ', "+").replace('"', "%22"));
        let mut to = TcpStream::connect(self.influx).map_err(wrong)?;
        write!(
            to,
            "POST /query?db=kinglet HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .map_err(wrong)?;
        let mut text = String::new();
        to.read_to_string(&mut text).map_err(wrong)?;
        let json = text.find('{').map(|at| &text[at..]).unwrap_or_default();
        serde_json::from_str(json.trim_end_matches(['\r', '\n', '0']))
            .map_err(|e| format!("InfluxDB: {e}: {text}"))
    }

    /// Points InfluxDB holds.
    fn n_points(&self) -> Result<u64> {
        let answer = self.query("SELECT count(temperature) FROM kinglet")?;
        Ok(answer["results"][0]["series"][0]["values"][0][1].as_u64().unwrap_or(0))
    }

    /// Windows and samples the server has, by its own account.
    fn stored(&self) -> Result<(u64, u64)> {
        let (_, text) = serving::get(self.http, "/v1/devices")?;
        let devices: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        let devices =
            devices.as_array().or_else(|| devices["devices"].as_array()).cloned().unwrap_or_default();
        let (mut windows, mut samples) = (0, 0);
        for id in devices.iter().filter_map(|device| device["id"].as_str()) {
            let (_, text) = serving::get(self.http, &format!("/v1/devices/{id}"))?;
            let shown: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
            windows += shown["totals"]["windows"].as_u64().unwrap_or(0);
            let (_, text) = serving::get(self.http, &format!("/v1/devices/{id}/readings?limit=100000"))?;
            let readings: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            let channels = readings["channels"].as_array().cloned().unwrap_or_default();
            let idx = channels.iter().position(|channel| channel["name"] == "temperature").unwrap_or(0);
            // A sample the sensor missed has no such field; two of one time are one point.
            let taken = readings["readings"].as_array().cloned().unwrap_or_default();
            let taken = taken.iter().filter(|reading| reading["values"][idx].is_number());
            let times: BTreeSet<i64> = taken.filter_map(|reading| reading["t"].as_i64()).collect();
            samples += times.len() as u64;
        }
        Ok((windows, samples))
    }

    fn all_is_passed_on(&mut self) -> Result<()> {
        self.simulate("60", "4")?;
        self.compare()
    }

    /// What the server has is what the others have: all of it, in the order of storing, nothing else.
    fn compare(&self) -> Result<()> {
        let (windows, samples) = self.stored()?;
        if windows < 50 {
            return Err(format!("only {windows} windows were stored"));
        }
        let ids = || -> Result<(BTreeSet<String>, usize)> {
            let heard = self.heard()?;
            let readings = heard
                .iter()
                .filter(|(_, topic, _)| topic.starts_with("kinglet/") && topic.ends_with("/readings"));
            let ids: BTreeSet<String> =
                readings.map(|(.., body)| format!("{}/{}", body["device"], body["window"])).collect();
            let packs =
                heard.iter().filter(|(_, topic, _)| topic.starts_with("packs/") && topic.ends_with("/senml"));
            let packs: BTreeSet<String> =
                packs.map(|(_, topic, body)| format!("{topic} {}", body[0]["bt"])).collect();
            Ok((ids, packs.len()))
        };
        let (mut n, mut packs, mut points) = (0, 0, 0);
        let done = until("not all of it arrives", || {
            let (ids, n_packs) = ids()?;
            (n, packs, points) = (ids.len() as u64, n_packs as u64, self.n_points()?);
            Ok((n, packs, points) == (windows, windows, samples))
        });
        done.map_err(|why| {
            format!("{why}: {n} and {packs} of {windows} windows with the broker, {points} of {samples} points in InfluxDB")
        })
    }

    fn nothing_is_lost(&mut self) -> Result<()> {
        self.signal("mosquitto", "-STOP")?;
        self.running.remove("influxd");
        self.simulate("60", "3")?;
        // Frames are taken in all the while; then the power fails.
        if let Some(server) = self.server.take() {
            self.said += &server.said();
            server.kill();
        }
        self.serve()?;
        self.simulate("60", "2")?;
        self.signal("mosquitto", "-CONT")?;
        self.start("influxd", &["run", "-config", "influx.conf"], self.influx)?;
        self.compare()
    }

    /// By now the broker and the server were away, and two fleets have come.
    fn alerts(&mut self) -> Result<()> {
        let (_, text) = serving::get(self.http, "/v1/alerts?state=raised")?;
        let raised: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        let raised = raised["alerts"].as_array().cloned().unwrap_or_default();
        let devices: BTreeSet<&str> = raised.iter().filter_map(|alert| alert["device"].as_str()).collect();
        if devices.len() < DEVICES || devices.len() != raised.len() {
            return Err(format!("{} alerts of {} devices are raised: {text}", raised.len(), devices.len()));
        }
        until("not all of them are with the broker", || {
            let heard = self.heard()?;
            let told = heard.iter().filter(|(_, topic, _)| topic.ends_with("/alert"));
            // At least once: by their numbers they can be told apart.
            let told: BTreeSet<String> =
                told.map(|(_, topic, body)| format!("{topic} {} {}", body["alert"], body["state"])).collect();
            let wanted = |alert: &Value| {
                format!(
                    "kinglet/{}/alert {} \"raised\"",
                    alert["device"].as_str().unwrap_or_default(),
                    alert["alert"]
                )
            };
            Ok(told == raised.iter().map(wanted).collect())
        })
    }

    fn metrics(&mut self) -> Result<()> {
        let (status, text) = serving::get(self.http, "/metrics")?;
        if status != 200 {
            return Err(format!("/metrics answers {status}: {text}"));
        }
        let file = self.dir.join("metrics.txt");
        std::fs::write(&file, &text).map_err(|e| e.to_string())?;
        let file = File::open(&file).map_err(|e| e.to_string())?;
        let checked = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(file)
            .output()
            .map_err(|e| e.to_string())?;
        let said =
            String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        if !checked.status.success() || !said.trim().is_empty() {
            return Err(format!("promtool says: {said}"));
        }
        if text.contains("sim-") {
            return Err("a label names a device".into());
        }
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).unwrap_or(-1.0)
        };
        let waits = value("kinglet_forward_lag_seconds{target=\"webhook\"}");
        let none = value("kinglet_forward_lag_seconds{target=\"influx\"}");
        let failures = value("kinglet_forward_failures_total{target=\"webhook\"}");
        match waits > 0.0 && none == 0.0 && failures > 0.0 && value("kinglet_windows_stored_total") > 20.0 {
            true => serving::get(self.http, "/readyz").and_then(|(status, said)| match status {
                200 => Ok(()),
                _ => Err(format!("/readyz answers {status}: {said}")),
            }),
            false => Err(format!("the metrics do not show what happened:\n{text}")),
        }
    }

    fn goodbye(&mut self) -> Result<()> {
        let server = self.server.take().ok_or("there is no server")?;
        run::stdout(Command::new("kill").args(["-TERM", &server.id().to_string()]))?;
        until("nobody says that the server is gone", || {
            let heard = self.heard()?;
            let last = heard.iter().rfind(|(_, topic, _)| topic == "kinglet/status");
            Ok(last.is_some_and(|(.., body)| body == "offline"))
        })?;
        let said = self.said.clone() + &server.said();
        if said.contains(PASSWORD) {
            return Err("the password is in the log".into());
        }
        match said.contains("readings wait in the store") {
            true => Ok(()),
            false => Err(format!("the log says nothing of targets that were away:\n{said}")),
        }
    }
}

fn until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match done() {
            Ok(true) => return Ok(()),
            Ok(false) | Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(200)),
            Ok(false) => return Err(what.into()),
            Err(why) => return Err(format!("{what}: {why}")),
        }
    }
}
