//! What stands inside frames.

use super::*;
use crate::payload::Origin;

pub(super) fn contents_pass() -> String {
    let about = "What stands inside frames, field by field.";
    let origin = Origin { generation: 0x20, counter: counter(0x0102_0304_0506) };
    let (unix, uptime) = (Time::unix(1_790_000_000_000), Millis::saturating(61_500));
    let datas = [
        ("data_empty", Data::new(Time::Arrival, Quality::Unknown, b"")),
        ("data_unix_s", Data::new(unix, Quality::Synced, &[0xc0, 0xde])),
        ("data_unix_ms", Data::new(Time::unix(1_790_000_000_123), Quality::Held, &[0xc0, 0xde])),
        ("data_uptime", Data::new(Time::Uptime { boot: 41, uptime }, Quality::Unknown, &[0xc0, 0xde])),
        ("data_age", Data::new(Time::Age(1500), Quality::Unknown, &[0xc0, 0xde])),
        ("data_again", Data::new(unix, Quality::Synced, &[0xc0, 0xde]).with_origin(origin)),
        ("data_padded", Data::new(unix, Quality::Synced, &[0xc0, 0xde]).padded_to(16)),
        ("data_padded_by_one", Data::new(unix, Quality::Synced, &[0x80, 0x00]).padded_to(8)),
        ("data_all", Data::new(unix, Quality::Synced, &[0x80]).with_origin(origin).padded_to(16)),
    ];
    let text = datas.iter().fold(Text::new(about), |text, (name, data)| put_data(text.case(name), data));
    let bare = Status { unix: None, battery_mv: None, quality: Quality::Unknown, ..status() };
    let text = put_status(text.case("status"), &status());
    let text = put_status(text.case("status_bare"), &bare);
    cases()
        .iter()
        .skip(4)
        .fold(text, |text, case| match case.header {
            FrameRepr::Ack { .. } => put_ack(text.case("ack"), &case.content),
            _ => {
                let command = Command::parse(&case.content).unwrap();
                text.case("command")
                    .text("kind", "command")
                    .u48("expires_ms", command.expires.bits())
                    .u48("last_uplink", command.last_uplink.get())
                    .hex("code", &[command.code])
                    .hex("body", command.body)
                    .hex("content", &case.content)
            }
        })
        .0
}

pub(super) fn reference() -> String {
    let about = "What a server says of a window whose code refers to an earlier one that it does not have.";
    let ack = Ack::time_only(Millis::saturating(1_790_000_000_000), AckFlags::REFERENCE_UNKNOWN);
    let mut content = [0; 32];
    let len = ack.emit(&mut content).unwrap();
    put_ack(Text::new(about).case("ack_reference_unknown"), &content[..len]).0
}

fn put_ack(text: Text, content: &[u8]) -> Text {
    let ack = Ack::parse(content).unwrap();
    text.text("kind", "ack")
        .hex("flags", &[ack.flags.0])
        .u48("server_time_ms", ack.server_time.bits())
        .u48("base", ack.base.get())
        .hex("run", &ack.run.to_be_bytes())
        .hex("bitmap", &ack.bitmap.to_be_bytes())
        .hex("content", content)
}

fn put_data(text: Text, data: &Data<'_>) -> Text {
    let mut out = [0; 64];
    let len = data.emit(&mut out).unwrap();
    let text = text.text("kind", "data");
    let text = match data.time {
        Time::Arrival => text.text("time", "arrival"),
        Time::UnixS(s) => text.text("time", "unix_s").hex("unix_s", &s.to_be_bytes()),
        Time::UnixMs(ms) => text.text("time", "unix_ms").u48("unix_ms", ms.bits()),
        Time::Uptime { boot, uptime } => {
            text.text("time", "uptime").hex("boot", &boot.to_be_bytes()).u48("uptime_ms", uptime.bits())
        }
        Time::Age(ms) => text.text("time", "age").hex("age_ms", &ms.to_be_bytes()),
    };
    let text = text.hex("quality", &[data.quality as u8]);
    let text = match data.origin {
        Some(origin) => text
            .hex("origin_generation", &origin.generation.to_be_bytes())
            .u48("origin_counter", origin.counter.get()),
        None => text,
    };
    text.hex("code", data.code)
        .hex("padding_len", &(data.padding_len as u16).to_be_bytes())
        .hex("content", &out[..len])
}

fn put_status(text: Text, status: &Status) -> Text {
    let mut out = [0; 64];
    let len = status.emit(&mut out).unwrap();
    let text = text
        .text("kind", "status")
        .hex("slot", &[status.slot.get()])
        .hex("reset", &[status.reset as u8])
        .hex("boot", &status.boot.to_be_bytes())
        .u48("uptime_ms", status.uptime.bits())
        .hex("windows_lost", &status.windows_lost.to_be_bytes())
        .hex("fingerprint", &status.fingerprint)
        .hex("quality", &[status.quality as u8]);
    let text = match status.unix {
        Some(ms) => text.u48("unix_ms", ms.bits()),
        None => text,
    };
    let text = match status.battery_mv {
        Some(mv) => text.hex("battery_mv", &mv.to_be_bytes()),
        None => text,
    };
    text.hex("content", &out[..len])
}

pub(super) fn contents_fail() -> String {
    let good = cases()[3].content.clone();
    let status = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    let bad: [(&str, &str, Vec<u8>, &str); 17] = [
        ("data_of_nothing", "data", std::vec![], "short"),
        ("data_reserved_bit", "data", std::vec![0x80], "reserved"),
        ("data_quality_3", "data", std::vec![0x18], "quality"),
        ("data_time_5", "data", std::vec![0x05, 0, 0, 0, 0], "time"),
        ("data_time_cut", "data", std::vec![0x01, 0, 0, 0], "short"),
        ("data_origin_cut", "data", std::vec![0x20, 0, 0, 0, 1, 0], "short"),
        ("data_padding_missing", "data", std::vec![0x40], "padding"),
        ("data_padding_of_zeros", "data", std::vec![0x40, 0, 0], "padding"),
        ("data_padding_unmarked", "data", std::vec![0x40, 0x80, 0x01, 0], "padding"),
        ("status_reserved_bit", "status", status(0, 0x1b), "reserved"),
        ("status_quality_3", "status", status(0, 0x0f), "quality"),
        ("status_slot_16", "status", status(1, 16), "slot"),
        ("status_reset_8", "status", status(2, 8), "reset"),
        ("status_too_long", "status", status(0, 0x09), "long"),
        ("ack_short", "ack", std::vec![0; 18], "short"),
        ("ack_long", "ack", std::vec![0; 20], "long"),
        ("command_short", "command", std::vec![0; 12], "short"),
    ];
    let about = "Contents that are refused, and as what.";
    bad.iter()
        .fold(Text::new(about), |text, (name, kind, content, refused)| {
            text.case(name).text("kind", kind).hex("content", content).text("refused", refused)
        })
        .0
}
