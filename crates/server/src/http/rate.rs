//! How many requests one person, one client or one address may send: a token bucket each, in bounded memory.
//!
//! People and clients are counted once they are known ([admit]). Before that there is only an address, and one clinic's
//! hundred people share one: so an address pays only for requests without a credential, or with one that has not lately
//! been found good ([by_address]). Guessing tokens is as limited as sending none, and a flood of either does not keep
//! out those who have signed in.
//!
//! Besides, nobody alone holds all the places of requests that are worked on at once: an address has a few, and so has a
//! person, however she sends.
//!
//! **Invariant:** nobody's behaviour can make these tables grow beyond their bounds, and nothing is written anywhere else.

use super::address::ClientAddress;
use super::caller;
use super::error::{ApiError, FhirError};
use crate::config::Limits;
use crate::state::AppState;
use access::Principal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use record::Error;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Buckets of one kind; a bucket that is full again takes no place. 16 bytes each, so 2 MiB at most.
const BUCKETS_MAX: usize = 65_536;
/// Credentials that were found good.
const GOOD_MAX: usize = 65_536;
/// Requests of one address that are worked on at once, as long as nobody is known to be behind them. Who sends a body
/// byte by byte holds a place for half a minute; these places are for everybody.
const UNKNOWN_AT_ONCE: u32 = 64;
/// One person holds at most this part of all places, and a few where there are few.
const PERSON_PART: usize = 8;
const PERSON_LEAST: usize = 16;
/// How long a credential that was found good counts as that, microseconds.
const GOOD_FOR_US: u64 = 15 * 60 * 1_000_000;
const SWEEP_EVERY_US: u64 = 1_000_000;

/// Buckets of one kind. Each is one number: the time at which it would be full again (the generic cell rate algorithm).
struct Buckets {
    /// Time that one request takes, microseconds; 0: no limit.
    cost_us: u64,
    /// Time that may be taken in advance, microseconds.
    burst_us: u64,
    full_at: Mutex<Table>,
}

/// A bounded map that is cleared of what has no more meaning, at most once a second: a sweep costs a millisecond.
#[derive(Default)]
struct Table {
    entries: HashMap<u64, u64>,
    swept_at: u64,
}

impl Table {
    /// Whether there is a place for a key that is not there yet.
    fn has_place(&mut self, most: usize, now: u64, keep: impl Fn(u64) -> bool) -> bool {
        if self.entries.len() >= most && now >= self.swept_at.saturating_add(SWEEP_EVERY_US) {
            self.swept_at = now;
            self.entries.retain(|_, value| keep(*value));
        }
        self.entries.len() < most
    }
}

impl Buckets {
    fn new(per_second: u32, burst: u32) -> Buckets {
        let cost_us = if per_second == 0 { 0 } else { (1_000_000 / u64::from(per_second)).max(1) };
        Buckets { cost_us, burst_us: cost_us * u64::from(burst.max(1)), full_at: Mutex::default() }
    }

    /// Takes one token at `now` (microseconds of any clock that does not run backwards). Errors: seconds to wait.
    fn take(&self, key: u64, now: u64) -> Result<(), u32> {
        if self.cost_us == 0 {
            return Ok(());
        }
        let mut table = self.full_at.lock();
        // When there is no place left, who comes anew shares one bucket: a flood from everywhere is limited as a whole.
        let has_own =
            table.entries.contains_key(&key) || table.has_place(BUCKETS_MAX, now, |full| full > now);
        let key = if has_own { key } else { 0 };
        let full = table.entries.get(&key).copied().unwrap_or(0).max(now) + self.cost_us;
        if full > now + self.burst_us {
            let wait = (full - now - self.burst_us).div_ceil(1_000_000);
            return Err(u32::try_from(wait).unwrap_or(u32::MAX).max(1));
        }
        table.entries.insert(key, full);
        Ok(())
    }
}

/// All limits of this process.
pub struct Rates {
    began: Instant,
    /// Keyed, so that nobody can choose whose bucket is shared.
    hasher: RandomState,
    people: Buckets,
    clients: Buckets,
    addresses: Buckets,
    /// Credentials that were found good, and when, microseconds.
    good: Mutex<Table>,
    /// Of all addresses together: half of all places, so that those who are known always have the other half.
    strangers: Arc<Places>,
    /// Of each person, by her account.
    persons: Arc<Places>,
}

/// Requests of somebody that are worked on now. As many entries as requests, so bounded by these.
struct Places {
    /// How many in all, and of each.
    now: Mutex<(usize, HashMap<u64, u32>)>,
    /// Of one.
    each: u32,
    /// Of all together.
    most: usize,
}

