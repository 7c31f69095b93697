//! Users and tokens: passwords are never on a command line, secrets are shown once or not at all.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::Value;
use support::{Place, Ran};

const PASSWORD: &str = "correct horse battery";

fn user(place: &Place, args: &[&str], input: &str) -> Ran {
    place.run_with_input(&[&["user"], args, &["--data", "d"]].concat(), input.as_bytes())
}

fn token(place: &Place, args: &[&str]) -> Ran {
    place.run(&[&["token"], args, &["--data", "d"]].concat())
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(ran.ok().out.trim()).unwrap()
}

#[test]
fn users_come_and_go() {
    let place = Place::new();
    let said = user(&place, &["add", "Anna", "--role", "admin"], &format!("{PASSWORD}\n")).ok();
    assert!(
        said.out.contains("anna may log in as admin") && said.out.contains("without a login"),
        "{}",
        said.out
    );
    let said = user(&place, &["add", "bob"], &format!("{PASSWORD}\r\n")).ok();
    assert!(!said.out.contains("without a login") && !said.out.contains(PASSWORD), "{}", said.out);
    let listed = json(user(&place, &["list", "--json"], ""));
    let names: Vec<_> =
        listed["users"].as_array().unwrap().iter().map(|u| (&u["name"], &u["role"])).collect();
    assert_eq!(names, [(&"anna".into(), &"admin".into()), (&"bob".into(), &"viewer".into())]);
    user(&place, &["role", "bob", "operator"], "").ok();
    let listed = json(user(&place, &["list", "--json"], ""));
    assert_eq!(listed["users"][1]["role"], "operator");
    user(&place, &["password", "bob"], "another password\n").ok();
    user(&place, &["remove", "bob"], "").ok();
    assert!(user(&place, &["remove", "anna"], "").ok().out.contains("the last user"));
    assert!(user(&place, &["list"], "").ok().out.contains("no users"));
}

#[test]
fn what_cannot_be_done_is_named_and_repeats_no_secret() {
    let place = Place::new();
    let check = |ran: Ran, code: i32, word: &str| {
        assert!(
            ran.code == code && ran.err.contains(word) && !ran.err.contains("hunter2"),
            "{word}: {ran:?}"
        );
    };
    check(user(&place, &["list"], ""), 3, "no server's data");
    check(user(&place, &["add", "anna"], ""), 2, "no password on standard input");
    check(user(&place, &["add", "anna"], "hunter2\n"), 2, "10 to 256 bytes");
    check(user(&place, &["add", "an na"], "hunter2hunter2\n"), 2, "a name has");
    check(
        user(&place, &["add", "anna", "--role", "root"], "hunter2hunter2\n"),
        2,
        "viewer, operator or admin",
    );
    check(user(&place, &["add", "anna", "--password", "x"], ""), 2, "unexpected argument");
    user(&place, &["add", "anna"], "hunter2hunter2\n").ok();
    check(user(&place, &["add", "ANNA"], "hunter2hunter2\n"), 5, "there is a user of this name");
    check(user(&place, &["password", "bob"], "hunter2hunter2\n"), 5, "there is no user of this name");
    check(user(&place, &["role", "bob", "admin"], ""), 5, "there is no user of this name");
    check(user(&place, &["role", "anna", "root"], ""), 2, "viewer, operator or admin");
    check(token(&place, &["revoke", "grafana"]), 5, "there is no token of this name");
    check(token(&place, &["add", "--name", "a", "--expires", "90"]), 2, "say 12h, 90d or 1y");
}

#[test]
fn alerts_are_shown_and_none_is_said_too() {
    let place = Place::new();
    user(&place, &["add", "anna"], &format!("{PASSWORD}\n")).ok();
    assert!(place.run(&["alerts", "--data", "d"]).ok().out.contains("nothing is wrong"));
    assert_eq!(
        json(place.run(&["alerts", "--all", "--json", "--data", "d"]))["alerts"],
        Value::Array(vec![])
    );
    assert_eq!(place.run(&["alerts", "--data", "nowhere"]).code, 3);
}

