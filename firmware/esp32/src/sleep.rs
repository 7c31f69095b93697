//! Deep sleep between samples, for boards that were told so: the chip's side of `parts::sleep`.

use core::ptr::{addr_of, addr_of_mut};

use embassy_time::{Duration, Timer};
use esp_hal::peripherals::{LPWR, RTC_TIMER};
use esp_hal::ram;
use esp_hal::rtc_cntl::Rtc;
use esp_hal::rtc_cntl::sleep::{LowPower, RtcSleepConfig};
use kinglet_esp32_parts::owner;
use kinglet_esp32_parts::sleep::{KEPT_LEN, Kept, Next};
use kinglet_node::Identity;
use kinglet_wire::payload::Reset;

use crate::sensor::Driver;

/// Stays on in deep sleep and through resets.
#[ram(unstable(rtc_fast, persistent))]
static mut MEMORY: [u8; KEPT_LEN] = [0; KEPT_LEN];

/// A board that sleeps.
pub struct Sleeper {
    pub kept: Kept,
    /// Somebody, or the supply, has started it.
    pub by_hand: bool,
    rtc: Rtc<'static>,
    power: LowPower<'static>,
}

impl Sleeper {
    /// What was kept, or nothing yet. A reset that was no wake-up and did not end a session counts as a start by hand.
    pub fn begin(identity: &Identity, timer: RTC_TIMER<'static>, power: LPWR<'static>) -> Self {
        let (rtc, power) = (Rtc::new(timer), LowPower::new(power));
        let now = rtc.time_since_power_up().as_millis();
        let tag = owner::tag(identity);
        // SAFETY: nobody else has it, and nobody keeps a reference to it.
        let memory = unsafe { &*addr_of!(MEMORY) };
        let kept = Kept::read(memory, &tag, now);
        let by_hand = match &kept {
            Some(kept) => crate::reset() != Reset::Sleep && !kept.sleeps_first(),
            None => true,
        };
        Self { kept: kept.unwrap_or_else(|| Kept::new(tag)), by_hand, rtc, power }
    }

    /// Milliseconds since the supply came, through sleep and resets.
    pub fn now(&self) -> u64 {
        self.rtc.time_since_power_up().as_millis()
    }

    /// Takes a sample if one is due, and if it is known how often they are.
    pub async fn sample(&mut self, driver: &mut Driver) {
        if self.kept.is_fitted() && self.kept.is_due(self.now()) {
            let sample = driver.measure().await;
            self.kept.take(self.now(), sample);
        }
    }

    /// What this start is for. Does not return if it is for nothing more.
    pub async fn go_on(&mut self) -> Next {
        let next = self.kept.next(self.now(), self.by_hand);
        if let Next::Sleep(until) = next {
            self.kept.slept();
            self.write();
            self.sleep(until).await;
        }
        next
    }

    /// Starts again with what is kept. After a session the next start sleeps first, with a radio that was never on.
    pub fn end(&self) -> ! {
        self.write();
        esp_hal::system::software_reset()
    }

    fn write(&self) {
        // SAFETY: nobody else has it, and nobody keeps a reference to it.
        self.kept.write(unsafe { &mut *addr_of_mut!(MEMORY) });
    }

    async fn sleep(&mut self, until: u64) -> ! {
        // What was logged gets out first.
        Timer::after(Duration::from_millis(20)).await;
        #[cfg_attr(
            not(feature = "esp32c3"),
            allow(unused_mut, reason = "others keep that memory on by themselves")
        )]
        let mut config = RtcSleepConfig::deep();
        #[cfg(feature = "esp32c3")]
        config.set_rtc_fastmem_pd_en(false);
        let left_ms = until.saturating_sub(self.now()).max(100);
        let deadline = esp_hal::time::Instant::now() + esp_hal::time::Duration::from_millis(left_ms);
        self.power.set_wakeup_deadline(deadline);
        self.power.sleep_deep(config)
    }
}
