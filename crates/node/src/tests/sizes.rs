//! How much memory a node takes, beside its caller's buffers.

use core::mem::size_of;

use crate::Node;
use crate::outbox::{InFlight, Outbox};

#[test]
fn a_node_fits_a_small_chip() {
    std::println!(
        "Node {} B, of it Outbox {} B, of it {} windows in flight at {} B",
        size_of::<Node<'_>>(),
        size_of::<Outbox>(),
        crate::IN_FLIGHT_MAX,
        size_of::<Option<InFlight>>(),
    );
    assert!(size_of::<Node<'_>>() <= 4096, "{}", size_of::<Node<'_>>());
}
