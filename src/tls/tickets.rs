//! Session tickets: what a client brings along to go on with a session without a whole handshake (RFC 8446, section 2.2;
//! RFC 5077).
//!
//! ```text
//!   name (16) │ nonce (12) │ AES-256-GCM(session)          the name is that of the key
//! ```
//! Promises: a key seals for [`ROTATION`], and opens for [`LIFETIME`] longer; then it is wiped. The keys go to whichever
//! process goes on with the connections, so that its clients resume there too. A ticket is opened only by what asks of
//! clients what the one that sealed it asked ([`Tickets::bound`]): rustls itself compares the names only.
//! Must not know: what is in a session, how keys travel.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use crate::handover::record;
use crate::handover::secret::Secret;

/// How long a key seals tickets. Far below the 2^32 of them that a key may seal with nonces that are drawn (NIST SP
/// 800-38D, section 8.3).
const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a ticket is good.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// A gateway adopts the keys of those before it, of which there may be many within a lifetime.
const MOST: usize = 64;

const NAME: usize = 16;
const KEY: usize = 32;

/// One of each process.
pub struct Tickets {
    /// The youngest first.
    keys: Mutex<Vec<Key>>,
    /// Tests have another one.
    now: fn() -> Instant,
}

struct Key {
    name: [u8; NAME],
    secret: Secret,
    sealer: LessSafeKey,
    /// When it was made, or taken over, and how old it was then.
    since: Instant,
    age: Duration,
}

impl Key {
    fn new(name: [u8; NAME], secret: Secret, since: Instant, age: Duration) -> Option<Key> {
        let sealer = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret).ok()?);
        Some(Key { name, secret, sealer, since, age })
    }

    fn drawn(now: Instant) -> Option<Key> {
        let (mut name, mut secret) = ([0; NAME], zeroize::Zeroizing::new([0; KEY]));
        rand::fill(&mut name).ok()?;
        rand::fill(&mut secret[..]).ok()?;
        Key::new(name, Secret::from(&secret[..]), now, Duration::ZERO)
    }

    fn age(&self, now: Instant) -> Duration {
        self.age + now.saturating_duration_since(self.since)
    }
}

impl Default for Tickets {
    fn default() -> Tickets {
        Tickets { keys: Mutex::new(Vec::new()), now: Instant::now }
    }
}

impl Tickets {
    /// For a configuration that asks this of its clients: what others have sealed is not opened.
    pub fn bound(self: &Arc<Tickets>, to: Vec<u8>) -> Arc<dyn ProducesTickets> {
        Arc::new(Bound { tickets: Arc::clone(self), to })
    }

    /// All keys, for the process that goes on.
    pub fn record(&self) -> record::Tickets {
        let now = (self.now)();
        let keys = self.keys(now);
        let record = |key: &Key| record::TicketKey {
            name: key.name.to_vec(),
            secret: key.secret.clone(),
            age_ms: u64::try_from(key.age(now).as_millis()).unwrap_or(u64::MAX),
        };
        record::Tickets { keys: keys.iter().map(record).collect() }
    }

    /// Goes on with these keys too.
    pub fn adopt(&self, record: record::Tickets) {
        let now = (self.now)();
        let mut keys = self.keys(now);
        for record::TicketKey { name, secret, age_ms } in record.keys {
            let Ok(name) = <[u8; NAME]>::try_from(name) else { continue };
            let known = keys.iter().any(|key| key.name == name);
            let age = Duration::from_millis(age_ms);
            if !known && age < ROTATION + LIFETIME {
                keys.extend(Key::new(name, secret, now, age));
            }
        }
        keys.sort_by_key(|key| key.age(now));
        keys.truncate(MOST);
    }

