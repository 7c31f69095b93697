//! Which GPIOs a sensor may be wired to: those that are led out and have nothing to do for flash, USB or the console.

/// Takes the pin of that number out of the peripherals.
#[cfg(feature = "esp32c3")]
#[macro_export]
macro_rules! free_pins {
    ($p:ident) => {
        $crate::pins!($p; 0 GPIO0, 1 GPIO1, 2 GPIO2, 3 GPIO3, 4 GPIO4, 5 GPIO5, 6 GPIO6, 7 GPIO7, 8 GPIO8, 9 GPIO9, 10 GPIO10)
    };
}
/// Takes the pin of that number out of the peripherals.
#[cfg(feature = "esp32c6")]
#[macro_export]
macro_rules! free_pins {
    ($p:ident) => {
        $crate::pins!($p; 0 GPIO0, 1 GPIO1, 2 GPIO2, 3 GPIO3, 4 GPIO4, 5 GPIO5, 6 GPIO6, 7 GPIO7, 8 GPIO8, 9 GPIO9,
            10 GPIO10, 11 GPIO11, 15 GPIO15, 18 GPIO18, 19 GPIO19, 20 GPIO20, 21 GPIO21, 22 GPIO22, 23 GPIO23)
    };
}
/// Takes the pin of that number out of the peripherals.
#[cfg(feature = "esp32s3")]
#[macro_export]
macro_rules! free_pins {
    ($p:ident) => {
        $crate::pins!($p; 1 GPIO1, 2 GPIO2, 4 GPIO4, 5 GPIO5, 6 GPIO6, 7 GPIO7, 8 GPIO8, 9 GPIO9, 10 GPIO10, 11 GPIO11,
            12 GPIO12, 13 GPIO13, 14 GPIO14, 15 GPIO15, 16 GPIO16, 17 GPIO17, 18 GPIO18, 21 GPIO21)
    };
}
/// Takes the pin of that number out of the peripherals.
#[cfg(feature = "esp32")]
#[macro_export]
macro_rules! free_pins {
    ($p:ident) => {
        $crate::pins!($p; 4 GPIO4, 13 GPIO13, 14 GPIO14, 18 GPIO18, 19 GPIO19, 21 GPIO21, 22 GPIO22, 23 GPIO23,
            25 GPIO25, 26 GPIO26, 27 GPIO27, 32 GPIO32, 33 GPIO33)
    };
}

/// A function that hands out each pin once.
#[macro_export]
macro_rules! pins {
    ($p:ident; $($number:literal $name:ident),+) => {{
        use esp_hal::gpio::Pin as _;
        let mut pins = [$(($number, Some($p.$name.degrade()))),+];
        move |wanted: u8| pins.iter_mut().find(|(number, _)| *number == wanted).and_then(|(_, pin)| pin.take())
    }};
}
