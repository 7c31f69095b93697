//! What door and device call things in CoAP.

use coap_lite::CoapOption;

/// Frames and join requests are posted here.
pub const FRAMES: &str = "f";
/// Requests for pieces of a bundle are posted here.
pub const PIECES: &str = "b";
/// The query of who wants all there is for it in the answer, as a [list](crate::list).
pub const ALL: &str = "all";
/// The content format of such an answer, of the numbers that are nobody's (65000 and above).
pub const FORMAT_LIST: u16 = 65001;
/// The option by which an address shows that it hears us (RFC 9175).
pub const ECHO: CoapOption = CoapOption::Unknown(252);
