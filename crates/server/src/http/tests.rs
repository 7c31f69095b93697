//! Every route is for those it says it is for, and there is no route beside the table.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use axum::body::Body;
use axum::http::{Request, header};
use axum::response::Response;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use zeroize::Zeroizing;

use super::guard::Peer;
use super::*;
use crate::SystemClock;
use crate::config::Config;
use crate::store::{Role, SqliteStore};

struct Rig {
    core: Arc<Core>,
    router: TowerToHyperService<Router>,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path());
        let store = Arc::new(SqliteStore::open(&config.store_path()).unwrap());
        let core = Arc::new(Core::new(config, store, Arc::new(SystemClock)).unwrap());
        Self { router: TowerToHyperService::new(router(Arc::clone(&core))), core, _dir: dir }
    }

    async fn token(&self, role: Role) -> Zeroizing<String> {
        self.core.access.add_token(role.word(), role, None, 0).await.unwrap()
    }

    async fn ask(&self, route: &Route, token: Option<&str>) -> Response {
        let path = route.path.replace("{id}", "x").replace("{name}", "x");
        let mut request =
            Request::builder().method(&route.method).uri(path).header(header::HOST, "localhost");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.extension(Peer { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), by_tls: false });
        self.router.call(request.body(Body::empty()).unwrap()).await.unwrap()
    }
}

async fn kind_of(response: Response) -> (StatusCode, String) {
    let status = response.status();
    // Streams have no end.
    if response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") {
        return (status, String::new());
    }
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    (status, problem["type"].as_str().unwrap_or_default().trim_start_matches("urn:kinglet:").to_owned())
}

fn least(route: &Route) -> Option<Role> {
    match route.needs {
        Needs::Seal | Needs::Nothing | Needs::OwnName => None,
        Needs::Page(role) | Needs::Role(role) => Some(role),
        Needs::Metrics => Some(Role::Viewer),
    }
}

#[tokio::test]
async fn every_route_is_for_those_it_says() {
    let rig = Rig::new();
    let password = Zeroizing::new("correct horse battery".to_owned());
    rig.core.access.add_user("anna", Role::Admin, password, 0).await.unwrap();
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((role, rig.token(role).await));
    }
    for route in routes() {
        let shown = format!("{} {}", route.method, route.path);
        let response = rig.ask(route, None).await;
        let place = response.headers().get(header::LOCATION).cloned();
        let (status, kind) = kind_of(response).await;
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{shown}");
        match route.needs {
            Needs::Page(_) => {
                assert_eq!(status, StatusCode::SEE_OTHER, "{shown}");
                assert!(place.unwrap().to_str().unwrap().starts_with("/login"), "{shown}");
            }
            Needs::Role(_) | Needs::Metrics => {
                assert_eq!((status, kind.as_str()), (StatusCode::UNAUTHORIZED, "token_required"), "{shown}");
            }
            _ => assert!(!["token_required", "role_required"].contains(&kind.as_str()), "{shown}: {kind}"),
        }
        for (role, token) in &tokens {
            let (status, kind) = kind_of(rig.ask(route, Some(token)).await).await;
            let is_refused = ["token_required", "role_required"].contains(&kind.as_str());
            let expected = least(route).is_some_and(|least| *role < least);
            assert_eq!(is_refused, expected, "{shown} as {role:?}: {status} {kind}");
        }
        let (status, kind) = kind_of(rig.ask(route, Some("kinglet_unknown")).await).await;
        assert_eq!(
            kind == "token_required" || status == StatusCode::SEE_OTHER,
            least(route).is_some(),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn without_users_everybody_here_may_look_and_nobody_may_change_anything() {
    let rig = Rig::new();
    for route in routes() {
        let (status, kind) = kind_of(rig.ask(route, None).await).await;
        let is_locked = least(route).is_some_and(|least| least > Role::Viewer);
        let is_turned_away = kind == "token_required" || status == StatusCode::SEE_OTHER;
        assert_eq!(is_turned_away, is_locked, "{} {}: {status} {kind}", route.method, route.path);
    }
}

#[test]
fn a_route_stands_once_and_nowhere_else() {
    let mut seen = BTreeSet::new();
    for route in routes() {
        assert!(seen.insert((route.method.to_string(), route.path)), "{} twice", route.path);
        assert_eq!(
            route.about.is_some(),
            super::table::ROUTES.iter().any(|r| std::ptr::eq(r, route)),
            "{}",
            route.path
        );
    }
    // Whoever adds a route to a router by hand goes around the guard and the description.
    let mut places = Vec::new();
    let mut dirs = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if std::fs::read_to_string(&path).unwrap().contains(concat!(".rou", "te(")) {
                places.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    places.sort();
    // The seed's port, which is no part of this router, and the table's one.
    assert_eq!(places, ["decode.rs", "route.rs"]);
}
