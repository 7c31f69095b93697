//! HTTP by TLS: whole handshakes are served, half ones are let go, and a renewed certificate is shown.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Rig;
use kinglet_server::config::TlsFiles;
use kinglet_server::tls::Pin;
use kinglet_server::{Config, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto::ring};

/// A client that believes the certificate in this file and speaks this version alone.
async fn connect(
    addr: SocketAddr,
    cert: &std::path::Path,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(addr).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn healthz(stream: &mut TlsStream<TcpStream>) -> String {
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn both_versions_are_served_and_a_foreign_certificate_is_not_believed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rig = Rig::start_with(dir.path(), |c| c.https = Some("127.0.0.1:0".parse().unwrap())).await;
    let (addr, cert) = (rig.https_addr.unwrap(), dir.path().join("tls.crt"));
    for version in [&TLS12, &TLS13] {
        let mut stream = connect(addr, &cert, version).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        assert_eq!(Pin::of(&shown), rig.tls.as_ref().unwrap().pin());
        let answer = healthz(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    }
    drop(Tls::open(&Config::new(other.path())).unwrap());
    let refused = connect(addr, &other.path().join("tls.crt"), &TLS13).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    // What is no TLS at all gets none either.
    assert_eq!(common::raw(addr, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.status, 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_login_by_tls_is_for_tls_alone() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(dir.path(), |c| c.https = Some("127.0.0.1:0".parse().unwrap())).await;
    let password = || "correct horse battery".to_owned().into();
    let role = kinglet_server::store::Role::Viewer;
    rig.core.access.add_user("anna", role, password(), common::T0).await.unwrap();
    let (addr, cert) = (rig.https_addr.unwrap(), dir.path().join("tls.crt"));
    let ask = async |head: &str, body: &str| {
        let mut stream = connect(addr, &cert, &TLS13).await.unwrap();
        let len = body.len();
        let request =
            format!("{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let form = "name=anna&password=correct+horse+battery";
    let answer = ask("POST /login HTTP/1.1\r\norigin: https://localhost", form).await;
    let set = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(
        set.starts_with("__Host-kinglet=") && set.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{set}"
    );
    let secret = set.split(['=', ';']).nth(1).unwrap();
    let devices = "GET /v1/devices HTTP/1.1\r\ncookie:";
    assert!(ask(&format!("{devices} __Host-kinglet={secret}"), "").await.starts_with("HTTP/1.1 200"));
    // Under the name that anybody on the way may set it is none.
    assert!(ask(&format!("{devices} kinglet={secret}"), "").await.starts_with("HTTP/1.1 401"));
    let out = ask(
        &format!("POST /logout HTTP/1.1\r\norigin: https://localhost\r\ncookie: __Host-kinglet={secret}"),
        "",
    )
    .await;
    assert!(out.contains("set-cookie: __Host-kinglet=; Path=/; Max-Age=0"), "{out}");
    assert!(ask(&format!("{devices} __Host-kinglet={secret}"), "").await.starts_with("HTTP/1.1 401"));
    rig.stop().await;
}

#[tokio::test]
async fn who_never_ends_the_handshake_gives_the_place_up() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(dir.path(), |config| {
        config.https = Some("127.0.0.1:0".parse().unwrap());
        config.connections = 2;
        config.handshake_timeout_ms = 200;
    })
    .await;
    let addr = rig.https_addr.unwrap();
    let mut half = TcpStream::connect(addr).await.unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let _mute = TcpStream::connect(addr).await.unwrap();
    let begun = Instant::now();
    let mut stream = connect(addr, &dir.path().join("tls.crt"), &TLS13).await.unwrap();
    assert!(healthz(&mut stream).await.ends_with("ok\n"));
    assert!(begun.elapsed() >= Duration::from_millis(100), "there were but two places");
    // The half one is cut off, and the server ends without waiting for the mute one.
    assert_eq!(half.read(&mut [0; 16]).await.unwrap_or(0), 0);
    let begun = Instant::now();
    rig.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let (dir, before, after) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = TlsFiles { cert: dir.path().join("my.pem"), key: dir.path().join("my.key") };
    let install = |from: &tempfile::TempDir| {
        drop(Tls::open(&Config::new(from.path())).unwrap());
        std::fs::copy(from.path().join("tls.crt"), &files.cert).unwrap();
        std::fs::copy(from.path().join("tls.key"), &files.key).unwrap();
    };
    install(&before);
    let rig = Rig::start_with(dir.path(), |config| {
        config.https = Some("127.0.0.1:0".parse().unwrap());
        config.tls_files = Some(files.clone());
    })
    .await;
    let addr = rig.https_addr.unwrap();
    let (old, new) = (before.path().join("tls.crt"), after.path().join("tls.crt"));
    let mut open = connect(addr, &old, &TLS13).await.unwrap();
    install(&after);
    assert!(rig.tls.as_ref().unwrap().refresh().unwrap());
    assert!(connect(addr, &old, &TLS13).await.is_err());
    assert!(healthz(&mut connect(addr, &new, &TLS13).await.unwrap()).await.ends_with("ok\n"));
    assert!(healthz(&mut open).await.ends_with("ok\n"), "what is open stays open");
    rig.stop().await;
}
