use std::ffi::OsString;

use super::*;

fn apply(text: &str) -> Result<Config, ConfigError> {
    let mut config = Config::new("/data");
    config.apply_text("server.toml", text)?;
    config.check()?;
    Ok(config)
}

fn check_refused(text: &str, said: &str) {
    let error = apply(text).unwrap_err().to_string();
    assert!(error.contains(said), "{text:?} gave {error:?}");
}

fn load(flags: &Overrides, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(flags, env.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))))
}

#[test]
fn reads_every_key() {
    let config = apply("http = '127.0.0.1:0'\nhosts = ['Sensors.lan']\nbody_bytes = 20000").unwrap();
    assert_eq!((config.http.port(), config.body_bytes), (0, 20_000));
    assert_eq!(config.hosts, ["sensors.lan"]);
}

#[test]
fn refuses_with_the_next_step() {
    check_refused("htp = '127.0.0.1:0'", "did you mean `http`?");
    check_refused("body_byte = 5", "did you mean `body_bytes`?");
    check_refused("colour = 'red'", "there are data, store, master_key_file, retention_days, http,");
    check_refused("http = 'nowhere'", "`http` must be an address such as 127.0.0.1:8470, not `nowhere`");
    check_refused("body_bytes = -1", "from 16384");
    check_refused("hosts = ['a b']", "list of host names");
    check_refused("http = ", "not valid TOML");
    check_refused("session_idle_hours = 0", "from 1");
    check_refused("tls_cert = 'a.pem'", "say both tls_cert and tls_key");
}

#[cfg(feature = "postgres")]
#[test]
fn a_password_in_the_stores_uri_is_refused_and_not_repeated() {
    let uri = "postgres://kinglet:hunter2@db/readings";
    let flags = Overrides { store: Some(uri.parse().unwrap()), ..Overrides::default() };
    let errors = [
        apply(&format!("store = '{uri}'")).unwrap_err(),
        load(&Overrides::default(), &[("HOME", "/h"), ("KINGLET_STORE", uri)]).unwrap_err(),
        load(&flags, &[("HOME", "/h")]).unwrap_err(),
    ];
    for error in errors {
        let said = format!("{error} {error:?} {flags:?}");
        assert!(said.contains("PGPASSFILE") && !said.contains("hunter2"), "{said}");
    }
    let config = apply("store = 'postgres://kinglet@db/readings'").unwrap();
    assert_eq!(config.store.to_string(), "postgres://db:5432/readings");
}

#[test]
fn remote_only_with_a_login_or_in_so_many_words() {
    let check = |text: &str, without_users: bool| {
        let config = apply(text).unwrap();
        assert!(config.check_login(true).is_ok(), "{text}");
        assert_eq!(config.check_login(false).is_ok(), without_users, "{text}");
    };
    check("http = '0.0.0.0:80'", false);
    check("http = '[::]:80'", false);
    check("https = '0.0.0.0:443'", false);
    check("http = '0.0.0.0:80'\nallow_remote_without_login = true", true);
    check("http = '[::1]:80'", true);
    check("http = '[::ffff:127.0.0.1]:80'", true);
    let refused = apply("http = '0.0.0.0:80'").unwrap().check_login(false).unwrap_err().to_string();
    assert!(refused.contains("kinglet user add") && refused.contains("allow_remote_without_login = true"));
}

#[test]
fn flags_over_environment_over_file_over_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(&file, "http = '127.0.0.1:1'\nbody_bytes = 20000\nconnections = 7").unwrap();
    let env = [("KINGLET_HTTP", "127.0.0.1:2"), ("KINGLET_BODY_BYTES", "30000"), ("HOME", "/home/x")];
    let flags =
        Overrides { file: Some(file), http: Some("127.0.0.1:3".parse().unwrap()), ..Overrides::default() };
    let config = load(&flags, &env).unwrap();
    assert_eq!((config.http.port(), config.body_bytes, config.connections), (3, 30_000, 7));
    assert_eq!(config.data, Path::new("/home/x/.local/share/kinglet"));
    assert_eq!(config.header_timeout_ms, 30_000);
}

#[test]
fn environment_typing_errors_are_said_and_strangers_ignored() {
    let home = ("HOME", "/home/x");
    assert!(matches!(
        load(&Overrides::default(), &[home, ("KINGLET_HTPP", "x")]),
        Err(ConfigError::UnknownKey { suggestion: Some(s), .. }) if s == "http"
    ));
    assert!(load(&Overrides::default(), &[home, ("KINGLET_RECORDINGS", "x")]).is_ok());
    assert_eq!(load(&Overrides::default(), &[]), Err(ConfigError::NoDataDir));
    let missing = Overrides { file: Some("/nowhere/server.toml".into()), ..Overrides::default() };
    assert!(matches!(load(&missing, &[home]), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn the_commented_default_is_the_default() {
    let text = Config::commented_default();
    assert_eq!(apply(&text).unwrap(), Config::new("/data"));
    let active: String = text
        .replace("\n#", "\n")
        .lines()
        .filter(|l| !l.starts_with(' '))
        .fold(String::new(), |text, line| if line.starts_with('#') { text } else { text + line + "\n" });
    let expected = Config { data: "~/.local/share/kinglet".into(), ..Config::new("/data") };
    assert_eq!(apply(&active).unwrap(), expected);
}
