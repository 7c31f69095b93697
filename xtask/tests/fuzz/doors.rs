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
    codec_bundle => kinglet_codec::fuzz::fuzz_bundle,
    codec_decode => kinglet_codec::fuzz::fuzz_decode,
    codec_model => kinglet_codec::fuzz::fuzz_model,
    codec_resolve => kinglet_codec::fuzz::fuzz_resolve,
    codec_round_trip => kinglet_codec::fuzz::fuzz_round_trip,
    codec_seed => kinglet_codec::seed::fuzz_seed,
    node_downlink => kinglet_node::fuzz::fuzz_downlink,
    node_flash_image => kinglet_node::fuzz::fuzz_flash_image,
    node_provision => kinglet_node::fuzz::fuzz_provision,
    node_update => kinglet_node::fuzz::fuzz_update,
    server_coap_datagram => kinglet_server::fuzz::coap_datagram,
    server_config_text => kinglet_server::fuzz::config_text,
    server_credentials => kinglet_server::fuzz::credentials,
    server_decode_body => kinglet_server::fuzz::decode_body,
    server_frames_body => kinglet_server::fuzz::frames_body,
    server_join_body => kinglet_server::fuzz::join_body,
    server_login_form => kinglet_server::fuzz::login_form,
    server_people_form => kinglet_server::fuzz::people_form,
    server_lorawan_event => kinglet_server::fuzz::lorawan_event,
    server_mqtt_bytes => kinglet_server::fuzz::mqtt_bytes,
    train_import_keras => kinglet_train::import::fuzz::fuzz_keras,
    train_import_scaler => kinglet_train::import::fuzz::fuzz_scaler,
    train_import_tflite => kinglet_train::import::fuzz::fuzz_tflite,
    train_csv => kinglet_train::recording::fuzz::fuzz_csv,
    wire_frame => kinglet_wire::fuzz::fuzz_frame,
    wire_join => kinglet_wire::fuzz::fuzz_join,
    wire_lorawan => kinglet_wire::fuzz::fuzz_lorawan,
    wire_open => kinglet_wire::fuzz::fuzz_open,
    wire_payload => kinglet_wire::fuzz::fuzz_payload,
    wire_piece => kinglet_wire::fuzz::fuzz_piece,
    wire_ranges => kinglet_wire::fuzz::fuzz_ranges,
    wire_update => kinglet_wire::fuzz::fuzz_update,
}
