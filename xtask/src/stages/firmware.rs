//! The ESP32 firmware: its parts tested on the host and against a real server, its images built, checked and weighed.
//!
//! No image is executed: nothing here emulates an ESP32's radio. What it would do is what its parts do here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use object::{Object, ObjectSection};

mod board;

use super::cargo::LONG;
use super::{RV32, RV32A, release_binary};
use crate::Result;
use crate::context::Context;
use crate::counts::{self, Tally};
use crate::need;
use crate::run::{self, Ran};

/// An image that is built.
struct Image {
    chip: &'static str,
    target: &'static str,
    /// Beside the chip: `seed`, `tls`, or nothing.
    more: &'static str,
    /// Bytes it may have at most.
    len_max: u64,
}

/// Some kilobytes above what they have, so that growth is seen: the same sources in a folder of another name differ by up to
/// 600 bytes, as names of symbols decide in which order functions are inlined. At most 700 kB are wanted of the C3's, bundles
/// over the air, MQTT and sleep included, and 900 with TLS.
const IMAGES: &[Image] = &[
    Image { chip: "esp32c3", target: RV32, more: "", len_max: 700_000 },
    Image { chip: "esp32c3", target: RV32, more: "seed", len_max: 555_000 },
    Image { chip: "esp32c3", target: RV32, more: "tls", len_max: 770_000 },
    Image { chip: "esp32c6", target: RV32A, more: "", len_max: 783_000 },
];
/// Statics of an image: what is left is stack, and heap beyond its own.
const RAM_MAX: u64 = 200 * 1024;

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let dir = context.target().join("firmware-work");
    // Left from an earlier run.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let stage = Stage { context, program: release_binary(context)?, dir };
    let mut tally = stage.parts()?;
    let mut check = |what: &str, done: Result<String>| {
        tally.add(Tally::one(done.is_ok()));
        match done {
            Ok(said) => context.say(&format!("{} {what}{said}", context.paint("32", "ok"))),
            Err(why) => context.say(&format!("{} {what}: {why}", context.paint("31", "FAILED"))),
        }
    };
    match stage.boards() {
        Ok(boards) => {
            let changed = "a board of parts sends what its wire said, before and after a bundle over the air";
            check(changed, boards.by_http());
            check("the same by MQTT", boards.by_mqtt());
            let asleep =
                "by MQTT and TLS from a board that sleeps; a server with another certificate gets nothing";
            check(asleep, boards.asleep_by_mqtts());
        }
        Err(why) => check("boards of parts", Err(why)),
    }
    check("partitions.csv fits 4 MB of flash", stage.partitions().map(|_| String::new()));
    for image in IMAGES {
        let of = match image.more {
            "seed" => ", the seed's own use",
            "tls" => ", with TLS",
            _ => "",
        };
        check(&format!("image for {}{of}", image.chip), stage.image(image));
    }
    Ok(tally)
}

struct Stage<'a> {
    context: &'a Context,
    program: PathBuf,
    dir: PathBuf,
}

