//! Who is let in: nobody without a login once there is a user, and nobody any longer than they should be.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod common;

use common::{Response, Rig, T0, request};
use kinglet_server::store::{Role, SqliteStore, Store};
use kinglet_server::{Config, Core, Listeners, RunError, SystemClock};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PASSWORD: &str = "correct horse battery";

async fn add_user(rig: &Rig, name: &str, role: Role) {
    rig.core.access.add_user(name, role, PASSWORD.to_owned().into(), T0).await.unwrap();
}

async fn log_in(rig: &Rig, name: &str, password: &str, next: &str) -> Response {
    let origin = format!("http://{}", rig.addr);
    log_in_from(rig, &[("origin", &origin)], name, password, next).await
}

async fn log_in_from(
    rig: &Rig,
    headers: &[(&str, &str)],
    name: &str,
    password: &str,
    next: &str,
) -> Response {
    let form =
        format!("name={name}&password={}&next={}", password.replace(' ', "+"), next.replace('/', "%2F"));
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    request(rig.addr, "POST", "/login", &[&kind[..], headers].concat(), form.as_bytes()).await
}

/// The cookie of somebody who has logged in.
async fn session(rig: &Rig, name: &str) -> String {
    let answer = log_in(rig, name, PASSWORD, "/").await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let set = answer.header("set-cookie").unwrap();
    set.split(';').next().unwrap().to_owned()
}

async fn get_as(rig: &Rig, path: &str, cookie: &str) -> Response {
    request(rig.addr, "GET", path, &[("cookie", cookie)], b"").await
}

#[tokio::test]
async fn the_first_user_closes_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    let mut device = rig.ready_device("cellar").await;
    for path in ["/", "/devices/cellar", "/v1/devices", "/metrics"] {
        assert_eq!(rig.get(path).await.status, 200, "{path}");
    }
    assert!(rig.get("/login").await.text().contains("kinglet user add"));
    add_user(&rig, "anna", Role::Viewer).await;
    for (path, status) in [
        ("/", 303),
        ("/devices/cellar?range=6h", 303),
        ("/seed/x", 303),
        ("/alerts", 303),
        ("/people", 303),
        ("/live/devices", 401),
        ("/v1/devices", 401),
        ("/v1/live", 401),
        ("/metrics", 401),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/assets/kinglet.css", 200),
        ("/login", 200),
    ] {
        assert_eq!(rig.get(path).await.status, status, "{path}");
    }
    let to = rig.get("/devices/cellar?range=6h").await.header("location").unwrap();
    assert_eq!(to, "/login?next=%2Fdevices%2Fcellar%3Frange%3D6h");
    let page = rig.get(&to).await.text();
    assert!(
        page.contains("value=\"/devices/cellar?range=6h\"") && page.contains("type=\"password\""),
        "{page}"
    );
    // Devices have keys of their own.
    assert_eq!(rig.post_frame(&device.window(T0, b"x")).await.status, 200);
    // With the last user gone it is as before, on this machine.
    rig.core.access.remove_user("anna").await.unwrap();
    assert_eq!(rig.get("/").await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn a_login_lasts_until_it_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    add_user(&rig, "anna", Role::Admin).await;
    let answer = log_in(&rig, "Anna", PASSWORD, "/v1/devices").await;
    assert_eq!((answer.status, answer.header("location").as_deref()), (303, Some("/v1/devices")));
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with("kinglet=") && set.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{set}");
    let cookie = set.split(';').next().unwrap();
    assert_eq!(get_as(&rig, "/v1/devices", cookie).await.status, 200);
    let page = get_as(&rig, "/", cookie).await.text();
    assert!(page.contains("<span>anna</span>") && page.contains("action=\"/logout\""), "{page}");
    // Only its hash is kept: who reads the store cannot log in with what is in it.
    let secret = cookie.split_once('=').unwrap().1;
    let kept = std::fs::read(dir.path().join("kinglet.db")).unwrap();
    let wal = std::fs::read(dir.path().join("kinglet.db-wal")).unwrap_or_default();
    for needle in [secret, PASSWORD] {
        let found =
            [&kept, &wal].iter().any(|file| file.windows(needle.len()).any(|w| w == needle.as_bytes()));
        assert!(!found, "{needle} lies in the store");
    }
    // Somebody else's, none at all, half of one.
    for other in [&cookie[..cookie.len() - 1], "kinglet=", "kinglet=x", &cookie.replace("kinglet=", "other=")]
    {
        assert_eq!(get_as(&rig, "/v1/devices", other).await.status, 401, "{other}");
    }
    // Logged out, here and nowhere else.
    let other = session(&rig, "anna").await;
    let origin = format!("http://{}", rig.addr);
    let out = request(rig.addr, "POST", "/logout", &[("cookie", cookie), ("origin", &origin)], b"").await;
    assert_eq!((out.status, out.header("location").as_deref()), (303, Some("/login")));
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(get_as(&rig, "/v1/devices", cookie).await.status, 401);
    assert_eq!(get_as(&rig, "/v1/devices", &other).await.status, 200);
    // A new password ends every login under the old one, on whichever server it is given.
    let elsewhere: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("kinglet.db")).unwrap());
    let elsewhere = Core::new(Config::new(dir.path()), elsewhere, Arc::new(SystemClock)).unwrap();
    elsewhere.access.set_password("anna", "another password".to_owned().into()).await.unwrap();
    assert_eq!(get_as(&rig, "/v1/devices", &other).await.status, 401);
    assert_eq!(log_in(&rig, "anna", PASSWORD, "/").await.status, 403);
    rig.stop().await;
}

