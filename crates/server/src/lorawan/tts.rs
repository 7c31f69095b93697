//! The Things Stack through its webhooks.
//!
//! Keys of uplink messages: <https://www.thethingsindustries.com/docs/integrations/data-formats/>; headers and bodies of
//! downlinks: <https://www.thethingsindustries.com/docs/integrations/webhooks/scheduling-downlinks/>.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{EVENT_LEN_MAX, LorawanConfig, NetworkServer, PORT, Uplink, base64_of};
use crate::core::Core;
use crate::forward::{Poster, SecretSource, Trouble};
use crate::http::{Problem, read_body};

/// What the webhook is known by, among its additional headers.
const SECRET: &str = "kinglet-secret";
/// Where this device's downlinks are pushed to, and the key that lets them in.
const PUSH: &str = "x-downlink-push";
const API_KEY: &str = "x-downlink-apikey";

/// An uplink message, as far as it matters here. Fields that are zero or empty are left out.
#[derive(Deserialize)]
struct Message {
    end_device_ids: EndDeviceIds,
    received_at: Option<String>,
    uplink_message: Option<UplinkMessage>,
}

#[derive(Deserialize)]
struct EndDeviceIds {
    dev_eui: Option<String>,
}

#[derive(Deserialize)]
struct UplinkMessage {
    f_port: Option<u8>,
    frm_payload: Option<String>,
    received_at: Option<String>,
}

/// The frame in a message; `None` if there is none of ours.
pub(crate) fn uplink(message: &[u8]) -> Option<Uplink> {
    let message: Message = serde_json::from_slice(message).ok()?;
    let up = message.uplink_message?;
    // The network server's word comes before the application server's.
    let time = up.received_at.or(message.received_at);
    Uplink::new(&message.end_device_ids.dev_eui?, up.f_port?, &up.frm_payload?, time.as_deref())
}

/// `POST /v1/lorawan/tts`: an uplink message. 200 when the frame is stored or never will be.
pub(crate) async fn webhook(State(core): State<Arc<Core>>, request: Request) -> Result<Response, Problem> {
    let source = known(&core, request.headers())?.clone();
    let push = Push::new(&source, request.headers());
    let body = read_body(request, EVENT_LEN_MAX).await?;
    // Join and other messages may come to the same address.
    let Some(uplink) = uplink(&body) else { return Ok((StatusCode::OK, "no frame\n").into_response()) };
    let reply = core.take_lorawan(&uplink, source.ack_every).await?;
    if let Some(payload) = reply.downlink {
        // The network server waits for our answer; the downlink goes its own way.
        tokio::spawn(async move {
            if let Err(error) = deliver(push, &payload).await {
                tracing::warn!(source = %source.name, device = %uplink.id, %error, "an ack was not delivered; the device will ask for it again");
            }
        });
    }
    Ok((StatusCode::OK, format!("{}\n", reply.refused.unwrap_or("stored"))).into_response())
}

/// The section whose secret this is; all are compared, in a time that says nothing.
fn known<'a>(core: &'a Core, headers: &HeaderMap) -> Result<&'a LorawanConfig, Problem> {
    let given = headers.get(SECRET).map(|value| value.as_bytes()).unwrap_or_default();
    let mut found = None;
    for source in &core.config.lorawan {
        let NetworkServer::Tts { secret, .. } = &source.kind else { continue };
        let secret = secret.read().map_err(|error| {
            tracing::error!(source = %source.name, %error, "the webhook cannot be checked");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "secret_unavailable",
                "the webhook cannot be checked now",
            )
        })?;
        if !secret.is_empty() && bool::from(secret.as_bytes().ct_eq(given)) {
            found = Some(source);
        }
    }
    let detail = "send the secret of the [[lorawan]] section as the header Kinglet-Secret";
    found.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "secret_required", detail))
}

/// Where a downlink of this device goes.
struct Push {
    url: String,
    key: Option<Zeroizing<String>>,
    own_key: Option<SecretSource>,
    ca_file: Option<std::path::PathBuf>,
}

impl Push {
    /// `None` if the webhook names no address, or one of another host than the configured.
    fn new(source: &LorawanConfig, headers: &HeaderMap) -> Option<Self> {
        let NetworkServer::Tts { url: host, api_key, ca_file, .. } = &source.kind else { return None };
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let url = text(PUSH)?;
        let path = url.strip_prefix(host.as_str())?;
        (path.starts_with("/api/v3/as/applications/") && !path.contains("..")).then(|| Self {
            url: url.into(),
            key: text(API_KEY).map(|key| Zeroizing::new(key.into())),
            own_key: api_key.clone(),
            ca_file: ca_file.clone(),
        })
    }
}