    /// Those that still open something.
    fn keys(&self, now: Instant) -> MutexGuard<'_, Vec<Key>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|key| key.age(now) < ROTATION + LIFETIME);
        keys
    }

    fn seal(&self, session: &[u8], to: &[u8]) -> Option<Vec<u8>> {
        let now = (self.now)();
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut keys = self.keys(now);
        if keys.first().is_none_or(|key| key.age(now) >= ROTATION) {
            keys.insert(0, Key::drawn(now)?);
            keys.truncate(MOST);
        }
        let key = keys.first()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + session.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(session);
        let (_, sealed) = ticket.split_at_mut(NAME + NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.sealer.seal_in_place_separate_tag(nonce, Aad::from(to), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], to: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys((self.now)());
        let key = keys.iter().find(|key| key.name == name)?;
        let mut session = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.sealer.open_in_place(nonce, Aad::from(to), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

/// Tickets of one configuration.
struct Bound {
    tickets: Arc<Tickets>,
    to: Vec<u8>,
}

impl ProducesTickets for Bound {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // INVARIANT: it is half a day.
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.seal(plain, &self.to)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.tickets.open(cipher, &self.to)
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("tickets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::cell::Cell;

    thread_local! {
        static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
        static BEGAN: Instant = Instant::now();
    }

    /// A clock that stands still unless it is told.
    fn clock() -> Instant {
        BEGAN.with(|began| *began) + PASSED.get()
    }

    fn tickets() -> Arc<Tickets> {
        Arc::new(Tickets { now: clock, ..Tickets::default() })
    }

    const HOUR: Duration = Duration::from_secs(60 * 60);

    #[test]
    fn a_ticket_is_good_for_its_lifetime_and_its_key_is_gone_some_time_after() {
        let tickets = tickets();
        let bound = tickets.bound(vec![]);
        let first = bound.encrypt(b"session").unwrap();
        PASSED.set(5 * HOUR);
        let last = bound.encrypt(b"session").unwrap();
        assert_eq!(last[..NAME], first[..NAME], "one key for six hours");
        PASSED.set(6 * HOUR);
        assert_ne!(bound.encrypt(b"session").unwrap()[..NAME], first[..NAME]);
        PASSED.set(17 * HOUR);
        assert_eq!(bound.decrypt(&last).as_deref(), Some(&b"session"[..]));
        PASSED.set(18 * HOUR);
        assert_eq!(bound.decrypt(&last), None);
        assert_eq!(tickets.record().keys.len(), 1);
    }

    #[test]
    fn whoever_adopts_the_keys_opens_what_was_sealed_and_goes_on_with_the_youngest() {
        let (outgoing, incoming) = (tickets(), tickets());
        let old = outgoing.bound(vec![]).encrypt(b"old").unwrap();
        PASSED.set(7 * HOUR);
        let young = outgoing.bound(vec![]).encrypt(b"young").unwrap();
        PASSED.set(8 * HOUR);
        let text = serde_json::to_string(&outgoing.record()).unwrap();
        incoming.adopt(serde_json::from_str(&text).unwrap());
        incoming.adopt(serde_json::from_str(&text).unwrap());
        assert_eq!(incoming.record(), outgoing.record(), "twice is once");
        let bound = incoming.bound(vec![]);
        assert_eq!(bound.decrypt(&old).as_deref(), Some(&b"old"[..]));
        assert_eq!(bound.decrypt(&young).as_deref(), Some(&b"young"[..]));
        assert_eq!(bound.encrypt(b"more").unwrap()[..NAME], young[..NAME]);
        PASSED.set(13 * HOUR);
        assert_ne!(bound.encrypt(b"more").unwrap()[..NAME], young[..NAME], "ages go on, too");
    }

    #[test]
    fn what_was_sealed_for_others_is_not_opened() {
        let tickets = tickets();
        let ticket = tickets.bound(b"anybody".to_vec()).encrypt(b"session").unwrap();
        assert_eq!(tickets.bound(b"members".to_vec()).decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(tickets.bound(b"anybody".to_vec()).decrypt(&other), None, "byte {at}");
            assert_eq!(tickets.bound(b"anybody".to_vec()).decrypt(&ticket[..at]), None, "the first {at}");
        }
    }

    #[test]
    fn keys_that_are_none_are_left_aside() {
        let tickets = tickets();
        let key = |name: usize, secret: usize, age_ms: u64| record::TicketKey {
            name: vec![1; name],
            secret: Secret::from(&vec![2; secret][..]),
            age_ms,
        };
        let keys = vec![key(15, KEY, 0), key(NAME, 31, 0), key(NAME, KEY, u64::MAX)];
        tickets.adopt(record::Tickets { keys });
        assert_eq!(tickets.record().keys, []);
        let many = (0..100u8).map(|n| record::TicketKey { name: vec![n; NAME], ..key(NAME, KEY, n.into()) });
        tickets.adopt(record::Tickets { keys: many.collect() });
        assert_eq!(tickets.record().keys.len(), MOST);
        assert!(
            format!("{:?}", tickets.record()).contains("secret: 32 secret bytes"),
            "nobody is shown a key"
        );
    }
}