#[tokio::test]
async fn servers_on_one_store_know_each_others_visitors() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (Rig::start(dir.path()).await, Rig::start(dir.path()).await);
    assert_eq!(other.get("/v1/devices").await.status, 200);
    add_user(&one, "anna", Role::Viewer).await;
    let cookie = session(&one, "anna").await;
    assert_eq!(other.get("/v1/devices").await.status, 401, "the door is closed everywhere");
    assert_eq!(get_as(&other, "/v1/devices", &cookie).await.status, 200);
    let origin = format!("http://{}", other.addr);
    let out = request(other.addr, "POST", "/logout", &[("cookie", &cookie), ("origin", &origin)], b"").await;
    assert_eq!(out.status, 303);
    assert_eq!(
        get_as(&one, "/v1/devices", &cookie).await.status,
        401,
        "and opened nowhere after a logout elsewhere"
    );
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_login_ends_when_it_is_idle_or_old() {
    const HOUR: i64 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(dir.path(), |config| {
        config.session_idle_hours = 2;
        config.session_max_days = 1;
    })
    .await;
    add_user(&rig, "anna", Role::Viewer).await;
    let cookie = session(&rig, "anna").await;
    let idle = session(&rig, "anna").await;
    for _ in 0..15 {
        rig.clock.advance(HOUR + HOUR / 2);
        assert_eq!(get_as(&rig, "/v1/devices", &cookie).await.status, 200, "in use");
    }
    assert_eq!(get_as(&rig, "/v1/devices", &idle).await.status, 401, "idle");
    rig.clock.advance(HOUR + HOUR / 2);
    assert_eq!(get_as(&rig, "/v1/devices", &cookie).await.status, 401, "a day old");
    // What has ended goes from the store with the next login.
    session(&rig, "anna").await;
    let conn = rusqlite::Connection::open(dir.path().join("kinglet.db")).unwrap();
    let n: i64 = conn.query_row("SELECT COUNT(*) FROM session", [], |row| row.get(0)).unwrap();
    assert_eq!(n, 1);
    rig.stop().await;
}

