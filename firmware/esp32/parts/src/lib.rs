//! What the firmware decides, without a pin or a radio: host and chip compile the same, and the host tests it.
//!
//! | what | file |
//! |---|---|
//! | edges on a DHT's wire become a reading | `dht.rs` |
//! | what is wired where, and which channel it feeds | `sensor.rs` |
//! | due frames become a request, its answer goes to the node | `exchange.rs` |
//! | where the server is, and how it is spoken to | `server.rs` |
//! | a request goes over HTTP, over MQTT | `post.rs`, `mqtt.rs` |
//! | MQTT's connection is TLS to one certificate | `tls.rs` |
//! | whose outbox it is | `owner.rs` |
//! | how long to wait for Wi-Fi | `backoff.rs` |
//! | what a board that sleeps keeps, and what it wakes for | `sleep.rs` |
//! | the seed's own encoder and its JSON | `seed.rs` |
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod backoff;
pub mod dht;
pub mod exchange;
pub mod mqtt;
pub mod owner;
pub mod post;
#[cfg(feature = "seed")]
pub mod seed;
pub mod sensor;
pub mod server;
pub mod sleep;
#[cfg(feature = "tls")]
pub mod tls;
