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

/// The body of `POST /v1/join`.
pub fn join_body(bytes: &[u8]) {
    let _ = RequestFrame::parse(bytes);
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