#[tokio::test]
async fn no_foreign_page_makes_a_browser_do_anything() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(dir.path(), |config| config.hosts = vec!["sensors.lan".into()]).await;
    add_user(&rig, "anna", Role::Admin).await;
    let cookie = session(&rig, "anna").await;
    let own = format!("http://{}", rig.addr);
    let other_port = "http://127.0.0.1:1";
    for origin in [None, Some("http://evil.example"), Some("null"), Some(other_port), Some("")] {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend(origin.map(|origin| ("origin", origin)));
        for (method, path) in [
            ("POST", "/v1/devices"),
            ("DELETE", "/v1/devices/x"),
            ("POST", "/v1/users"),
            ("POST", "/v1/tokens"),
            ("POST", "/logout"),
        ] {
            let answer = request(rig.addr, method, path, &headers, b"{}").await;
            assert_eq!(
                (answer.status, answer.json()["type"].as_str()),
                (403, Some("urn:kinglet:foreign_origin")),
                "{path} {origin:?}"
            );
        }
        let logged_in = log_in_from(&rig, &headers[1..], "anna", PASSWORD, "/").await;
        assert_eq!((logged_in.status, logged_in.header("set-cookie")), (403, None), "{origin:?}");
    }
    assert_eq!(get_as(&rig, "/v1/devices", &cookie).await.status, 200, "still logged in");
    // Our own pages do, and programs with a token need say nothing of the kind.
    let with = [("cookie", cookie.as_str()), ("origin", own.as_str())];
    assert_eq!(request(rig.addr, "POST", "/v1/devices", &with, br#"{"id": "a"}"#).await.status, 201);
    let token = rig.core.access.add_token("script", Role::Operator, None, T0).await.unwrap();
    let bearer = format!("Bearer {}", *token);
    let with = [("authorization", bearer.as_str())];
    assert_eq!(request(rig.addr, "POST", "/v1/devices", &with, br#"{"id": "b"}"#).await.status, 201);
    // Under another name of the server the origin is that name.
    let named = [("host", "sensors.lan"), ("origin", "https://sensors.lan")];
    let answer = log_in_from(&rig, &named, "anna", PASSWORD, "//evil.example/").await;
    assert_eq!((answer.status, answer.header("location").as_deref()), (303, Some("/")));
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"), "a proxy speaks TLS for it");
    assert_eq!(
        log_in_from(
            &rig,
            &[("host", "evil.example"), ("origin", "http://evil.example")],
            "anna",
            PASSWORD,
            "/"
        )
        .await
        .status,
        421
    );
    rig.stop().await;
}

#[tokio::test]
async fn guessing_is_slow_and_learns_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    add_user(&rig, "anna", Role::Viewer).await;
    let page = |answer: &Response, name: &str| answer.text().replace(name, "NAME");
    let (known, unknown) =
        (log_in(&rig, "anna", "wrong wrong", "/").await, log_in(&rig, "bobby", "wrong wrong", "/").await);
    assert_eq!((known.status, unknown.status), (403, 403));
    assert_eq!(page(&known, "anna"), page(&unknown, "bobby"), "both are told the same");
    assert!(
        known.text().contains("The name or the password is wrong.") && !known.text().contains("wrong wrong")
    );
    let hostile = log_in(&rig, "%22%3E%3Cscript%3E", "wrong wrong", "/").await.text();
    assert!(!hostile.contains("<script>") && hostile.contains("&quot;&gt;&lt;script&gt;"), "{hostile}");
    for _ in 0..7 {
        assert_eq!(log_in(&rig, "anna", "wrong wrong", "/").await.status, 403);
    }
    // The tenth was the last one; even the right password waits.
    for password in ["wrong wrong", PASSWORD] {
        let answer = log_in(&rig, "anna", password, "/").await;
        assert_eq!((answer.status, answer.header("set-cookie")), (429, None));
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=7).contains(&wait) && answer.text().contains("Too many attempts"), "{wait}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn administrators_let_others_in_and_out() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    add_user(&rig, "anna", Role::Admin).await;
    let admin = rig.core.access.add_token("anna", Role::Admin, None, T0).await.unwrap();
    let bearer = format!("Bearer {}", *admin);
    let with = [("authorization", bearer.as_str())];
    let ask = async |method: &str, path: &str, body: &str| {
        request(rig.addr, method, path, &with, body.as_bytes()).await
    };
    let refused = async |path: &str, body: &str, kind: &str| {
        let answer = ask("POST", path, body).await;
        assert_eq!(answer.json()["type"], format!("urn:kinglet:{kind}"), "{path} {body}");
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    };
    let bob = r#"{"name": "Bob", "role": "operator", "password": "hunter2hunter2"}"#;
    let added = ask("POST", "/v1/users", bob).await;
    assert_eq!((added.status, added.json()["name"].as_str()), (201, Some("bob")));
    refused("/v1/users", bob, "name_taken").await;
    refused("/v1/users", r#"{"name": "b ob", "role": "viewer", "password": "hunter2hunter2"}"#, "bad_name")
        .await;
    refused("/v1/users", r#"{"name": "eve", "role": "viewer", "password": "hunter2"}"#, "bad_password").await;
    refused("/v1/users", r#"{"name": "eve", "role": "root", "password": "hunter2hunter2"}"#, "bad_json")
        .await;
    refused("/v1/users", r#"{"name": "eve", "password": "hunter2hunter2"}"#, "bad_json").await;
    refused("/v1/users", r#"{"name": "eve", "role": "viewer", "password": 1, "x": 1}"#, "bad_json").await;
    let shown = ask("GET", "/v1/users", "").await;
    assert_eq!(shown.json()["users"].as_array().unwrap().len(), 2);
    assert!(!shown.text().contains("argon2"), "{}", shown.text());

    let soon = r#"{"name": "grafana", "role": "viewer", "expires": "2026-09-21T14:13:21Z"}"#;
    let made = ask("POST", "/v1/tokens", soon).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let token = format!("Bearer {}", made.json()["token"].as_str().unwrap());
    let grafana =
        async || request(rig.addr, "GET", "/metrics", &[("authorization", &token)], b"").await.status;
    refused("/v1/tokens", soon, "name_taken").await;
    refused("/v1/tokens", r#"{"name": "x", "role": "viewer", "expires": "tomorrow"}"#, "bad_json").await;
    assert!(!ask("GET", "/v1/tokens", "").await.text().contains(&token[7..]));
    assert_eq!(grafana().await, 200);
    rig.clock.advance(1000);
    assert_eq!(grafana().await, 401, "it has expired");
    assert_eq!(ask("DELETE", "/v1/tokens/grafana", "").await.status, 204);
    assert_eq!(ask("DELETE", "/v1/tokens/grafana", "").await.status, 404);
    let cookie = {
        let answer = log_in(&rig, "bob", "hunter2hunter2", "/").await;
        answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    };
    assert_eq!(get_as(&rig, "/v1/users", &cookie).await.status, 403);
    assert_eq!(ask("DELETE", "/v1/users/bob", "").await.status, 204);
    assert_eq!(get_as(&rig, "/v1/devices", &cookie).await.status, 401, "a removal holds at once");
    rig.stop().await;
}

#[tokio::test]
async fn a_live_stream_ends_with_what_let_it_in() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    add_user(&rig, "anna", Role::Viewer).await;
    let token = rig.core.access.add_token("script", Role::Viewer, None, T0).await.unwrap();
    let cookie = session(&rig, "anna").await;
    let mut streams = Vec::new();
    for line in [format!("authorization: Bearer {}", *token), format!("cookie: {cookie}")] {
        let mut stream = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
        let head =
            format!("GET /v1/live HTTP/1.1\r\nhost: {}\r\n{line}\r\nconnection: close\r\n\r\n", rig.addr);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        streams.push(stream);
    }
    rig.core.access.remove_token("script").await.unwrap();
    rig.core.access.remove_user("anna").await.unwrap();
    add_user(&rig, "bob", Role::Viewer).await;
    for mut stream in streams {
        // It ends by itself, or this test never does.
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert!(!rest.contains("event:"), "{rest}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn other_machines_are_served_with_a_login_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.http = "0.0.0.0:0".parse().unwrap();
    let store =
        || -> Arc<dyn Store> { Arc::new(SqliteStore::open(&Config::new(dir.path()).store_path()).unwrap()) };
    let serve = async |config: &Config| {
        let listeners = Listeners::bind(config).await.unwrap();
        kinglet_server::run(config.clone(), listeners, store(), Arc::new(SystemClock), async {}).await
    };
    let refused = serve(&config).await.unwrap_err();
    assert!(
        matches!(refused, RunError::Config(_)) && refused.to_string().contains("kinglet user add"),
        "{refused}"
    );
    let mut open = config.clone();
    open.allow_remote_without_login = true;
    assert!(serve(&open).await.is_ok());
    let core = Core::new(Config::new(dir.path()), store(), Arc::new(SystemClock)).unwrap();
    core.access.add_user("anna", Role::Viewer, PASSWORD.to_owned().into(), T0).await.unwrap();
    assert!(serve(&config).await.is_ok());
    // The last user's removal opens nothing to the world.
    let rig = Rig::start_with(dir.path(), |config| config.http = "0.0.0.0:0".parse().unwrap()).await;
    rig.core.access.remove_user("anna").await.unwrap();
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], rig.addr.port()));
    assert_eq!(request(addr, "GET", "/v1/devices", &[], b"").await.status, 401);
    rig.stop().await;
}

async fn post_as(rig: &Rig, path: &str, cookie: &str, form: &str) -> Response {
    let origin = format!("http://{}", rig.addr);
    let kind = "application/x-www-form-urlencoded";
    let headers = [("cookie", cookie), ("origin", &origin), ("content-type", kind)];
    request(rig.addr, "POST", path, &headers, form.as_bytes()).await
}

#[tokio::test]
async fn administrators_see_to_users_and_tokens_in_the_browser() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path()).await;
    add_user(&rig, "anna", Role::Admin).await;
    let anna = session(&rig, "anna").await;
    let form = "name=Bob&password=correct+horse+battery&role=operator";
    let added = post_as(&rig, "/people/users", &anna, form).await;
    assert_eq!(
        (added.status, added.header("location").as_deref()),
        (303, Some("/people")),
        "{}",
        added.text()
    );
    let bob = session(&rig, "bob").await;
    let page = get_as(&rig, "/people", &anna).await.text();
    assert!(page.contains("action=\"/people/users/bob/role\"") && !page.contains("users/anna/"), "{page}");
    assert!(!page.contains("argon2"));

    // A role holds at once, for who is logged in already.
    assert_eq!(get_as(&rig, "/people", &bob).await.status, 403);
    assert!(!get_as(&rig, "/", &bob).await.text().contains("/people"));
    assert_eq!(post_as(&rig, "/people/users/bob/role", &anna, "role=admin").await.status, 303);
    assert_eq!(get_as(&rig, "/people", &bob).await.status, 200);
    assert_eq!(post_as(&rig, "/people/users/bob/role", &anna, "role=viewer").await.status, 303);
    assert_eq!(get_as(&rig, "/people", &bob).await.status, 403);

    // A token is shown once, and works.
    let made = post_as(&rig, "/people/tokens", &anna, "name=grafana&role=viewer&days=30").await;
    assert_eq!(made.status, 200);
    assert_eq!(made.header("cache-control").as_deref(), Some("no-store"));
    let text = made.text();
    let token = text.split_once("id=\"token\">").unwrap().1.split('<').next().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let with = [("authorization", bearer.as_str())];
    assert_eq!(request(rig.addr, "GET", "/v1/devices", &with, b"").await.status, 200);
    let page = get_as(&rig, "/people", &anna).await.text();
    assert!(page.contains("grafana") && !page.contains(&token), "{page}");
    assert_eq!(post_as(&rig, "/people/tokens/grafana/revoke", &anna, "").await.status, 303);
    assert_eq!(request(rig.addr, "GET", "/v1/devices", &with, b"").await.status, 401);

    // What cannot be done is said on the page.
    for (path, form, status, said) in [
        (
            "/people/users",
            "name=bob&password=correct+horse+battery&role=admin",
            409,
            "There is a user of this name",
        ),
        ("/people/users", "name=a+b&password=correct+horse+battery&role=admin", 400, "A name has"),
        ("/people/users", "name=eve&password=short&role=admin", 400, "A password has"),
        ("/people/users", "name=eve&password=correct+horse+battery&role=root", 400, "A role is"),
        ("/people/users/anna/role", "role=viewer", 400, "Nobody takes their own role away"),
        ("/people/users/ANNA/remove", "", 400, "Nobody takes their own role away"),
        ("/people/users/eve/remove", "", 404, "There is no user"),
        ("/people/tokens", "name=x&role=viewer", 400, "A role is"),
        ("/people/tokens/x/revoke", "", 404, "There is no token"),
    ] {
        let answer = post_as(&rig, path, &anna, form).await;
        let text = answer.text();
        assert!(answer.status == status && text.contains(said), "{path} {form}: {} {text}", answer.status);
        assert!(!text.contains("short") || !form.contains("short"), "a password is not repeated");
    }
    // Nobody else, and no other page in an administrator's browser.
    for (path, form) in [
        ("/people/users", "name=eve&password=correct+horse+battery&role=admin"),
        ("/people/users/bob/role", "role=admin"),
        ("/people/users/bob/remove", ""),
        ("/people/tokens", "name=eve&role=admin&days=0"),
        ("/people/tokens/x/revoke", ""),
    ] {
        assert_eq!(post_as(&rig, path, &bob, form).await.status, 403, "{path}");
        for headers in
            [&[("cookie", anna.as_str())][..], &[("cookie", &anna), ("origin", "http://evil.example")]]
        {
            assert_eq!(request(rig.addr, "POST", path, headers, form.as_bytes()).await.status, 403, "{path}");
        }
        assert_eq!(request(rig.addr, "POST", path, &[], form.as_bytes()).await.status, 303, "to the login");
    }
    let names: Vec<_> = rig.core.store.users().await.unwrap().into_iter().map(|user| user.name).collect();
    assert_eq!((names, rig.core.store.tokens().await.unwrap().len()), (vec!["anna".into(), "bob".into()], 0));
    // Removed: logged out with it.
    assert_eq!(post_as(&rig, "/people/users/bob/remove", &anna, "").await.status, 303);
    assert_eq!(get_as(&rig, "/", &bob).await.status, 303);
    rig.stop().await;
}
