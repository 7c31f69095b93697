//! The doors that take bytes, as plain functions: whatever the bytes are, they return.

use crate::config::Config;
use crate::list;
use kinglet_wire::frame::Frame;
use kinglet_wire::join::RequestFrame;

/// The body of `POST /v1/frames`, one or many: splitting loses and invents nothing.
pub fn frames_body(bytes: &[u8]) {
    let _ = Frame::new_checked(bytes);
    if let Ok(frames) = list::split(bytes, 1024) {
        let n_bytes: usize = frames.iter().map(|frame| frame.len() + 2).sum();
        assert_eq!(n_bytes, bytes.len());
        assert!(frames.len() <= 1024);
    }
}

/// The body of `POST /decode`: what is taken has as many finite numbers as the latent, and is repeated as it came.
pub fn decode_body(bytes: &[u8]) {
    match crate::seed::body::parse(bytes, 2) {
        Ok(body) => {
            assert!(body.latent_f32().len() == 2 && body.latent_f32().iter().all(|z| z.is_finite()));
            assert!(body.age_ms >= 0);
            let again = format!("{{\"latent_vector\":[{},{}]}}", body.latent[0], body.latent[1]);
            assert!(crate::seed::body::parse(again.as_bytes(), 2).is_ok_and(|b| b.latent == body.latent));
        }
        Err(refused) => assert!((20..300).contains(&refused.to_string().len())),
    }
}

/// The body of `POST /v1/join`.
pub fn join_body(bytes: &[u8]) {
    let _ = RequestFrame::parse(bytes);
}

/// What comes on an MQTT connection.
pub fn mqtt_bytes(bytes: &[u8]) {
    crate::mqtt::fuzz(bytes);
}

/// A datagram to the CoAP port.
pub fn coap_datagram(bytes: &[u8]) {
    crate::coap::fuzz(bytes);
}

/// What lets people and programs in: the headers `Authorization`, `Cookie`, `Origin` and `Host`, one a line.
pub fn credentials(bytes: &[u8]) {
    use crate::access::Secret;
    use crate::http::guard;
    use axum::http::{HeaderMap, HeaderValue, header};
    let mut headers = HeaderMap::new();
    let names = [header::AUTHORIZATION, header::COOKIE, header::ORIGIN, header::HOST];
    for (name, line) in names.into_iter().zip(bytes.split(|b| *b == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.insert(name, value);
        }
    }
    let token = headers.get(header::AUTHORIZATION).and_then(|value| guard::bearer(value.as_bytes()));
    if let Some(secret) = token.and_then(Secret::from_token) {
        assert_eq!(token, Some(secret.as_token().as_bytes()), "a token is written in one way");
    }
    for by_tls in [false, true] {
        let cookie = guard::session_cookie(&headers, by_tls);
        if let Some(secret) = cookie.and_then(|text| Secret::from_text(text.as_bytes())) {
            assert_eq!(cookie, Some(secret.as_text().as_str()), "a session is written in one way");
        }
    }
    if guard::is_own_origin(&headers) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(text(header::ORIGIN).to_lowercase().ends_with(&text(header::HOST).to_lowercase()));
    }
}

/// The body of `POST /login`: wherever it leads, it is on this server.
pub fn login_form(bytes: &[u8]) {
    let form = crate::dash::LoginForm::parse(bytes);
    let place = crate::dash::own_place(&form.next);
    assert!(place.starts_with('/') && !place.starts_with("//") && !place.contains(['\\', '\r', '\n', '\t']));
    let again: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("name", &form.name), ("password", &form.password), ("next", &form.next)])
        .finish();
    let again = crate::dash::LoginForm::parse(again.as_bytes());
    assert!(again.name == form.name && again.password == form.password && again.next == form.next);
}

/// The body of a form about users and tokens.
pub fn people_form(bytes: &[u8]) {
    let form = crate::dash::PeopleForm::parse(bytes);
    let pairs = [("name", form.name.as_str()), ("password", &form.password)];
    let role = form.role.map(|role| ("role", role.word()));
    let days = form.days.map(|days| days.to_string());
    let days = days.as_deref().map(|days| ("days", days));
    let again: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs.into_iter().chain(role).chain(days))
        .finish();
    let again = crate::dash::PeopleForm::parse(again.as_bytes());
    assert!(again.name == form.name && again.password == form.password);
    assert!(again.role == form.role && again.days == form.days);
}

/// A configuration file: what is accepted is safe to serve by.
pub fn config_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut config = Config::new("/data");
    if config.apply_text("fuzz", text).is_ok() && config.check().is_ok() {
        let is_local = config.http.ip().to_canonical().is_loopback();
        assert!(config.check_login(false).is_err() || is_local || config.allow_remote_without_login);
        assert!(config.body_bytes > 0 && config.connections > 0 && config.request_timeout_ms > 0);
    }
}

/// Reads bytes as an event of each network server; a frame in it is small, and read as one.
pub fn lorawan_event(bytes: &[u8]) {
    let chirpstack = crate::lorawan::chirpstack_uplink(bytes).map(|(uplink, _)| uplink);
    for uplink in [chirpstack, crate::lorawan::tts_uplink(bytes)].into_iter().flatten() {
        assert!(
            uplink.payload.len() <= kinglet_wire::lorawan::PAYLOAD_LEN_MAX + 2
                && uplink.id.as_bytes().len() == 16
        );
        let _ = kinglet_wire::lorawan::Uplink::parse(uplink.port, &uplink.payload);
    }
}
