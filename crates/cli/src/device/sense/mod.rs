//! Readings as they are measured: from the kernel's sensors, from a program, from a pipe. Each source has a thread of its own,
//! because measuring takes time and sending takes more.

mod piped;
mod program;
mod sysfs;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use kinglet_codec::Model;
use kinglet_node::Reading;

pub(crate) use piped::Piped;
pub(crate) use program::Program;
pub(crate) use sysfs::{Kernel, Sysfs};

/// Samples that may wait for the sender; then the source waits, too.
const QUEUE: usize = 4096;

/// One sample: a reading for each channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) t_ms: i64,
    pub(crate) readings: Vec<Reading>,
}

/// What a source has to say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Sample(Sample),
    /// Something was no reading; why, for the log.
    Trouble(String),
    /// There will be no more; `Some` says why, if it should not have ended.
    End(Option<String>),
}

/// Where samples come from; runs until nobody listens.
pub(crate) trait Source: Send + 'static {
    /// In words, for messages.
    fn origin(&self) -> String;
    /// Gives events to `listener` as they come.
    fn run(self, listener: &Listener);
}

/// The sender's ear.
pub(crate) struct Listener(SyncSender<Event>);

impl Listener {
    /// False once nobody listens.
    pub(crate) fn tell(&self, event: Event) -> bool {
        self.0.send(event).is_ok()
    }

    /// Takes a sample at every beat until nobody listens. A beat that was missed is missed: later ones keep their times.
    fn at_every_beat(&self, every: Duration, mut measure: impl FnMut(&Self) -> Vec<Reading>) {
        let mut beat = Instant::now();
        loop {
            let t_ms = now_ms();
            let readings = measure(self);
            if !self.tell(Event::Sample(Sample { t_ms, readings })) {
                return;
            }
            let late = beat.elapsed().as_nanos() / every.as_nanos().max(1);
            beat += every * u32::try_from(late + 1).unwrap_or(u32::MAX);
            std::thread::sleep(beat.saturating_duration_since(Instant::now()));
        }
    }
}

/// Starts `source` on a thread of its own. The thread ends with the process: it may sit in a read that lasts.
pub(crate) fn start(source: impl Source) -> Receiver<Event> {
    let (tell, listen) = sync_channel(QUEUE);
    std::thread::spawn(move || {
        let listener = Listener(tell);
        source.run(&listener);
        listener.tell(Event::End(None));
    });
    listen
}

/// Names of the model's channels, as a source looks for them.
pub(crate) fn channel_names(model: &Model<'_>) -> Vec<String> {
    (0..model.channels()).map(|idx| model.channel(idx).name.to_string()).collect()
}

fn now_ms() -> i64 {
    use kinglet_server::Clock;
    kinglet_server::SystemClock.now_ms()
}
