//! A device in this process: a node, its flash, and its way to the server.
//!
//! `link` speaks HTTP (`http_line`), MQTT (`mqtt_line`) or CoAP (`coap_line`), by TLS as `trust` says, `session` moves frames
//! and answers between node and link, `feed` says which reading comes when, `sense` gives readings as they are measured, `fleet`
//! runs many of them, `serial` brings a board what it is given, `air` keeps bundles that come over the air, `verify` compares what the server has with what was measured.
//!
//! The seed's own protocol needs less: `lines` reads a sensor's output, `kept` holds what could not be sent, `decode_link`
//! posts it.

pub(crate) mod air;
mod coap_line;
pub(crate) mod decode_link;
pub(crate) mod feed;
pub(crate) mod file_flash;
pub(crate) mod fleet;
mod http_line;
pub(crate) mod kept;
pub(crate) mod lines;
pub(crate) mod link;
mod mqtt_line;
pub(crate) mod sense;
pub(crate) mod serial;
pub(crate) mod session;
pub(crate) mod tls;
pub(crate) mod trust;
pub(crate) mod verify;