impl Places {
    fn new(each: u32, most: usize) -> Arc<Places> {
        Arc::new(Places { now: Mutex::default(), each, most })
    }

    fn enter(self: &Arc<Places>, key: u64) -> Option<Inside> {
        let mut now = self.now.lock();
        let count = now.1.get(&key).copied().unwrap_or(0);
        if count >= self.each || now.0 >= self.most {
            return None;
        }
        now.0 += 1;
        now.1.insert(key, count + 1);
        Some(Inside { places: self.clone(), key })
    }
}

/// A place, given back when it is dropped: also when the client goes away.
struct Inside {
    places: Arc<Places>,
    key: u64,
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut now = self.places.now.lock();
        now.0 = now.0.saturating_sub(1);
        match now.1.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(now.1.remove(&self.key)),
        }
    }
}

tokio::task_local! {
    /// The place of the person whose request this is, from when she is known until it is answered.
    static PERSON: RefCell<Option<Inside>>;
}

impl Rates {
    pub fn new(limits: &Limits) -> Rates {
        Rates {
            began: Instant::now(),
            hasher: RandomState::new(),
            people: Buckets::new(limits.user_per_second, limits.user_burst),
            clients: Buckets::new(limits.client_per_second, limits.client_burst),
            addresses: Buckets::new(limits.address_per_second, limits.address_burst),
            good: Mutex::default(),
            strangers: Places::new(UNKNOWN_AT_ONCE, (limits.concurrent_requests / 2).max(1)),
            persons: Places::new(
                u32::try_from((limits.concurrent_requests / PERSON_PART).max(PERSON_LEAST))
                    .unwrap_or(u32::MAX),
                usize::MAX,
            ),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX / 2)
    }
    fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of).max(1)
    }

    /// Signing in has a bucket of its own: a flood of anything else must not keep the neighbours from it. (Guessing
    /// passwords is held back by `record::authn` besides.)
    fn take_address(&self, address: IpAddr, signs_in: bool) -> Result<(), u32> {
        self.addresses.take(self.key((prefix(address), signs_in)), self.now())
    }

    /// One request of somebody who is known. Errors: [Error::Throttled].
    pub fn take(&self, principal: &Principal) -> Result<(), Error> {
        let (buckets, key) = match principal {
            Principal::Anonymous | Principal::System(_) => return Ok(()),
            Principal::User(user) => (&self.people, self.key(user.account)),
            Principal::Client { .. } => (&self.clients, self.key(principal.agent())),
        };
        buckets.take(key, self.now()).map_err(|retry_after_s| Error::Throttled { retry_after_s })
    }

    /// Takes a place for the request that is worked on, once. Errors: [Error::Throttled].
    fn take_place(&self, account: i64) -> Result<(), Error> {
        let has_place = PERSON.try_with(|place| {
            let mut place = place.borrow_mut();
            if place.is_none() {
                *place = self.persons.enter(self.key(account));
            }
            place.is_some()
        });
        // Outside of the middleware, e.g. for an entry of a bundle, there is none to take.
        match has_place {
            Ok(false) => Err(Error::Throttled { retry_after_s: 1 }),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    fn credential_key(&self, headers: &HeaderMap, cookie_name: &str) -> Option<u64> {
        caller::credential(headers, cookie_name).map(|credential| match credential {
            caller::Credential::Bearer(token) | caller::Credential::Cookie(token) => self.key(token),
        })
    }

    fn is_good(&self, key: u64) -> bool {
        let now = self.now();
        self.good.lock().entries.get(&key).is_some_and(|since| now.saturating_sub(*since) < GOOD_FOR_US)
    }

    fn note_good(&self, key: u64) {
        let now = self.now();
        let mut good = self.good.lock();
        let is_fresh = |since: u64| now.saturating_sub(since) < GOOD_FOR_US;
        if good.entries.contains_key(&key) || good.has_place(GOOD_MAX, now, is_fresh) {
            good.entries.insert(key, now);
        }
    }

    fn note_bad(&self, key: u64) {
        self.good.lock().entries.remove(&key);
    }
}

/// An IPv6 customer has a whole /64, so that is what counts.
fn prefix(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => u64::try_from(u128::from(v6) >> 64).unwrap_or(0) | (1 << 63),
    }
}

/// Called once the caller of a request is known: remembers that the credential works, and counts. Errors: `Throttled`.
pub fn admit(app: &crate::state::App, principal: &Principal, headers: &HeaderMap) -> Result<(), Error> {
    if *principal == Principal::Anonymous {
        return Ok(());
    }
    if let Some(key) = app.rates.credential_key(headers, app.cookie_name()) {
        app.rates.note_good(key);
    }
    app.rates.take(principal)?;
    match principal {
        // Who sends bodies byte by byte would hold the places of everybody. Clients are let in by the clinic.
        Principal::User(user) => app.rates.take_place(user.account),
        Principal::Anonymous | Principal::System(_) | Principal::Client { .. } => Ok(()),
    }
}

