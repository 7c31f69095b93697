//! The sketches, as `kinglet export` gives them to people: on the host against fakes of the board and the real server,
//! and one on a real Arduino core in simavr.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::tflm::{self, Tflm};
use super::{LIMIT, must};
use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::need::{self, Need};
use crate::run;
use crate::serving::{self, Serving};
use crate::stages::release_binary;

const CORE: &str = "/usr/share/arduino/hardware/arduino/avr";
const AVR: &[Need] = &[
    Need::Program { name: "avr-g++", package: "gcc-avr" },
    Need::File { path: "/usr/lib/avr/include/avr/io.h", package: "avr-libc" },
    Need::File {
        path: "/usr/share/arduino/hardware/arduino/avr/cores/arduino/main.cpp",
        package: "arduino-core-avr",
    },
    Need::Program { name: "simavr", package: "simavr" },
];
const BOARD: &[&str] = &[
    "-mmcu=atmega1284p",
    "-DF_CPU=16000000L",
    "-DARDUINO=10807",
    "-DARDUINO_ARCH_AVR",
    "-Os",
    "-ffunction-sections",
    "-fdata-sections",
];
/// Samples the sealed sketch takes, one a second, before it is told to send the rest.
const SECONDS: u64 = 14;

pub(super) fn stage(context: &Context, dir: &Path) -> Result<Tally> {
    let cxx = [
        Need::Program { name: "g++", package: "g++" },
        Need::File { path: "/usr/include/mbedtls/ssl.h", package: "libmbedtls-dev" },
    ];
    if let Err(why) = need::meet(context, &cxx) {
        context.say(&format!("sketches: skipped. {why}"));
        return Ok(Tally { skipped: 1, ..Tally::default() });
    }
    let work = dir.join("sketches");
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
    let board = Board { context, program: release_binary(context)?, work };
    board.export()?;
    let (mut tally, mut n_skipped) = (Tally::default(), 0);
    let mut note = |what: &str, done: Result<()>| {
        context.say(&match &done {
            Ok(()) => format!("{} {what}", context.paint("32", "ok")),
            Err(why) => format!("{} {what}: {why}", context.paint("31", "FAILED")),
        });
        tally.add(Tally::one(done.is_ok()));
    };
    let sealed = board.host("Sealed")?;
    let [http, mqtts] = std::thread::scope(|scope| {
        let by = |scheme| {
            let (board, sealed) = (&board, &sealed);
            scope.spawn(move || board.sealed(sealed, scheme))
        };
        ["http", "mqtts"].map(by).map(|story| story.join().unwrap_or_else(|_| Err("it panicked".into())))
    });
    note("the sealed sketch's readings are stored, once, through an outage and a reboot, by HTTP", http);
    note("the same by MQTT and TLS; a server with another certificate gets nothing", mqtts);
    let by_c = board.export_seed().and_then(|()| {
        let sketch = board.host_sketch(&board.work.join("seed/Seed/Seed.ino"), None)?;
        board.seed("seed", &sketch)
    });
    let answers = by_c.as_deref().unwrap_or_default().to_vec();
    note("the seed's sketch is answered with its readings", by_c.map(drop));
    match need::meet(context, tflm::NEEDS) {
        Ok(()) => {
            let done =
                tflm::built(context, &dir.join("tflm")).and_then(|tflm| board.seed_by_tflm(&tflm, &answers));
            note("the same by TensorFlow Lite Micro, in float and in int8", done);
        }
        Err(why) => {
            context.say(&format!("TensorFlow Lite Micro: skipped. {why}"));
            n_skipped += 1;
        }
    }
    match need::meet(context, AVR) {
        Ok(()) => note("the encoder says the same on a real Arduino core", board.arduino_core()),
        Err(why) => {
            context.say(&format!("Arduino core: skipped. {why}"));
            n_skipped += 1;
        }
    }
    tally.skipped += n_skipped;
    Ok(tally)
}

struct Board<'a> {
    context: &'a Context,
    program: PathBuf,
    work: PathBuf,
}

