//! Lines from the serial port: what the board is given comes this way, and no other.

use embassy_time::{Duration, Timer};
use esp_hal::Async;
use esp_hal::uart::UartRx;
#[cfg(not(feature = "esp32"))]
use esp_hal::usb::usb_serial_jtag::UsbSerialJtagRx;
use esp_println::println;
use kinglet_node::provision::{LINE_LEN_MAX, Receiver, Reply};

use crate::flash::Region;

/// A line that comes byte by byte; the rest of one that is too long is passed over.
struct Lines {
    buf: [u8; LINE_LEN_MAX],
    len: usize,
}

impl Lines {
    const fn new() -> Self {
        Self { buf: [0; LINE_LEN_MAX], len: 0 }
    }

    /// Takes bytes; answers whole lines on both ports.
    async fn take(&mut self, bytes: &[u8], receiver: &mut Receiver, region: &mut Region) {
        for &byte in bytes {
            if byte != b'\n' && byte != b'\r' {
                if let Some(to) = self.buf.get_mut(self.len) {
                    *to = byte;
                }
                self.len = (self.len + 1).min(LINE_LEN_MAX + 1);
                continue;
            }
            let line = self.buf.get(..self.len).unwrap_or_default();
            let reply = receiver.line(region, line);
            // It may hold part of a key.
            *self = Self::new();
            if let Some(reply) = reply {
                println!("{reply}");
                if reply == Reply::Stored {
                    Timer::after(Duration::from_millis(300)).await;
                    esp_hal::system::software_reset();
                }
            }
        }
    }
}

/// Listens on UART0, 115200 baud.
#[embassy_executor::task]
pub async fn uart(mut rx: UartRx<'static, Async>, mut receiver: Receiver, mut region: Region) {
    let mut lines = Lines::new();
    let mut buf = [0; 64];
    loop {
        // A byte that was garbled makes its line garbled, and that is answered.
        if let Ok(n) = rx.read_async(&mut buf).await {
            lines.take(&buf[..n], &mut receiver, &mut region).await;
        }
    }
}

/// Listens on the chip's own USB port.
#[cfg(not(feature = "esp32"))]
#[embassy_executor::task]
pub async fn usb(mut rx: UsbSerialJtagRx<'static, Async>, mut receiver: Receiver, mut region: Region) {
    use embedded_io_async::Read as _;
    let mut lines = Lines::new();
    let mut buf = [0; 64];
    loop {
        let Ok(n) = rx.read(&mut buf).await;
        lines.take(&buf[..n], &mut receiver, &mut region).await;
    }
}
