//! What the control thread does for the endpoints of a service: it looks their names up, and asks how they are.
//!
//! Promises: it runs beside requests and never before one; it ends when it is dropped, and what it has found stays on
//! the board for whoever goes on. A name that cannot be looked up leaves its addresses as they were.
//! Must not know: how an endpoint is asked ([`super::probe`]), data threads.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::board::{Lineup, Row};
use super::health::{Active, State, Trend};
use super::probe::probe;
use crate::config::settings::{Address, Health};
use crate::tls::Outward;

/// How many endpoints of a service are asked at a time.
const AT_ONCE: usize = 256;
/// How long a look-up may take.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Whether there is anything to do.
pub fn is_needed(lineup: &Lineup) -> bool {
    lineup.settings().health.is_some() || !names(lineup).is_empty()
}

/// Never ends by itself. Needs a local tokio runtime.
pub async fn tend(lineup: Arc<Lineup>, outward: Option<Arc<Outward>>) {
    tokio::join!(resolve(&lineup), watch(&lineup, outward));
}

fn names(lineup: &Lineup) -> Vec<Address> {
    let named = lineup.settings().endpoints.iter().map(|endpoint| &endpoint.address);
    let mut names: Vec<Address> =
        named.filter(|address| matches!(address, Address::Name { .. })).cloned().collect();
    names.sort();
    names.dedup();
    names
}

async fn resolve(lineup: &Lineup) {
    let names = names(lineup);
    if names.is_empty() {
        return;
    }
    let every = lineup.settings().resolve;
    let mut failing = vec![false; names.len()];
    loop {
        let found = join_all(names.iter().map(look_up)).await;
        for ((name, found), failing) in names.iter().zip(found).zip(&mut failing) {
            let service = &lineup.settings().name;
            match found {
                Ok(addresses) => {
                    if lineup.resolved(name, &addresses) {
                        let told: Vec<String> =
                            addresses.iter().map(|address| address.ip().to_string()).collect();
                        tracing::info!("{service}: {name} is {} now", told.join(", "));
                    }
                    *failing = false;
                }
                Err(error) if !*failing => {
                    *failing = true;
                    tracing::warn!(
                        "{service}: cannot look up {name}: {error}, keeping the addresses from before and trying again in {every:?}"
                    );
                }
                Err(_) => {}
            }
        }
        tokio::time::sleep(spread(every, 100)).await;
    }
}

async fn look_up(name: &Address) -> io::Result<Vec<SocketAddr>> {
    let Address::Name { host, port } = name else { return Ok(Vec::new()) };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {LOOK_UP:?}"));
    let found = tokio::time::timeout(LOOK_UP, lookup_host((host.as_str(), *port))).await.map_err(late)??;
    let addresses: Vec<SocketAddr> = found.collect();
    match addresses.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(addresses),
    }
}

/// One task for each endpoint that there is.
async fn watch(lineup: &Arc<Lineup>, outward: Option<Arc<Outward>>) {
    let Some(health) = lineup.settings().health.clone() else { return };
    let (health, places) = (Arc::new(health), Arc::new(Semaphore::new(AT_ONCE)));
    let mut changes = lineup.board().watch();
    let (mut asking, mut tasks) = (JoinSet::new(), HashMap::new());
    let mut before: Option<Arc<[Arc<Row>]>> = None;
    loop {
        let rows = lineup.rows();
        if !before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &rows)) {
            let known = |row: *const Row| rows.iter().any(|other| Arc::as_ptr(other) == row);
            tasks.retain(|row, task: &mut tokio::task::AbortHandle| {
                known(*row) || {
                    task.abort();
                    false
                }
            });
            for row in rows.iter() {
                tasks.entry(Arc::as_ptr(row)).or_insert_with(|| {
                    let (lineup, health) = (Arc::clone(lineup), Arc::clone(&health));
                    let (row, places, outward) = (Arc::clone(row), Arc::clone(&places), outward.clone());
                    asking.spawn_local(async move { ask(&row, &lineup, &health, &places, outward).await })
                });
            }
            before = Some(rows);
        }
        while asking.try_join_next().is_some() {}
        changes.changed().await;
    }
}

/// Asks one endpoint again and again.
async fn ask(
    row: &Arc<Row>,
    lineup: &Lineup,
    health: &Health,
    places: &Semaphore,
    outward: Option<Arc<Outward>>,
) {
    let trend = Trend { rise: health.rise, fall: health.fall };
    let mut active = Active::resume(trend, row.health());
    if active.state() != State::Unknown {
        // After a reload: not all at once.
        tokio::time::sleep(health.interval.mul_f64(fastrand::f64())).await;
    }
    loop {
        let Ok(place) = places.acquire().await else { return pending().await };
        let late = |_| Err(format!("no answer within {:?}", health.timeout));
        let asked = probe(row, lineup, health, outward.as_ref());
        let found = tokio::time::timeout(health.timeout, asked).await.unwrap_or_else(late);
        drop(place);
        // Another gateway may have told how it is.
        if active.state() != row.health() {
            active = Active::resume(trend, row.health());
        }
        let state = active.answered(found.is_ok());
        if let Some(state) = state {
            let (Ok(why) | Err(why)) = found;
            lineup.board().found(row, state, &why);
        }
        tokio::time::sleep(spread(health.interval, health.jitter)).await;
    }
}

/// Shorter or longer by up to this share, in thousandths.
fn spread(time: Duration, jitter: u32) -> Duration {
    let share = f64::from(jitter.min(1000)) / 1000.0;
    time.mul_f64(1.0 - share + 2.0 * share * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_spread_by_no_more_than_its_share() {
        let time = Duration::from_secs(10);
        for _ in 0..1000 {
            assert!((9.0..=11.0).contains(&spread(time, 100).as_secs_f64()));
            assert!(spread(time, u32::MAX) <= time * 2);
        }
        assert_eq!(spread(time, 0), time);
    }
}