impl Board<'_> {
    /// A bundle whose samples come every second, exported as a library.
    fn export(&self) -> Result<()> {
        let mut csv = String::from("time,temperature,humidity\n");
        let (mut dice, mut t, mut h) = (1_u32, 200_i32, 500_i32);
        for second in 0..1500 {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            t += (dice >> 24) as i32 % 3 - 1;
            h += (dice >> 16 & 255) as i32 % 5 - 2;
            csv += &format!(
                "{},{}.{},{}.{}\n",
                1_790_000_000 + second,
                t / 10,
                t.rem_euclid(10),
                h / 10,
                h.rem_euclid(10)
            );
        }
        std::fs::write(self.work.join("fast.csv"), csv).map_err(|e| format!("fast.csv: {e}"))?;
        self.kinglet(&["train", "fast.csv", "--bound", "0.2,1", "--window", "4", "--out", "fast.kinglet"])?;
        self.kinglet(&["export", "fast.kinglet", "--to", "arduino", "--out", "Kinglet"])?;
        let compiled = run::each(&super::sources_in(&self.work.join("Kinglet/src"))?, |source| {
            let mut compile = Command::new("cc");
            compile.args(["-std=c99", "-O2", "-c"]).arg(source).arg("-o").arg(source.with_extension("o"));
            must(self.context, &mut compile)
        });
        compiled.into_iter().collect()
    }

    fn kinglet(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.work).env("HOME", &self.work);
        let ran = run::quiet(&mut command, LIMIT)?;
        if ran.ok { Ok(ran.text) } else { Err(format!("kinglet {} failed:\n{}", args.join(" "), ran.text)) }
    }

    /// Compiles an example of the library for the host.
    fn host(&self, name: &str) -> Result<PathBuf> {
        self.host_sketch(&self.work.join(format!("Kinglet/examples/{name}/{name}.ino")), None)
    }

    fn host_sketch(&self, sketch: &Path, tflm: Option<&Tflm>) -> Result<PathBuf> {
        let fakes = self.context.root.join("arduino/test/fakes");
        let library = self.work.join("Kinglet");
        let program = sketch.with_extension("");
        let mut compile = Command::new("g++");
        compile.args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-O1", "-g"]);
        compile.arg("-I").arg(&fakes).arg("-I").arg(library.join("src")).args(["-include", "Arduino.h"]);
        for include in tflm.iter().flat_map(|tflm| &tflm.includes) {
            compile.arg("-isystem").arg(include);
        }
        compile.args(["-x", "c++"]).arg(sketch);
        compile.args(["-x", "none"]).args(tflm.iter().flat_map(|tflm| &tflm.objects));
        compile.args(super::sources_in(&fakes)?).args(objects(&library.join("src"))?);
        compile.args(["-lmbedtls", "-lmbedx509", "-lmbedcrypto"]);
        must(self.context, compile.arg("-o").arg(&program))?;
        Ok(program)
    }

    /// Two boots of the board: the first loses its Wi-Fi after the join, the second has it and sends what waits.
    fn sealed(&self, sketch: &Path, scheme: &str) -> Result<()> {
        let boot = Boot::new(sketch, self.work.join(scheme))?;
        let (addr, mqtts) = (serving::free_addr()?, serving::free_addr()?);
        let (data, key) = (format!("{scheme}/data"), format!("{scheme}/porch.key"));
        let by_mqtts = mqtts.to_string();
        let serve = ["serve", "--data", "data", "--mqtts", &by_mqtts];
        let serving = Serving::start(&self.program, &serve, addr, &boot.dir, Duration::from_secs(30))?;
        let url = if scheme == "http" { format!("http://{addr}") } else { format!("mqtts://{mqtts}") };
        let add = ["device", "add", "porch", "--bundle", "fast.kinglet", "--server", &url, "--data", &data];
        self.kinglet(&[&add[..], &["--key-out", &key]].concat())?;
        let key = read(&self.work.join(key))?;
        let n = 2 * SECONDS;
        let lines: String = (0..n).map(|i| format!("{}.{},{}.5\n", 20 + i / 10, i % 10, 40 + i)).collect();
        let (first, second) =
            lines.split_at(lines.match_indices('\n').nth(SECONDS as usize - 1).map_or(0, |m| m.0 + 1));
        let typed = format!("wifi home secret\n{}\n", key.trim());
        let cut = std::thread::spawn({
            let down = boot.down();
            move || {
                std::thread::sleep(Duration::from_secs(6));
                std::fs::write(down, "")
            }
        });
        let said = boot.run(first, &typed, SECONDS)?;
        cut.join().map_err(|_| "the outage did not begin")?.map_err(|e| format!("wifi-is-down: {e}"))?;
        if !said.contains("joined") || !said.contains("lost 0") || said.contains("windows waiting 0") {
            return Err(format!("with an outage the sketch said:\n{said}"));
        }
        std::fs::remove_file(boot.down()).map_err(|e| format!("wifi-is-down: {e}"))?;
        let said = boot.run(second, "", SECONDS)?;
        if !said.contains("boot 2, samples open 0, windows waiting 0, lost 0") {
            return Err(format!("after the outage the sketch said:\n{said}"));
        }
        let (status, body) = serving::get(addr, "/v1/devices/porch/readings")?;
        if scheme == "mqtts" {
            self.another_certificate(sketch, &typed)?;
        }
        serving.kill();
        stored_once(&body, n as usize).map_err(|why| format!("status {status}: {why}: {body}"))
    }

    /// A board with everything right but the certificate it was told to believe.
    fn another_certificate(&self, sketch: &Path, typed: &str) -> Result<()> {
        let boot = Boot::new(sketch, self.work.join("another-certificate"))?;
        let at = typed.find("sha256%3A").ok_or("the provisioning has no pin")? + 9;
        let digit = if typed[at..].starts_with('0') { "1" } else { "0" };
        let said = boot.run("", &format!("{}{digit}{}", &typed[..at], &typed[at + 1..]), 4)?;
        if said.contains("ready as porch")
            && said.contains("not the one that was pinned")
            && !said.contains("joined")
        {
            Ok(())
        } else {
            Err(format!("before a server with another certificate the sketch said:\n{said}"))
        }
    }

    /// The seed's bundle and its sketches.
    fn export_seed(&self) -> Result<()> {
        for (out, more) in [("seed", &[][..]), ("int8", &["--int8"])] {
            let bundle = format!("{out}.kinglet");
            self.kinglet(&[&["train", "--preset", "seed", "--out", &bundle], more].concat())?;
            self.kinglet(&["export", &bundle, "--to", "arduino", "--out", out])?;
        }
        Ok(())
    }

    /// A sketch of the seed's and `POST /decode`: the answers are what was measured, as near as the autoencoder comes.
    fn seed(&self, bundle: &str, sketch: &Path) -> Result<Vec<f64>> {
        let name = sketch.file_name().unwrap_or_default().to_string_lossy();
        let boot = Boot::new(sketch, self.work.join(format!("{bundle}-{name}-board")))?;
        let (addr, decode) = (serving::free_addr()?, serving::free_addr()?.to_string());
        let path = format!("../{bundle}.kinglet");
        let serve = ["serve", "--data", "data", "--decode", "--bundle", &path, "--seed-port", &decode];
        let serving = Serving::start(&self.program, &serve, addr, &boot.dir, Duration::from_secs(30))?;
        let typed = format!("wifi home secret\nserver http://{decode}\n");
        let said = boot.run("21.0,40\n,40\n33.0,40\n60.0,40\n", &typed, SECONDS)?;
        serving.kill();
        let answers: Vec<f64> = said
            .lines()
            .filter_map(|line| line.strip_prefix("answer 200 "))
            .filter_map(|body| serde_json::from_str::<Value>(body).ok())
            .filter_map(|body| body.as_object()?.values().find_map(Value::as_f64))
            .collect();
        let is_refused = said.contains("no reading, or one outside");
        match answers[..] {
            [a, b] if (a - 21.0).abs() < 2.0 && (b - 33.0).abs() < 2.0 && is_refused => Ok(answers),
            _ => Err(format!("the sketch said:\n{said}")),
        }
    }

    /// TensorFlow Lite Micro runs the exported encoders: the float one answers as plain C does.
    fn seed_by_tflm(&self, tflm: &Tflm, by_c: &[f64]) -> Result<()> {
        let build =
            |bundle| self.host_sketch(&self.work.join(bundle).join("SeedTflm/SeedTflm.ino"), Some(tflm));
        let float = self.seed("seed", &build("seed")?)?;
        self.seed("int8", &build("int8")?)?;
        let is_same = float.len() == by_c.len() && float.iter().zip(by_c).all(|(a, b)| (a - b).abs() <= 0.02);
        if is_same { Ok(()) } else { Err(format!("{float:?} by TensorFlow Lite Micro, {by_c:?} in plain C")) }
    }

    /// The same sketch on the host and on the core that boards have.
    fn arduino_core(&self) -> Result<()> {
        let mut on_host = Command::new(self.host("Encode")?);
        let expected = run::quiet(on_host.env("FAKE_SECONDS", "1"), LIMIT)?.text;
        let built = self.work.join("avr");
        std::fs::create_dir_all(&built).map_err(|e| format!("{}: {e}", built.display()))?;
        let core = Path::new(CORE).join("cores/arduino");
        let library = self.work.join("Kinglet");
        let mut objects = Vec::new();
        let mut sources = super::sources_in(&core)?;
        sources.extend(super::sources_in(&library.join("src"))?);
        for source in sources {
            let is_c = source.extension().is_some_and(|x| x == "c");
            let object = built.join(source.file_name().unwrap_or_default()).with_extension("o");
            must(self.context, avr(is_c).arg("-w").arg("-c").arg(&source).arg("-o").arg(&object))?;
            objects.push(object);
        }
        let elf = built.join("encode.elf");
        let mut link = avr(false);
        link.args(["-Wall", "-Wextra", "-Werror", "-I"]).arg(library.join("src"));
        link.args(["-include", "Arduino.h", "-x", "c++"]).arg(library.join("examples/Encode/Encode.ino"));
        link.args(["-x", "none"]).args(&objects).args(["-Wl,--gc-sections", "-o"]).arg(&elf);
        must(self.context, &mut link)?;
        // A sketch never ends of itself; it is done within a tenth of this.
        let mut simulator = Command::new("timeout");
        simulator.args(["20", "simavr", "-m", "atmega1284p", "-f", "16000000"]).arg(&elf);
        let ran = run::quiet(&mut simulator, LIMIT)?;
        let said: Vec<String> = run::plain(&ran.text)
            .lines()
            .map(|line| line.trim_end_matches(['.', '\r']).to_string())
            .filter(|line| !line.is_empty() && !line.starts_with("Loaded") && !line.starts_with("signal"))
            .collect();
        let expected: Vec<&str> = expected.lines().filter(|line| !line.is_empty()).collect();
        if expected.last() == Some(&"done") && said == expected {
            Ok(())
        } else {
            Err(format!("the core said {said:?}, the host {expected:?}"))
        }
    }
}

