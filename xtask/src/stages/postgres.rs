//! The shared store against a real PostgreSQL, started for this alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::cargo::LONG;
use crate::Result;
use crate::context::Context;
use crate::counts::{self, Tally};
use crate::{run, serving};

pub(super) fn stage(context: &Context) -> Result<Tally> {
    let database = Database::start()?;
    let binary = super::release_binary(context)?;
    let tests = [
        "store_contract",
        "store_shared",
        "shared_servers",
        "store_tls",
        "store_copy",
        "live_shared",
        "alerts",
    ];
    let mut tally = Tally::default();
    for test in tests {
        // One process for all tests of a file: libtest says what nextest says, and needs nothing.
        let args =
            ["test", "--package", "kinglet-server", "--features", "postgres", "--locked", "--test", test];
        let mut cargo = run::cargo(context, &context.root, &args);
        cargo.env(DATABASE, &database.uri).env(BINARY, &binary).env(RESTART, database.restart());
        cargo.env(AUTHORITY, database.dir.join("server.crt"));
        let ran = run::show(context, &mut cargo, LONG)?;
        match counts::libtest(&ran.text) {
            Some(counted) if ran.ok || counted.failed > 0 => tally.add(counted),
            _ => return Err(format!("{test} did not compile or did not run to its end")),
        }
    }
    Ok(tally)
}

/// Names the database to the tests.
const DATABASE: &str = "KINGLET_TEST_POSTGRES";
/// Names the program to the tests that start servers.
const BINARY: &str = "KINGLET_TEST_BIN";
/// Gives the tests a command that kills the database and starts it again.
const RESTART: &str = "KINGLET_TEST_POSTGRES_RESTART";
/// Names the database's certificate to the tests.
const AUTHORITY: &str = "KINGLET_TEST_POSTGRES_CA";
/// A certificate for `localhost` that signs itself, and nothing else.
const REQUEST: &str = "[req]\ndistinguished_name = dn\nx509_extensions = ext\nprompt = no\n[dn]\nCN = localhost\n\
                       [ext]\nsubjectAltName = DNS:localhost\nbasicConstraints = critical,CA:FALSE\n";
/// Who owns it if we are root: PostgreSQL refuses to run as root, and its package brings this user.
const OWNER: &str = "postgres";

/// A PostgreSQL of its own in a temporary directory; stopped and removed when dropped.
pub(crate) struct Database {
    dir: PathBuf,
    bin: PathBuf,
    pub(crate) uri: String,
}

impl Database {
    pub(crate) fn start() -> Result<Self> {
        let bin = bin().ok_or("no PostgreSQL server under /usr/lib/postgresql")?;
        let dir = run::stdout(as_owner("mktemp".as_ref()).arg("-d"))?;
        let port = serving::free_addr()?.port();
        let mut database = Self { dir: PathBuf::from(dir.trim()), bin, uri: String::new() };
        // Checksums and fsync as an operator would have them: what is acked is on disk.
        database
            .go("initdb", &["--auth=trust", "--username=kinglet", "--data-checksums", "--no-instructions"])?;
        database.certify()?;
        let shown = database.dir.display();
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c ssl=on \
             -c ssl_cert_file={shown}/server.crt -c ssl_key_file={shown}/server.key"
        );
        let log = database.dir.join("log").display().to_string();
        database.go("pg_ctl", &["start", "--wait", "--silent", "--log", &log, "--options", &options])?;
        database.uri = format!("postgres://kinglet@127.0.0.1:{port}/postgres");
        Ok(database)
    }

    /// Makes it a certificate of its own.
    fn certify(&self) -> Result<()> {
        let config = self.dir.join("request.cnf");
        std::fs::write(&config, REQUEST).map_err(|e| format!("{}: {e}", config.display()))?;
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -config request.cnf \
                     -keyout server.key -out server.crt";
        let mut openssl = as_owner("openssl".as_ref());
        openssl.args(words.split_whitespace()).current_dir(&self.dir);
        if run::quiet(&mut openssl, Duration::from_secs(60))?.ok {
            return Ok(());
        }
        Err("openssl made no certificate".into())
    }

    /// As a command for a shell: without a checkpoint, as if its machine had failed.
    fn restart(&self) -> String {
        let mut pg_ctl = as_owner(&self.bin.join("pg_ctl"));
        pg_ctl.arg("--pgdata").arg(self.dir.join("data")).arg("--log").arg(self.dir.join("log"));
        pg_ctl.args(["restart", "--wait", "--silent", "--mode=immediate"]);
        let words = std::iter::once(pg_ctl.get_program()).chain(pg_ctl.get_args());
        words.map(|word| format!("'{}' ", word.to_string_lossy())).collect::<String>() + "2>/dev/null"
    }

    fn go(&self, program: &str, args: &[&str]) -> Result<()> {
        let data = self.dir.join("data");
        let mut command = as_owner(&self.bin.join(program));
        // The server keeps what it inherits: it must not be our output, or nobody sees its end.
        command
            .args(args)
            .arg("--pgdata")
            .arg(&data)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let start = Instant::now();
        let status = command.stderr(Stdio::null()).status().map_err(|e| format!("{program}: {e}"))?;
        if status.success() {
            return Ok(());
        }
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        Err(format!("{program} failed after {} s: {status}\n{log}", start.elapsed().as_secs()))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // It may never have started; the directory goes in any case.
        let _ = self.go("pg_ctl", &["stop", "--silent", "--mode=immediate"]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Where the newest server's programs are.
pub(crate) fn bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let bins = versions.filter_map(|dir| {
        let version: u32 = dir.file_name().to_str()?.parse().ok()?;
        let bin = dir.path().join("bin");
        bin.join("initdb").is_file().then_some((version, bin))
    });
    bins.max().map(|(_, bin)| bin)
}

fn as_owner(program: &Path) -> Command {
    if !crate::need::is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", OWNER, "--"]).arg(program);
    command
}
