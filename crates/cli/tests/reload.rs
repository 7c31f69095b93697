//! SIGHUP: what can change changes, what cannot is said, and what is wrong changes nothing. And how the log is written.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;
use support::Place;

struct Serving {
    child: Child,
    addr: String,
    log: Lines<BufReader<ChildStderr>>,
}

impl Serving {
    fn start(place: &Place, config: &str) -> Self {
        place.file("server.toml", config);
        let args = ["serve", "--config", "server.toml", "--data", "d", "--json", "--log-format", "json"];
        let mut child = place.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let addr = said["url"].as_str().unwrap().trim_start_matches("http://").to_owned();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, addr, log }
    }

    fn hang_up(&self) {
        let kill = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// The next line of the log that says this.
    fn until(&mut self, words: &str) -> Value {
        for line in self.log.by_ref() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["message"].as_str().unwrap().contains(words) {
                return line;
            }
        }
        panic!("the log ends without {words:?}");
    }

    fn status(&self, host: &str) -> String {
        let mut stream = TcpStream::connect(&self.addr).unwrap();
        let request = format!("GET /v1/devices HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer[9..12].to_owned()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_hangup_reads_the_configuration_anew() {
    let place = Place::new();
    let mut serving = Serving::start(&place, "http = '127.0.0.1:0'\n");
    assert_eq!(serving.status("sensors.lan"), "421");
    place.file(
        "server.toml",
        "http = '127.0.0.1:0'\nhosts = ['sensors.lan']\nretention_days = 9\nconnections = 7\n",
    );
    serving.hang_up();
    let told = serving.until("was read anew");
    assert_eq!(
        (told["level"].as_str(), told["changed"].as_str()),
        (Some("INFO"), Some("retention_days, hosts"))
    );
    assert_eq!(serving.until("started anew")["keys"], "connections");
    assert_eq!(serving.status("sensors.lan"), "200");
    // What is wrong is said, and nothing changes.
    place.file("server.toml", "htp = '127.0.0.1:0'\n");
    serving.hang_up();
    let refused = serving.until("stays as it was");
    assert!(refused["why"].as_str().unwrap().contains("did you mean `http`?"), "{refused}");
    assert_eq!(serving.status("sensors.lan"), "200");
    // A level that lets less through: the next hangup is not even told.
    place.file("server.toml", "http = '127.0.0.1:0'\nconnections = 7\nlog_level = 'error'\n");
    serving.hang_up();
    while serving.status("sensors.lan") == "200" {}
    place.file("server.toml", "log_level = 'no'\n");
    serving.hang_up();
    let next = serving.until("");
    assert!(next["why"].as_str().is_some_and(|why| why.contains("log_level")), "{next}");
}

#[test]
fn a_certificate_that_was_replaced_is_shown_at_once() {
    let place = Place::new();
    for dir in ["a", "b"] {
        place.run(&["certificate", "--data", dir]).ok();
    }
    let install = |from: &str| {
        for (file, to) in [("tls.crt", "my.pem"), ("tls.key", "my.key")] {
            std::fs::copy(place.path(from).join(file), place.path(to)).unwrap();
        }
    };
    let pin = |dir: &str| {
        let said: Value =
            serde_json::from_str(&place.run(&["certificate", "--data", dir, "--json"]).ok().out).unwrap();
        said["pin"].as_str().unwrap().to_owned()
    };
    install("a");
    let config = "http = '127.0.0.1:0'\nhttps = '127.0.0.1:0'\ntls_cert = 'my.pem'\ntls_key = 'my.key'\n";
    let mut serving = Serving::start(&place, config);
    install("b");
    serving.hang_up();
    assert_eq!(serving.until("the certificate is a new one")["pin"], pin("b"));
    assert_ne!(pin("a"), pin("b"));
}
