//! Kinglet on an ESP32: a sensor, Wi-Fi and flash around `kinglet-node`.
//!
//! This is wiring. What is decided is decided in `kinglet-node` and in `parts`, where the host tests it; this image was
//! compiled, linked and checked, and never ran on a board (`docs/devices.md`).
#![no_std]
#![no_main]
#![warn(clippy::unwrap_used)]

extern crate alloc;

mod flash;
mod panic;
mod pins;
mod radio;
mod say;
#[cfg(not(feature = "seed"))]
mod sealed;
#[cfg(feature = "seed")]
mod seed;
mod sensor;
mod serial;
#[cfg(not(feature = "seed"))]
mod sleep;

use core::cell::RefCell;

use embassy_executor::Spawner;
use embassy_time::{Duration, Timer};
use esp_hal::clock::CpuClock;
use esp_hal::peripherals::TIMG1;
use esp_hal::timer::timg::{MwdtStage, TimerGroup, Wdt};
use esp_hal::uart::{Config as UartConfig, UartRx};
use kinglet_esp32_parts::sensor::Sensor;
use kinglet_esp32_parts::server::{Scheme, Server};
#[cfg(not(feature = "seed"))]
use kinglet_esp32_parts::sleep::Next;
#[cfg(not(feature = "seed"))]
use kinglet_node::Flash as _;
use kinglet_node::provision::{Given, Receiver, Slots};
use static_cell::StaticCell;

use crate::flash::{Chip, Region};

esp_bootloader_esp_idf::esp_app_desc!();

/// The loop is late by so much: something hangs, and a reset is the only cure left.
const WATCHDOG_S: u64 = 60;
/// Wi-Fi takes some 55 kB of these, a large model 20, the node 10.
const HEAP_LEN: usize = 96 * 1024;

/// What both uses have.
#[cfg_attr(feature = "seed", allow(dead_code, reason = "the seed's own use keeps nothing in flash"))]
pub struct Board {
    given: Given<'static>,
    driver: sensor::Driver,
    sensor: Sensor,
    /// `None`: this start needs no radio.
    stack: Option<embassy_net::Stack<'static>>,
    #[cfg(not(feature = "seed"))]
    sleeper: Option<sleep::Sleeper>,
    watchdog: Wdt<TIMG1<'static>>,
    chip: &'static Chip,
}

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let p = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    esp_alloc::heap_allocator!(size: HEAP_LEN);
    let timers = TimerGroup::new(p.TIMG0);
    esp_rtos::start(timers.timer0, p.FROM_CPU_INTR0);
    say::info!("kinglet {}, {}", env!("CARGO_PKG_VERSION"), esp_hal::chip!());

    static CHIP: StaticCell<Chip> = StaticCell::new();
    let storage = esp_storage::FlashStorage::new(p.FLASH);
    #[cfg(any(feature = "esp32", feature = "esp32s3"))]
    let storage = storage.multicore_auto_park();
    let chip: &'static Chip = CHIP.init(RefCell::new(storage));
    let Some(mut region) = Region::find(chip, "kinglet") else {
        halt("flash has no partition `kinglet`: flash the image with partitions.csv").await
    };
    let receiver = |mut region: Region| Slots::open(&mut region).ok().map(Receiver::new);
    let rx = UartRx::new(p.UART0, UartConfig::default());
    #[cfg(feature = "esp32c3")]
    let rx = rx.map(|rx| rx.with_rx(p.GPIO20));
    #[cfg(feature = "esp32c6")]
    let rx = rx.map(|rx| rx.with_rx(p.GPIO17));
    #[cfg(feature = "esp32s3")]
    let rx = rx.map(|rx| rx.with_rx(p.GPIO44));
    #[cfg(feature = "esp32")]
    let rx = rx.map(|rx| rx.with_rx(p.GPIO3));
    if let (Ok(rx), Some(receiver)) = (rx, receiver(region))
        && let Ok(task) = serial::uart(rx.into_async(), receiver, region)
    {
        spawner.spawn(task);
    }
    #[cfg(not(feature = "esp32"))]
    if let Some(receiver) = receiver(region) {
        let (rx, _) = esp_hal::usb::usb_serial_jtag::UsbSerialJtag::new(p.USB_DEVICE).into_async().split();
        if let Ok(task) = serial::usb(rx, receiver, region) {
            spawner.spawn(task);
        }
    }

    let given = match provisioned(&mut region) {
        Ok(given) => given,
        Err(why) => halt(why).await,
    };
    let sensor = match Sensor::parse(given.sensor) {
        Ok(sensor) => sensor,
        Err(why) => halt(why).await,
    };
    #[cfg_attr(feature = "seed", allow(unused_mut, reason = "only a board that sleeps measures here"))]
    let mut driver = match sensor::Driver::new(sensor, free_pins!(p), p.I2C0) {
        Ok(driver) => driver,
        Err(why) => halt(why).await,
    };
    #[cfg(not(feature = "seed"))]
    let mut sleeper = match (given.sleeps, given.identity()) {
        (true, Some(identity)) => Some(sleep::Sleeper::begin(&identity, p.RTC_TIMER, p.LPWR)),
        _ => None,
    };
    #[cfg(not(feature = "seed"))]
    let needs_radio = match &mut sleeper {
        Some(sleeper) => {
            sleeper.sample(&mut driver).await;
            sleeper.go_on().await == Next::Send
        }
        None => true,
    };
    #[cfg(feature = "seed")]
    let needs_radio = true;
    let server = match Server::parse(given.server) {
        Ok(server)
            if server.scheme == Scheme::Mqtts && (cfg!(not(feature = "tls")) || given.pin.is_none()) =>
        {
            halt("mqtts:// wants an image with --features tls, and the pin of the server's certificate").await
        }
        Ok(server) => server,
        Err(why) => halt(why).await,
    };
    let login = given.identity().map(|identity| {
        let token = identity.key.access_token(&identity.id).password();
        (identity.id.as_str().into(), token.iter().map(|&digit| char::from(digit)).collect())
    });
    let access = radio::Access {
        ssid: given.ssid,
        password: given.password,
        url: given.server,
        server,
        login,
        pin: given.pin,
    };
    let stack = match needs_radio.then(|| radio::start(&spawner, p.WIFI, access)).transpose() {
        Ok(stack) => stack,
        Err(why) => halt(why).await,
    };
    let mut watchdog = TimerGroup::new(p.TIMG1).wdt;
    watchdog.set_timeout(MwdtStage::Stage0, esp_hal::time::Duration::from_secs(WATCHDOG_S));
    watchdog.enable();
    let board = Board {
        given,
        driver,
        sensor,
        stack,
        #[cfg(not(feature = "seed"))]
        sleeper,
        watchdog,
        chip,
    };
    #[cfg(not(feature = "seed"))]
    let why = sealed::run(board).await;
    #[cfg(feature = "seed")]
    let why = seed::run(board).await;
    halt(why).await
}

