//! The doors that take bytes, as plain functions: whatever the bytes are, they return.

use crate::config::Config;
use crate::http::split_frames;
use kinglet_wire::frame::Frame;
use kinglet_wire::join::RequestFrame;

/// The body of `POST /v1/frames`, one or many: splitting loses and invents nothing.
pub fn frames_body(bytes: &[u8]) {
    let _ = Frame::new_checked(bytes);
    if let Ok(frames) = split_frames(bytes, 1024) {
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

/// A configuration file: what is accepted is safe to serve by.
pub fn config_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut config = Config::new("/data");
    if config.apply_text("fuzz", text).is_ok() && config.check().is_ok() {
        assert!(config.http.ip().to_canonical().is_loopback() || config.allow_remote_without_login);
        assert!(config.body_bytes > 0 && config.connections > 0 && config.request_timeout_ms > 0);
    }
}