async fn deliver(push: Option<Push>, payload: &[u8]) -> Result<(), Trouble> {
    let missing = |what: &str| Trouble::Target(what.into());
    let push = push.ok_or_else(|| {
        missing("the webhook sends no X-Downlink-Push of the configured url: give it a downlink API key, and check `url`")
    })?;
    let key = push.own_key.map(|key| key.read()).transpose()?.or(push.key);
    let key =
        key.ok_or_else(|| missing("there is no API key: give the webhook one, or say `api_key_file`"))?;
    let body =
        json!({ "downlinks": [{ "frm_payload": base64_of(payload), "f_port": PORT, "priority": "NORMAL" }] });
    let headers =
        vec![("content-type", "application/json".into()), ("authorization", format!("Bearer {}", *key))];
    let poster = Poster::new(push.ca_file.as_deref(), false)?;
    match poster.post(&push.url, headers, body.to_string().into_bytes()).await? {
        crate::forward::Answer::Taken => Ok(()),
        crate::forward::Answer::Refused(why) => Err(Trouble::Target(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the keys of an uplink message of The Things Stack.
    const MESSAGE: &str = r#"{"end_device_ids":{"device_id":"cellar","application_ids":{"application_id":"home"},
        "dev_eui":"0004A30B001C0530","join_eui":"800000000000000C","dev_addr":"00BCB929"},"correlation_ids":["as:up:01"],
        "received_at":"2026-09-21T14:13:21.000Z","uplink_message":{"session_key_id":"AXBSH1Pk6Z0G166","f_port":22,"f_cnt":42,
        "frm_payload":"QhMBLBxO","rx_metadata":[{"gateway_ids":{"gateway_id":"roof","eui":"9C5C8E00001A05C4"},
        "time":"2026-09-21T14:13:20.110Z","timestamp":2463457000,"rssi":-35,"channel_rssi":-35,"snr":5.2}],
        "settings":{"data_rate":{"lora":{"bandwidth":125000,"spreading_factor":7}},"frequency":"868300000"},
        "received_at":"2026-09-21T14:13:20.250Z","consumed_airtime":"0.056s"}}"#;

    #[test]
    fn a_message_is_read_by_its_documented_keys() {
        let uplink = uplink(MESSAGE.as_bytes()).unwrap();
        assert_eq!(
            (uplink.id.as_str(), uplink.port, uplink.t_ms),
            ("0004a30b001c0530", 22, Some(1_790_000_000_250))
        );
        assert_eq!(uplink.payload, [0x42, 0x13, 0x01, 0x2c, 0x1c, 0x4e]);
    }

    #[test]
    fn other_messages_are_passed_over() {
        for other in [r#"{"end_device_ids":{"device_id":"cellar"},"join_accept":{}}"#, "{}", "", "[[[[["] {
            assert!(uplink(other.as_bytes()).is_none(), "{other:?}");
        }
        assert!(uplink(MESSAGE.replace("\"f_port\":22,", "").as_bytes()).is_none());
    }

    #[test]
    fn downlinks_go_to_the_configured_host_alone() {
        let section =
            "[[lorawan]]\nkind = 'tts'\nurl = 'https://eu1.cloud.thethings.network/'\nsecret_env = 'X'";
        let table: toml::Table = section.parse().unwrap();
        let source = &super::super::config::parse(&table["lorawan"]).unwrap()[0];
        let is_taken = |url: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(PUSH, url.parse().unwrap());
            Push::new(source, &headers).is_some()
        };
        let path = "/api/v3/as/applications/home/webhooks/kinglet/devices/cellar/down/push";
        assert!(is_taken(&format!("https://eu1.cloud.thethings.network{path}")));
        for other in [
            "https://eu1.cloud.thethings.network.evil.example",
            "http://eu1.cloud.thethings.network",
            "https://evil.example",
            "https://eu1.cloud.thethings.network@evil.example",
        ] {
            assert!(!is_taken(&format!("{other}{path}")), "{other}");
        }
        assert!(!is_taken("https://eu1.cloud.thethings.network/api/v3/as/applications/../../users"));
    }
}
