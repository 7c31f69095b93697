//! The doors: one function per place where bytes come in from outside.
//!
//! Each also is a target of `fuzz/`; a wall compares the two lists.

macro_rules! doors {
    ($($name:ident => $door:path,)+) => {
        /// How many there are.
        pub(crate) const COUNT: usize = [$(stringify!($name)),+].len();
        $(#[test]
        fn $name() {
            crate::run(stringify!($name), $door);
        })+
    };
}

doors! {
    wire_frame => kinglet_wire::fuzz::fuzz_frame,
    wire_join => kinglet_wire::fuzz::fuzz_join,
    wire_open => kinglet_wire::fuzz::fuzz_open,
    wire_payload => kinglet_wire::fuzz::fuzz_payload,
    wire_ranges => kinglet_wire::fuzz::fuzz_ranges,
}