/// What the board was given; it stays in memory from now on.
fn provisioned(region: &mut Region) -> Result<Given<'static>, &'static str> {
    const FLASH: &str = "flash cannot be read";
    let slots = Slots::open(region).map_err(|_| FLASH)?;
    let len =
        slots.record_len().ok_or("nothing was given to this board yet: `kinglet device flash-config`")?;
    let record: &'static mut [u8] = alloc::vec![0; len].leak();
    slots.read(region, record).map_err(|_| FLASH)?;
    Given::parse(record).map_err(|_| "what the board was given is of another version: give it again")
}

/// Nothing can be done until somebody gives the board something else: says so now and then. The serial port listens.
async fn halt(why: &str) -> ! {
    loop {
        say::error!("{why}");
        Timer::after(Duration::from_secs(10)).await;
    }
}

/// Why the chip started.
#[cfg(not(feature = "seed"))]
fn reset() -> kinglet_wire::payload::Reset {
    use esp_hal::rtc_cntl::SocResetReason as Reason;
    use kinglet_wire::payload::Reset;
    match esp_hal::system::reset_reason() {
        Some(Reason::ChipPowerOn) => Reset::PowerOn,
        Some(Reason::CoreSw | Reason::Cpu0Sw) => Reset::Software,
        Some(Reason::CoreDeepSleep) => Reset::Sleep,
        Some(Reason::SysBrownOut) => Reset::Brownout,
        Some(Reason::CoreMwdt0 | Reason::CoreMwdt1 | Reason::CoreRtcWdt | Reason::SysRtcWdt) => {
            Reset::Watchdog
        }
        _ => Reset::Unknown,
    }
}

/// Forgets what another device has left: its windows must not go out under this one's name.
#[cfg(not(feature = "seed"))]
fn adopt(mut owner: Region, outbox: Region, tag: &[u8; 16]) -> Result<(), kinglet_node::FlashError> {
    let mut found = [0; 16];
    owner.read(0, &mut found)?;
    if found == *tag {
        return Ok(());
    }
    say::info!("a new device on this board: the outbox begins anew");
    outbox.erase_all()?;
    owner.erase(0)?;
    owner.program(0, tag)
}