/// A sketch on a board of its own.
struct Boot<'a> {
    sketch: &'a Path,
    /// Where its storage, its flash and its sensor's file are.
    dir: PathBuf,
}

impl<'a> Boot<'a> {
    fn new(sketch: &'a Path, dir: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(dir.join("store")).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Self { sketch, dir })
    }

    /// While this file is there, Wi-Fi is not.
    fn down(&self) -> PathBuf {
        self.dir.join("wifi-is-down")
    }

    /// Runs the sketch for so many samples of `readings`; then it is told to send what it has, and switched off.
    fn run(&self, readings: &str, typed: &str, seconds: u64) -> Result<String> {
        std::fs::write(self.dir.join("dht.txt"), readings).map_err(|e| format!("dht.txt: {e}"))?;
        let mut child = Command::new(self.sketch)
            .current_dir(&self.dir)
            .env("FAKE_DHT", "dht.txt")
            .env("FAKE_STORE", "store")
            .env("FAKE_WIFI_DOWN", self.down())
            .env("FAKE_SECONDS", (seconds + 6).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", self.sketch.display()))?;
        let mut serial = child.stdin.take().ok_or("no serial line")?;
        let typing = (|| {
            serial.write_all(typed.as_bytes())?;
            // Half a period before the next sample would be taken.
            std::thread::sleep(Duration::from_millis(1000 * seconds - 500));
            serial.write_all(b"flush\n")?;
            std::thread::sleep(Duration::from_millis(400));
            serial.write_all(b"stats\n")
        })();
        std::thread::sleep(Duration::from_millis(300));
        // The board is switched off before it measures again.
        let _ = child.kill();
        let out = child.wait_with_output().map_err(|e| format!("{}: {e}", self.sketch.display()))?;
        typing.map_err(|e| format!("the serial line broke: {e}"))?;
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }
}

/// Each sample has a humidity of its own, 40.5, 41.5, …, and the bound is 1.
fn stored_once(body: &str, n: usize) -> Result<()> {
    let body: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let mut found = vec![0; n];
    for row in body["readings"].as_array().ok_or("no readings")? {
        let humidity = row["values"][1].as_f64().ok_or("a reading without humidity")?;
        let mut free = (0..n).filter(|i| found[*i] == 0);
        let near = free.find(|i| (humidity - (40.5 + *i as f64)).abs() <= 1.000_001);
        found[near.ok_or(format!("{humidity} was never measured, or came twice"))?] = 1;
    }
    let n_found: usize = found.iter().sum();
    // A boot begins and ends within a period: the last sample of each may not have been taken.
    if n_found + 3 >= n { Ok(()) } else { Err(format!("{n_found} of {n} samples are stored")) }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn avr(is_c: bool) -> Command {
    let mut compile = Command::new(if is_c { "avr-gcc" } else { "avr-g++" });
    compile.args(BOARD);
    compile.arg("-I").arg(Path::new(CORE).join("cores/arduino"));
    compile.arg("-I").arg(Path::new(CORE).join("variants/standard"));
    if is_c {
        compile.arg("-std=gnu11");
    } else {
        compile.args(["-std=gnu++11", "-fno-exceptions", "-fno-threadsafe-statics"]);
        // The core is written for a compiler whose float.h has it in C++ too.
        compile.arg("-DDECIMAL_DIG=__DECIMAL_DIG__");
    }
    compile
}

fn objects(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == "o")).collect())
}