#[test]
fn a_token_opens_what_its_role_may_until_it_is_revoked() {
    let place = Place::new();
    user(&place, &["add", "anna"], &format!("{PASSWORD}\n")).ok();
    // Alone on standard output, so that it can be written to a file.
    let alone = token(&place, &["add", "--name", "alone"]).ok().out;
    assert!(
        alone.starts_with("kinglet_") && alone.trim_end().len() == 51 && alone.lines().count() == 1,
        "{alone}"
    );
    let made =
        json(token(&place, &["add", "--name", "grafana", "--role", "viewer", "--expires", "90d", "--json"]));
    assert!(made["expires"].as_str().unwrap().ends_with('Z'));
    let bearer = made["token"].as_str().unwrap();
    let listed = token(&place, &["list", "--json"]).ok().out;
    assert!(listed.contains("\"grafana\"") && !listed.contains(bearer), "{listed}");

    // Reached from other machines, since there is a user.
    let mut command = place.command(&["serve", "--http", "0.0.0.0:0", "--data", "d", "--json"]);
    command.env("KINGLET_LOG_LEVEL", "debug");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url: Value = serde_json::from_str(&line).unwrap();
    let addr = url["url"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let ask = |line: &str, head: &str, body: &str| {
        let mut stream = TcpStream::connect(&addr).unwrap();
        let len = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-length: {len}\r\n{head}\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let get = |head: &str| ask("GET /v1/devices", head, "")[9..12].to_owned();
    assert_eq!(get(""), "401");
    // It needs no login.
    assert_eq!(place.run(&["health", url["url"].as_str().unwrap()]).ok().out, "ready\n");
    assert_eq!(get(&format!("authorization: Bearer {bearer}\r\n")), "200");
    token(&place, &["revoke", "grafana"]).ok();
    assert_eq!(get(&format!("authorization: Bearer {bearer}\r\n")), "401", "at once, in a server that runs");
    // Whatever is tried, and whatever works: the log says that it was, and none of the secrets.
    let log_in = |password: &str| {
        ask("POST /login", &format!("origin: http://{addr}\r\n"), &format!("name=anna&password={password}"))
    };
    assert!(log_in("hunter2hunter2").starts_with("HTTP/1.1 403"));
    let answer = log_in(&PASSWORD.replace(' ', "+"));
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    let cookie = answer.split_once("kinglet=").unwrap().1.split(';').next().unwrap();
    assert_eq!(get(&format!("cookie: kinglet={cookie}\r\n")), "200");
    child.kill().unwrap();
    let log = child.wait_with_output().unwrap().stderr;
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("a login failed") && log.contains("logged in"), "{log}");
    for secret in [bearer, cookie, PASSWORD, "hunter2", "argon2"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[cfg(unix)]
#[test]
fn a_password_that_is_typed_is_not_shown() {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let place = Place::new();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::NOCTTY.bits().try_into().unwrap();
    let end =
        File::options().read(true).write(true).custom_flags(flags).open(OsStr::from_bytes(name.as_bytes()));
    let mut command = place.command(&["user", "add", "anna", "--data", "d"]);
    command.stdin(end.unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut terminal = File::from(terminal);
    let mut said = Vec::new();
    for prompt in ["password for anna: ", "the same again: "] {
        while !said.ends_with(prompt.as_bytes()) {
            let mut byte = [0];
            child.stderr.as_mut().unwrap().read_exact(&mut byte).unwrap();
            said.extend(byte);
        }
        terminal.write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    }
    let ran = Ran::from(child.wait_with_output().unwrap()).ok();
    assert!(ran.out.contains("anna may log in"), "{ran:?}");
    // What the terminal has shown; it ends with an error once nobody has the other end.
    let mut shown = Vec::new();
    let _ = terminal.read_to_end(&mut shown);
    assert!(!String::from_utf8_lossy(&shown).contains("correct"), "{shown:?}");
}
