//! Who is connected. A session belongs to a device and a client id: the same device with the same client id takes it
//! over, nobody else can.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use bytestring::ByteString;
use kinglet_wire::keys::DeviceId;
use tokio::sync::{mpsc, oneshot};

use super::conversation::{Goodbye, goodbye};
use super::speech::Why;

/// Connections a device may have at once; a further one ends the oldest.
const PER_DEVICE_MAX: usize = 4;
/// Downlinks that wait for one connection; what is more is lost, and asked for again by the device's repeat.
const INBOX_LEN: usize = 64;

/// The connected devices.
#[derive(Default)]
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    n_entered: u64,
    by_device: HashMap<DeviceId, Mine>,
}

/// The connections of a device.
#[derive(Default)]
struct Mine {
    entries: Vec<Entry>,
    /// The number of the only one, 0 if there are more: for those who look without the lock.
    only: Arc<AtomicU64>,
}

impl Mine {
    fn note_only(&self) {
        let only = if let [entry] = self.entries.as_slice() { entry.n } else { 0 };
        self.only.store(only, Ordering::Release);
    }
}

struct Entry {
    n: u64,
    client_id: ByteString,
    inbox: mpsc::Sender<Note>,
    end: oneshot::Sender<Goodbye>,
}

/// What another connection of the same device has brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A sealed frame for the device.
    Down(Bytes),
    /// Why something was not taken.
    Refused(&'static str),
}

/// A place in [`Sessions`], given up when dropped.
pub(super) struct Entered<'a> {
    sessions: &'a Sessions,
    id: DeviceId,
    n: u64,
    only: Arc<AtomicU64>,
    pub(super) inbox: mpsc::Receiver<Note>,
    /// Says why the connection must end.
    pub(super) ended: oneshot::Receiver<Goodbye>,
}

impl Sessions {
    /// A number nobody had before.
    pub(super) fn number(&self) -> u64 {
        let mut inner = self.lock();
        inner.n_entered += 1;
        inner.n_entered
    }

    /// Takes a place, ending the session that has the client id, or the oldest of too many.
    pub(super) fn enter(&self, id: DeviceId, client_id: ByteString) -> Entered<'_> {
        let n = self.number();
        let (inbox, notes) = mpsc::channel(INBOX_LEN);
        let (end, ended) = oneshot::channel();
        let mut inner = self.lock();
        let mine = inner.by_device.entry(id).or_default();
        let same = mine.entries.iter().position(|entry| entry.client_id == client_id);
        let (place, text) = match same {
            Some(place) => (Some(place), "the device has connected again with this client id"),
            None if mine.entries.len() >= PER_DEVICE_MAX => (Some(0), "the device has too many connections"),
            None => (None, ""),
        };
        if let Some(place) = place {
            // If it is ending already there is nobody to tell.
            let _ = mine.entries.remove(place).end.send(goodbye(Why::SessionTakenOver, text));
        }
        mine.entries.push(Entry { n, client_id, inbox, end });
        mine.note_only();
        let only = Arc::clone(&mine.only);
        Entered { sessions: self, id, n, only, inbox: notes, ended }
    }

    /// Ends all sessions of a device that was revoked.
    pub(crate) fn end(&self, id: &str) {
        let gone = DeviceId::new(id).and_then(|id| self.lock().by_device.remove(&id));
        for entry in gone.into_iter().flat_map(|mine| mine.entries) {
            let _ = entry.end.send(goodbye(Why::NotAuthorized, "the device was revoked"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered<'_> {
    /// Tells the device's other connections.
    pub(super) fn tell_others(&self, note: impl Fn() -> Note) {
        // Nearly always: every ack comes by here.
        if self.only.load(Ordering::Acquire) == self.n {
            return;
        }
        let inner = self.sessions.lock();
        let mine = inner.by_device.get(&self.id).into_iter().flat_map(|mine| &mine.entries);
        for other in mine.filter(|entry| entry.n != self.n) {
            // Who does not read misses it; the device asks again.
            let _ = other.inbox.try_send(note());
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut inner = self.sessions.lock();
        if let Some(mine) = inner.by_device.get_mut(&self.id) {
            mine.entries.retain(|entry| entry.n != self.n);
            mine.note_only();
            if mine.entries.is_empty() {
                inner.by_device.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> DeviceId {
        DeviceId::new(text).unwrap()
    }

    #[test]
    fn only_the_same_device_with_the_same_client_id_takes_over() {
        let sessions = Sessions::default();
        let mut porch = sessions.enter(id("porch"), "esp32".into());
        let mut attic = sessions.enter(id("attic"), "esp32".into());
        let _other = sessions.enter(id("porch"), "laptop".into());
        assert!(porch.ended.try_recv().is_err() && attic.ended.try_recv().is_err());
        let again = sessions.enter(id("porch"), "esp32".into());
        assert_eq!(porch.ended.try_recv().unwrap().why, Why::SessionTakenOver);
        assert!(attic.ended.try_recv().is_err());
        // The old one's place is not the new one's.
        drop(porch);
        again.tell_others(|| Note::Refused("x"));
        assert_eq!(sessions.lock().by_device[&id("porch")].entries.len(), 2);
    }

    #[test]
    fn a_device_has_few_places_and_none_when_revoked() {
        let sessions = Sessions::default();
        let mut all: Vec<_> = (0..6).map(|n| sessions.enter(id("porch"), format!("c{n}").into())).collect();
        let ended: Vec<bool> = all.iter_mut().map(|one| one.ended.try_recv().is_ok()).collect();
        assert_eq!(ended, [true, true, false, false, false, false]);
        all[5].tell_others(|| Note::Down(Bytes::from_static(b"x")));
        assert_eq!(all[4].inbox.try_recv(), Ok(Note::Down(Bytes::from_static(b"x"))));
        assert!(all[5].inbox.try_recv().is_err() && all[0].inbox.try_recv().is_err());
        sessions.end("porch");
        assert_eq!(all[5].ended.try_recv().unwrap().why, Why::NotAuthorized);
        drop(all);
        assert!(sessions.lock().by_device.is_empty());
    }
}
