//! `kinglet health` asks the server its configuration speaks of, through every door people have.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::net::TcpListener;

use kinglet_server::Tls;
use kinglet_server::config::{Config, TlsFiles};
use support::{Place, serve_by};

#[test]
fn it_asks_where_the_configuration_says() {
    let place = Place::new();
    // Held until both are chosen, so that they differ.
    let [http, https] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [http_addr, https_addr] = [&http, &https].map(|held| held.local_addr().unwrap().to_string());
    let config = format!("http = '{http_addr}'\nhttps = '{https_addr}'\ndata = 'data'\n");
    drop((http, https));
    std::fs::create_dir_all(place.path(".config/kinglet")).unwrap();
    place.file(".config/kinglet/server.toml", &config);
    place.file("named.toml", &config);
    place.file("plain.toml", format!("http = '{http_addr}'\n"));
    place.file("elsewhere.toml", "http = '127.0.0.1:9'\n");
    place.file("open.toml", "http = '127.0.0.1:0'\n");
    let health = |args: &[&str]| place.run(&[&["health"], args].concat());
    health(&[]).fails(4, &[&http_addr]);

    let (running, ready) = serve_by(&place, &[]);
    let pin = ready["pin"].as_str().unwrap();
    let by_tls = format!("https://{https_addr}");
    for args in [
        &[][..],
        &["--config", "named.toml"],
        &["--config", "plain.toml"],
        &[&by_tls, "--pin", pin],
        &[&format!("http://{http_addr}/")],
    ] {
        assert_eq!(health(args).ok().out, "ready\n", "{args:?}");
    }
    let asked: serde_json::Value = serde_json::from_str(&health(&["--json"]).ok().out).unwrap();
    assert_eq!(asked, serde_json::json!({ "ready": true, "asked": [format!("http://{http_addr}"), by_tls] }));
    // What is said wins over what would be found.
    health(&["--config", "elsewhere.toml"]).fails(4, &["127.0.0.1:9"]);
    health(&["http://127.0.0.1:9"]).fails(4, &["127.0.0.1:9"]);
    health(&["--config", "open.toml"]).fails(2, &["kinglet health http://HOST:PORT"]);
    health(&["--data", "elsewhere"]).fails(3, &["--data DIR"]);
    health(&[&by_tls]).fails(4, &[&by_tls]);
    health(&["127.0.0.1:8470"]).fails(2, &["https://HOST:PORT"]);
    assert!(!place.path("elsewhere").exists(), "asking makes nothing");

    // Another certificate than the one that is configured: somebody else answers there.
    drop(Tls::open(&Config::new(place.path("other"))).unwrap());
    let [cert, key] = ["other/tls.crt", "other/tls.key"].map(|name| place.path(name));
    let files = TlsFiles { cert, key };
    let said = format!("{config}tls_cert = {:?}\ntls_key = {:?}\n", files.cert, files.key);
    place.file("other.toml", said);
    health(&["--config", "other.toml"]).fails(4, &[&by_tls]);
    health(&["--config", "other.toml", "--pin", pin]).ok();
    drop(running);
    health(&[]).fails(4, &[&http_addr]);
}
