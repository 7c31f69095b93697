//! One POST per window, in order.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::config::{Format, WebhookConfig};
use super::http::{Answer, Header, Poster};
use super::{Delivery, Parcel, Trouble, payload};
use crate::alerts::alert_json;
use crate::store::{AlertRow, AlertStep};

pub(super) struct Webhook {
    config: WebhookConfig,
    poster: Poster,
}

impl Webhook {
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, Trouble> {
        Ok(Self { config: config.clone(), poster: Poster::new(config.ca_file.as_deref(), false)? })
    }

    pub(super) async fn deliver(&self, parcels: &[Parcel]) -> Delivery {
        let mut delivery = Delivery::all(0);
        for parcel in parcels {
            match self.post(parcel).await {
                Ok(answer) => delivery.add(answer),
                Err(trouble) => return Delivery { trouble: Some(trouble), ..delivery },
            }
        }
        delivery
    }

    /// Says what has happened to alerts, one POST each.
    pub(super) async fn tell(&self, due: &[(AlertStep, AlertRow)]) -> Delivery {
        let mut delivery = Delivery::all(0);
        for (step, row) in due {
            let body = alert_json(row, *step).to_string().into_bytes();
            let id = format!("alert/{}/{}", row.id, step.word());
            match self.post_body(payload::media_type(Format::Json), id, body).await {
                Ok(answer) => delivery.add(answer),
                Err(trouble) => return Delivery { trouble: Some(trouble), ..delivery },
            }
        }
        delivery
    }

    async fn post(&self, parcel: &Parcel) -> Result<Answer, Trouble> {
        let Some(body) = payload::body(self.config.format, parcel) else { return Ok(Answer::Taken) };
        let id = format!("{}/{}", parcel.device, parcel.window_id());
        self.post_body(payload::media_type(self.config.format), id, body).await
    }

    /// The id says what it is, for those who take each once.
    async fn post_body(&self, media_type: &str, id: String, body: Vec<u8>) -> Result<Answer, Trouble> {
        let mut headers: Vec<Header> = vec![("content-type", media_type.into()), ("idempotency-key", id)];
        if let Some(token) = &self.config.token {
            headers.push(("authorization", format!("Bearer {}", *token.read()?)));
        }
        if let Some(secret) = &self.config.secret {
            headers.push(("kinglet-signature", signature(secret.read()?.as_bytes(), &body)));
        }
        self.poster.post(&self.config.url, headers, body).await
    }
}

/// HMAC-SHA256 (RFC 2104) of the body, as hexadecimal digits.
fn signature(secret: &[u8], body: &[u8]) -> String {
    // Keys of any length are taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(body);
    mac.finalize().into_bytes().iter().fold("sha256=".into(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn signatures_are_hmac_sha256() {
        // RFC 4231, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(super::signature(b"Jefe", b"what do ya want for nothing?"), expected);
    }
}