impl Stage<'_> {
    /// Its own target folder: other features of the same crates, for other chips.
    fn cargo(&self, args: &[&str]) -> Command {
        let mut cargo = run::cargo(self.context, &self.context.root.join("firmware/esp32"), args);
        cargo.env("CARGO_TARGET_DIR", self.target());
        cargo
    }

    fn target(&self) -> PathBuf {
        self.context.target().join("firmware")
    }

    fn kinglet(&self, args: &[&str]) -> Result<String> {
        let mut kinglet = Command::new(&self.program);
        kinglet.args(args).current_dir(&self.dir).env("HOME", &self.dir).env_remove("KINGLET_WIFI_PASSWORD");
        let ran = run::quiet(&mut kinglet, Duration::from_secs(120))?;
        if ran.ok { Ok(ran.text) } else { Err(format!("kinglet {} failed:\n{}", args.join(" "), ran.text)) }
    }

    fn parts(&self) -> Result<Tally> {
        let args =
            ["test", "--locked", "--package", "kinglet-esp32-parts", "--features", "seed,tls", "--lib"];
        let ran = run::show(self.context, &mut self.cargo(&args), LONG)?;
        let counted = counts::libtest(&ran.text).unwrap_or_default();
        if !ran.ok && counted.failed == 0 {
            return Err("the firmware's parts do not compile".into());
        }
        let args = [
            "clippy",
            "--locked",
            "--package",
            "kinglet-esp32-parts",
            "--features",
            "seed,tls",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        let linted = run::show(self.context, &mut self.cargo(&args), LONG)?;
        let mut tally = counted;
        tally.add(Tally::one(linted.ok));
        Ok(tally)
    }

    fn image(&self, image: &Image) -> Result<String> {
        let features = format!("{},{}", image.chip, image.more);
        if image.more == "seed" {
            self.kinglet(&["train", "--preset", "seed", "--out", "seed.kinglet", "--force"])?;
        }
        let mut chain = vec!["build"];
        if image.more != "seed" {
            chain.push("clippy");
        }
        for verb in chain.iter().rev() {
            let args = [
                verb,
                "--locked",
                "--release",
                "--bin",
                "kinglet-esp32",
                "--features",
                &features,
                "--target",
                image.target,
            ];
            let deny: &[&str] = if *verb == "clippy" { &["--", "-D", "warnings"] } else { &[] };
            let mut cargo = self.cargo(&[&args[..], deny].concat());
            cargo.env("KINGLET_SEED_BUNDLE", self.dir.join("seed.kinglet"));
            must(run::show(self.context, &mut cargo, LONG)?, "it does not build")?;
        }
        let elf = self.target().join(image.target).join("release/kinglet-esp32");
        let bin = self.dir.join(format!("kinglet-{}.bin", features.trim_end_matches(',').replace(',', "-")));
        let esptool = |args: &[&str]| {
            let mut python = Command::new(need::python(self.context));
            python.args(["-m", "esptool"]).args(args);
            run::quiet(&mut python, Duration::from_secs(120))
        };
        let (elf_text, bin_text) = (elf.display().to_string(), bin.display().to_string());
        let make = [
            "--chip",
            image.chip,
            "elf2image",
            "--flash-mode",
            "dio",
            "--flash-size",
            "4MB",
            "-o",
            &bin_text,
            &elf_text,
        ];
        must(esptool(&make)?, "esptool makes no image of it")?;
        let info = esptool(&["image-info", &bin_text])?;
        let said = info.text.clone();
        must(info, "esptool does not read the image")?;
        let valid = |what: &str| said.lines().any(|line| line.starts_with(what) && line.contains("(valid)"));
        if !valid("Checksum") || !valid("Validation hash") {
            return Err(format!("esptool finds the image invalid:\n{said}"));
        }
        let len = std::fs::metadata(&bin).map_err(|e| format!("{bin_text}: {e}"))?.len();
        let (ram, code) = ram_of(&elf)?;
        if len > image.len_max || ram > RAM_MAX {
            return Err(format!(
                "{len} bytes of flash, {ram} of RAM; allowed are {} and {RAM_MAX}",
                image.len_max
            ));
        }
        if len > self.partitions()? {
            return Err(format!("{len} bytes are more than its partition has"));
        }
        Ok(format!(
            ": {len} bytes of flash (≤ {}), {ram} of RAM in statics, {code} of code in RAM",
            image.len_max
        ))
    }

    /// Bytes of the app's partition, if the table is sound.
    fn partitions(&self) -> Result<u64> {
        let path = self.context.root.join("firmware/esp32/partitions.csv");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        app_len(&text)
    }
}

fn must(ran: Ran, why: &str) -> Result<()> {
    if ran.ok { Ok(()) } else { Err(format!("{why}:\n{}", ran.text)) }
}

/// Bytes in RAM of statics, and of code that runs from RAM. The linker's dummies only keep places free.
fn ram_of(elf: &Path) -> Result<(u64, u64)> {
    let bytes = std::fs::read(elf).map_err(|e| format!("{}: {e}", elf.display()))?;
    let file = object::File::parse(&*bytes).map_err(|e| format!("{}: {e}", elf.display()))?;
    let sum = |of: &[&str]| {
        let of = file.sections().filter(|s| s.name().is_ok_and(|name| of.contains(&name)));
        of.map(|section| section.size()).sum::<u64>()
    };
    let statics = sum(&[".data", ".data.wifi", ".bss", ".noinit"]);
    if statics == 0 {
        Err("the image has no statics".into())
    } else {
        Ok((statics, sum(&[".trap", ".rwtext", ".rwtext.wifi"])))
    }
}

/// Bytes of the first `app` partition. Partitions follow each other without overlap, on sectors, within 4 MB.
fn app_len(table: &str) -> Result<u64> {
    let number = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
    let (mut end, mut app) = (0x9000, None);
    for line in table.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').collect();
        let (at, len) = match cells.as_slice() {
            [_, _, _, at, len] => number(at).zip(number(len)).ok_or_else(|| format!("no numbers: {line}"))?,
            _ => return Err(format!("not five cells: {line}")),
        };
        let is_app = cells[1].trim() == "app";
        let unit = if is_app { 0x1_0000 } else { 0x1000 };
        if at < end || at % unit != 0 || len % 0x1000 != 0 || at + len > 4 << 20 {
            return Err(format!("it overlaps, is not aligned or does not fit: {line}"));
        }
        end = at + len;
        if is_app {
            app.get_or_insert(len);
        }
    }
    app.ok_or_else(|| "there is no app partition".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_overlap_or_do_not_fit_are_found() {
        let table = |rows: &[&str]| app_len(&format!("# Name\n{}\n", rows.join("\n")));
        assert_eq!(
            table(&["f, app, factory, 0x10000, 0x180000", "d, data, 0x40, 0x190000, 0x1000"]),
            Ok(0x18_0000)
        );
        assert!(table(&["f, app, factory, 0x10000, 0x180000", "d, data, 0x40, 0x180000, 0x1000"]).is_err());
        assert!(table(&["f, app, factory, 0x11000, 0x180000"]).is_err());
        assert!(table(&["f, app, factory, 0x10000, 0x400000"]).is_err());
        assert!(table(&["d, data, 0x40, 0x190000, 0x1000"]).is_err());
        assert!(table(&["f, app, factory, 0x10000"]).is_err());
    }
}