/// Middleware for what programs of others call without signing in: places as for [by_address], no bucket. A provider's
/// callbacks come in bursts, and none may be lost.
pub async fn places(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let rates = &app.rates;
    let address = request.extensions().get::<ClientAddress>().and_then(|a| a.0);
    let mut place = None;
    if rates.addresses.cost_us > 0
        && let Some(address) = address
    {
        place = rates.strangers.enter(rates.key(prefix(address)));
        if place.is_none() {
            return throttled(&request, 1);
        }
    }
    let response = next.run(request).await;
    drop(place);
    response
}

/// Middleware for everything that asks who calls.
pub async fn by_address(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let rates = &app.rates;
    let credential = rates.credential_key(request.headers(), app.cookie_name());
    let good = credential.filter(|key| rates.is_good(*key));
    let mut place = None;
    if good.is_none()
        && rates.addresses.cost_us > 0
        && let Some(address) = request.extensions().get::<ClientAddress>().and_then(|a| a.0)
    {
        let path = request.uri().path();
        let signs_in = path.starts_with(super::body::OPEN_PATHS) || path.starts_with("/oauth/");
        if let Err(retry_after_s) = rates.take_address(address, signs_in) {
            return throttled(&request, retry_after_s);
        }
        place = rates.strangers.enter(rates.key(prefix(address)));
        if place.is_none() {
            return throttled(&request, 1);
        }
    }
    let response = PERSON.scope(RefCell::default(), next.run(request)).await;
    drop(place);
    if let Some(key) = good
        && response.status() == StatusCode::UNAUTHORIZED
    {
        rates.note_bad(key);
    }
    response
}

fn throttled(request: &Request, retry_after_s: u32) -> Response {
    let error = Error::Throttled { retry_after_s };
    match request.uri().path().starts_with(crate::rest::BASE) {
        true => FhirError::from(error).into_response(),
        false => ApiError::from(error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let buckets = Buckets::new(10, 5);
        let at = |ms: u64| buckets.take(7, 1_000_000 + ms * 1000);
        assert!((0..5).all(|_| at(0).is_ok()));
        assert_eq!(at(0), Err(1));
        assert!(at(100).is_ok());
        assert_eq!(at(100), Err(1));
        assert!((0..5).all(|_| at(10_000).is_ok()));
        assert_eq!(at(10_000), Err(1));
        assert!(buckets.take(8, 1_000_000).is_ok(), "everybody has a bucket of their own");
        let slow = Buckets::new(1, 1);
        assert!(slow.take(1, 0).is_ok());
        assert_eq!(slow.take(1, 0), Err(1));
        assert!((0..1000).all(|_| Buckets::new(0, 0).take(1, 0).is_ok()), "0 is no limit");
    }

    #[test]
    fn a_flood_from_everywhere_takes_no_more_memory() {
        let buckets = Buckets::new(10, 100);
        let full = BUCKETS_MAX as u64;
        for key in 1..=full {
            assert!(buckets.take(key, 0).is_ok());
        }
        let passed = (full + 1..full + 10_000).filter(|key| buckets.take(*key, 0).is_ok()).count();
        assert_eq!(passed, 100, "newcomers share one bucket");
        assert!(buckets.full_at.lock().entries.len() <= BUCKETS_MAX + 1);
        assert!(buckets.take(1, 0).is_ok(), "who was there before keeps an own one");
        assert!(buckets.take(full * 3, 10_000_000).is_ok(), "and places become free again");
        assert!(buckets.full_at.lock().entries.len() <= 2);
    }

    #[test]
    fn nobody_in_particular_has_half_of_the_places() {
        let strangers = Places::new(64, 100);
        let one: Vec<_> = (0..100).map_while(|_| strangers.enter(1)).collect();
        assert_eq!(one.len(), 64, "of one address");
        let other: Vec<_> = (0..100).map_while(|_| strangers.enter(2)).collect();
        assert_eq!(other.len(), 36, "of all");
        drop(one);
        assert!(strangers.enter(3).is_some() && strangers.enter(1).is_some());
        drop(other);
        let now = strangers.now.lock();
        assert_eq!((now.0, now.1.len()), (0, 0));
    }

    #[test]
    fn addresses_are_counted_by_network() {
        let same = |a: &str, b: &str| prefix(a.parse().unwrap()) == prefix(b.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
