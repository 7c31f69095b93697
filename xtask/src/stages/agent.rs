//! `kinglet send` as it runs on a Raspberry Pi: cross-built, run by QEMU, against a server of this machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::cargo::LONG;
use super::release_binary;
use crate::Result;
use crate::context::Context;
use crate::counts::Tally;
use crate::run;
use crate::serving::{self, Serving};

/// A kind of machine.
struct Machine {
    name: &'static str,
    target: &'static str,
    /// Prefix of its C compiler, which also names its libraries' folder.
    gcc: &'static str,
    qemu: &'static str,
}

const MACHINES: &[Machine] = &[
    Machine {
        name: "aarch64 (Raspberry Pi 3 and later, 64 bits)",
        target: "aarch64-unknown-linux-gnu",
        gcc: "aarch64-linux-gnu",
        qemu: "qemu-aarch64",
    },
    Machine {
        name: "armv7 (Raspberry Pi 2 and later, 32 bits)",
        target: "armv7-unknown-linux-gnueabihf",
        gcc: "arm-linux-gnueabihf",
        qemu: "qemu-arm",
    },
];

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let host = release_binary(context)?;
    let mut tally = Tally::default();
    for machine in MACHINES {
        let done = build(context, machine).and_then(|program| story(context, machine, &host, &program));
        tally.add(Tally::one(done.is_ok()));
        match done {
            Ok(n) => context.say(&format!(
                "{} {}: {n} samples of a sensor stored",
                context.paint("32", "ok"),
                machine.name
            )),
            Err(why) => context.say(&format!("{} {}: {why}", context.paint("31", "FAILED"), machine.name)),
        }
    }
    Ok(tally)
}

/// Unoptimised: whether it runs is to be seen, not how fast.
fn build(context: &Context, machine: &Machine) -> Result<PathBuf> {
    let args =
        ["build", "--locked", "--package", "kinglet", "--no-default-features", "--target", machine.target];
    let mut cargo = run::cargo(context, &context.root, &args);
    let (upper, under) = (machine.target.to_uppercase().replace('-', "_"), machine.target.replace('-', "_"));
    let gcc = format!("{}-gcc", machine.gcc);
    cargo.env(format!("CARGO_TARGET_{upper}_LINKER"), &gcc).env(format!("CC_{under}"), &gcc);
    cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    if !run::show(context, &mut cargo, LONG)?.ok {
        return Err("it does not build".into());
    }
    Ok(context.target().join(machine.target).join("debug/kinglet"))
}

/// Registered here, sampled there, stored here: through a server that is not there at first.
fn story(context: &Context, machine: &Machine, host: &Path, program: &Path) -> Result<usize> {
    let dir = context.target().join("agent-work").join(machine.target);
    // Left from an earlier run.
    let _ = std::fs::remove_dir_all(&dir);
    let sensor = dir.join("iio/iio:device0");
    std::fs::create_dir_all(&sensor).map_err(|e| format!("{}: {e}", sensor.display()))?;
    for (file, text) in
        [("name", "dht11@4"), ("in_temp_input", "21400"), ("in_humidityrelative_input", "45000")]
    {
        std::fs::write(sensor.join(file), text).map_err(|e| format!("{file}: {e}"))?;
    }
    let here = |args: &[&str]| {
        let ran = run::quiet(
            Command::new(host).args(args).current_dir(&dir).env("HOME", &dir),
            Duration::from_secs(60),
        )?;
        if ran.ok { Ok(()) } else { Err(format!("kinglet {} failed:\n{}", args.join(" "), ran.text)) }
    };
    here(&["bundles", "export", "dht11"])?;
    let addr = serving::free_addr()?;
    let url = format!("http://{addr}");
    here(&[
        "device",
        "add",
        "porch",
        "--bundle",
        "dht11.kinglet",
        "--key-out",
        "porch.key",
        "--data",
        "data",
        "--server",
        &url,
    ])?;
    let mut agent = Command::new(machine.qemu);
    agent.arg("-L").arg(format!("/usr/{}", machine.gcc)).arg(program);
    agent.args([
        "send",
        "--key",
        "porch.key",
        "--bundle",
        "dht11.kinglet",
        "--outbox",
        "porch.outbox",
        "--iio=iio",
    ]);
    agent.args(["--every", "1s", "--max-delay", "1s"]).current_dir(&dir).env("HOME", &dir);
    let log = std::fs::File::create(dir.join("agent.log")).map_err(|e| e.to_string())?;
    let err = log.try_clone().map_err(|e| e.to_string())?;
    agent.stdin(Stdio::null()).stdout(log).stderr(err);
    let mut agent = agent.spawn().map_err(|e| format!("{} could not be started: {e}", machine.qemu))?;
    std::thread::sleep(Duration::from_secs(3));
    let told = Serving::start(host, &["serve", "--data", "data"], addr, &dir, Duration::from_secs(30))
        .and_then(|server| {
            let said = || std::fs::read_to_string(dir.join("agent.log")).unwrap_or_default();
            let n = wait(&mut agent, || stored(&server)).map_err(|why| format!("{why}:\n{}", said()))?;
            end(&mut agent).map_err(|why| format!("{why}:\n{}", said()))?;
            Ok(n)
        });
    // If it has ended by itself there is nobody to kill.
    let _ = agent.kill();
    let _ = agent.wait();
    told
}

/// Samples on the server; the readings must be the sensor's.
fn stored(server: &Serving) -> Result<usize> {
    match serving::get(server.addr, "/v1/devices/porch/readings?from=0&format=csv")? {
        (200, body) => {
            let rows: Vec<&str> = body.lines().skip(1).collect();
            let wrong = rows.iter().find(|row| {
                let cells: Vec<Option<f64>> = row.split(',').skip(1).map(|cell| cell.parse().ok()).collect();
                !matches!(cells[..], [Some(t), Some(h)] if (t - 21.4).abs() <= 1.0 && (h - 45.0).abs() <= 2.0)
            });
            wrong.map_or(Ok(rows.len()), |row| Err(format!("the sensor did not say {row}")))
        }
        (404, _) => Ok(0),
        (status, body) => Err(format!("readings: status {status}: {body}")),
    }
}

fn wait(agent: &mut Child, mut stored: impl FnMut() -> Result<usize>) -> Result<usize> {
    let end = Instant::now() + Duration::from_secs(90);
    while Instant::now() < end {
        if let Ok(Some(status)) = agent.try_wait() {
            return Err(format!("it ended by itself with {status}"));
        }
        let n = stored()?;
        if n >= 6 {
            return Ok(n);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Err("nothing was stored in 90 s".into())
}

/// SIGTERM: it must send what it has and end well.
fn end(agent: &mut Child) -> Result<()> {
    let told = Command::new("kill").args(["-TERM", &agent.id().to_string()]).status();
    if !told.is_ok_and(|status| status.success()) {
        return Err("it cannot be told to end".into());
    }
    let end = Instant::now() + Duration::from_secs(40);
    while Instant::now() < end {
        match agent.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("told to end, it ended with {status}")),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    Err("told to end, it did not".into())
}
