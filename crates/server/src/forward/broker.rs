//! How the user's broker is reached, whatever is said there.

use rumqttc::{Broker, MqttOptions, TlsConfiguration, Transport};

use super::Trouble;
use super::config::BrokerConfig;
use crate::trust;

const KEEP_ALIVE_S: u16 = 60;

impl BrokerConfig {
    /// A client of this name; the password is read here, and nowhere else.
    pub(crate) fn options(&self, client_id: String) -> Result<MqttOptions, Trouble> {
        let mut options = MqttOptions::new(client_id, Broker::tcp(&*self.host, self.port));
        options.set_keep_alive(KEEP_ALIVE_S);
        if let Some(user) = &self.user {
            let password = self.password.as_ref().map(|password| password.read()).transpose()?;
            let password = password.map(|password| password.as_bytes().to_vec()).unwrap_or_default();
            options.set_credentials(user, password);
        }
        // Its own puts host and port together, which an IPv6 address does not bear.
        let (host, port) = (self.host.clone(), self.port);
        options.set_socket_connector(move |_, _| tokio::net::TcpStream::connect((host.clone(), port)));
        if self.tls {
            let config = trust::client_config(self.ca_file.as_deref())?;
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
        }
        Ok(options)
    }
}
