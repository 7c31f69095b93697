//! Wi-Fi, its network stack, and the task that sends requests.

mod mqtt;

use alloc::string::String;

use embassy_net::dns::DnsSocket;
use embassy_net::tcp::client::{TcpClient, TcpClientState};
use embassy_net::{Config as NetConfig, Runner, Stack, StackResources};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::{Duration, TimeoutError, Timer, with_timeout};
use esp_hal::peripherals::WIFI;
use esp_hal::rng::Rng;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{
    AuthenticationMethodConfig, Config, ConnectionError, DisconnectReason, Interface, PowerSaveMode,
    WifiController,
};
use kinglet_esp32_parts::backoff::Backoff;
use kinglet_esp32_parts::exchange::{Incoming, Outgoing};
use kinglet_esp32_parts::post::{ANSWER_LEN_MAX, post};
use kinglet_esp32_parts::server::{Scheme, Server};
use static_cell::StaticCell;

use crate::say;

/// How long one request may take.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// How long Wi-Fi may take to connect.
const CONNECT: Duration = Duration::from_secs(20);

/// What is to be posted; one request at a time.
pub static REQUESTS: Channel<CriticalSectionRawMutex, Outgoing, 1> = Channel::new();
/// What came back, or nothing.
pub static ANSWERS: Channel<CriticalSectionRawMutex, Option<Incoming>, 1> = Channel::new();

/// Where and how to connect.
pub struct Access {
    pub ssid: &'static str,
    pub password: &'static str,
    /// The server as it was given, and as it was understood.
    pub url: &'static str,
    pub server: Server<'static>,
    /// Id and access token, for MQTT.
    pub login: Option<(String, String)>,
    /// SHA-256 of the server's certificate, for TLS.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "there is no TLS in this image"))]
    pub pin: Option<[u8; 32]>,
}

/// Starts it; the reason is for the log.
pub fn start(
    spawner: &embassy_executor::Spawner,
    wifi: WIFI<'static>,
    access: Access,
) -> Result<Stack<'static>, &'static str> {
    static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();
    let authentication = match access.password {
        "" => AuthenticationMethodConfig::Open,
        password => AuthenticationMethodConfig::WpaWpa2Personal(
            password.try_into().map_err(|_| "the Wi-Fi password is longer than 64 bytes")?,
        ),
    };
    let ssid = access.ssid.try_into().map_err(|_| "the Wi-Fi name is longer than 32 bytes")?;
    let station = StationConfig::default().with_ssid(ssid).with_authentication(authentication);
    let mut controller = WifiController::new(wifi, Default::default()).map_err(|_| "Wi-Fi does not start")?;
    controller.set_config(&Config::Station(station)).map_err(|_| "Wi-Fi refuses name or password")?;
    // The radio sleeps between beacons. If it does not want to, that costs current and nothing else.
    if controller.set_power_saving(PowerSaveMode::Minimum).is_err() {
        say::warning!("the radio does not save power");
    }
    let rng = Rng::new();
    let seed = u64::from(rng.random()) << 32 | u64::from(rng.random());
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) =
        embassy_net::new(Interface::station(), NetConfig::dhcpv4(Default::default()), resources, seed);
    const FULL: &str = "a task was started twice";
    spawner.spawn(run_net(runner).map_err(|_| FULL)?);
    spawner.spawn(connect(controller).map_err(|_| FULL)?);
    spawner.spawn(requests(stack, access).map_err(|_| FULL)?);
    Ok(stack)
}

#[embassy_executor::task]
async fn run_net(mut runner: Runner<'static, Interface>) {
    runner.run().await;
}

/// Connects, and connects again.
#[embassy_executor::task]
async fn connect(mut controller: WifiController<'static>) {
    let mut backoff = Backoff::default();
    loop {
        match with_timeout(CONNECT, controller.connect_async()).await {
            Ok(Ok(_)) => {
                say::info!("Wi-Fi is up, {} dBm", controller.rssi().unwrap_or_default());
                backoff.worked();
                let gone = controller.wait_for_disconnect_async().await;
                say::warning!("Wi-Fi is gone: {}", gone.map_or("", |info| reason(info.reason)));
            }
            Ok(Err(ConnectionError::Failed(info))) => say::warning!("Wi-Fi: {}", reason(info.reason)),
            Ok(Err(_)) => say::warning!("Wi-Fi: the radio does not try"),
            Err(_) => say::warning!("Wi-Fi: nobody answers"),
        }
        let wait_ms = backoff.failed(Rng::new().random());
        Timer::after(Duration::from_millis(wait_ms)).await;
    }
}

/// In words for a person who can do something about it; the names of all reasons would be 3.5 kB of flash.
fn reason(reason: DisconnectReason) -> &'static str {
    use DisconnectReason as Why;
    match reason {
        Why::FourWayHandshakeTimeout
        | Why::HandshakeTimeout
        | Why::AuthenticationFailed
        | Why::MicFailure => "the password is wrong, it seems",
        Why::NoAccessPointFound => "no network of this name is in reach",
        Why::NoAccessPointFoundWithCompatibleSecurity | Why::NoAccessPointFoundInAuthmodeThreshold => {
            "the network is secured in another way"
        }
        Why::NoAccessPointFoundInRssiThreshold | Why::BeaconTimeout | Why::MissingAcks => {
            "it is too far away"
        }
        Why::AssociationTooMany => "the access point takes no more devices",
        _ => "the access point said no",
    }
}

/// Sends one request after the other.
#[embassy_executor::task]
async fn requests(stack: Stack<'static>, access: Access) {
    static STATE: StaticCell<TcpClientState<1, 2048, 2048>> = StaticCell::new();
    let tcp = TcpClient::new(stack, STATE.init(TcpClientState::new()));
    let dns = DnsSocket::new(stack);
    let mut buf = [0; ANSWER_LEN_MAX];
    loop {
        let mut outgoing = REQUESTS.receive().await;
        if access.server.scheme == Scheme::Http {
            let answer = with_timeout(TIMEOUT, post(&tcp, &dns, access.url, &outgoing, &mut buf)).await;
            ANSWERS.send(said(answer)).await;
        } else {
            // What an old connection has left undone a new one does.
            while let Some(left) = mqtt::serve(&tcp, &dns, &access, outgoing, &mut buf).await {
                outgoing = left;
            }
        }
    }
}

/// An answer, or a line in the log.
pub fn said<T, E: core::fmt::Debug>(answer: Result<Result<T, E>, TimeoutError>) -> Option<T> {
    match answer {
        Ok(Ok(incoming)) => return Some(incoming),
        Ok(Err(error)) => say::warning!("no answer from the server: {error:?}"),
        Err(_) => say::warning!("no answer from the server within {} s", TIMEOUT.as_secs()),
    }
    None
}
