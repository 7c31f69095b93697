//! InfluxDB 1 and 2 by the line protocol. A point that comes twice is the same point: sending again changes nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::config::InfluxConfig;
use super::http::{Answer, Header, Poster};
use super::{Delivery, Parcel, Trouble, payload};

pub(super) struct Influx {
    config: InfluxConfig,
    poster: Poster,
}

impl Influx {
    pub(super) fn new(config: &InfluxConfig) -> Result<Self, Trouble> {
        Ok(Self { config: config.clone(), poster: Poster::new(config.ca_file.as_deref(), true)? })
    }

    /// All at once; if that is refused, one by one, so that only what is at fault is left out.
    pub(super) async fn deliver(&self, parcels: &[Parcel]) -> Delivery {
        match self.post(parcels).await {
            Ok(Answer::Refused(_)) if parcels.len() > 1 => {}
            Ok(Answer::Taken) => return Delivery::all(parcels.len()),
            Ok(refused) => {
                let mut delivery = Delivery::all(0);
                delivery.add(refused);
                return delivery;
            }
            Err(trouble) => return Delivery::none(trouble),
        }
        let mut delivery = Delivery::all(0);
        for parcel in parcels {
            match self.post(std::slice::from_ref(parcel)).await {
                Ok(answer) => delivery.add(answer),
                Err(trouble) => return Delivery { trouble: Some(trouble), ..delivery },
            }
        }
        delivery
    }

    async fn post(&self, parcels: &[Parcel]) -> Result<Answer, Trouble> {
        let mut text = String::new();
        for parcel in parcels {
            payload::lines(&self.config.measurement, parcel, &mut text);
        }
        if text.is_empty() {
            return Ok(Answer::Taken);
        }
        let mut headers: Vec<Header> = vec![("content-type", "text/plain; charset=utf-8".into())];
        if let Some(token) = &self.config.token {
            headers.push(("authorization", format!("Token {}", *token.read()?)));
        }
        if let (Some(user), Some(password)) = (&self.config.user, &self.config.password) {
            let pair = format!("{user}:{}", *password.read()?);
            headers.push(("authorization", format!("Basic {}", STANDARD.encode(pair))));
        }
        self.poster.post(&self.config.write_url, headers, text.into_bytes()).await
    }
}
