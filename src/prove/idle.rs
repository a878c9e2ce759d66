//! Silent connections: they ask once, then say nothing until the end, when they are asked whether they still work.
//!
//! Promises: one that has rested is never opened anew; while it rests it costs a task and a socket, ten thousand of
//! them some tens of MiB.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Run;
use super::clients::get;
use super::connection::Kind;
use super::tally::What;

pub fn spawn(run: &Rc<Run>, clients: &mut JoinSet<()>) {
    let count = run.options.idle;
    for place in 0..count {
        // As thousands of users do not come in the same millisecond either.
        let arrival = Run::arrival(place, count, Duration::from_millis(5));
        clients.spawn_local(rest(run.clone(), arrival));
    }
}

async fn rest(run: Rc<Run>, arrival: Duration) {
    let mut pause = arrival;
    let mut held = None;
    while held.is_none() {
        if !run.goes_on_after(pause).await {
            return;
        }
        let opening = get(&run, What::Opening, false);
        run.ask(&mut held, opening).await;
        // An answer that announces the end, or a failure, which is counted: come again a little later.
        pause = Duration::from_millis(250);
    }
    let Some(connection) = held.as_mut() else { return };
    connection.rest();
    run.tally.borrow_mut().rests();
    let mut stopping = run.stopping.clone();
    tokio::select! {
        ended = connection.read() => {
            let kind = match ended {
                Ok(0) => Kind::Eof,
                Ok(_) => Kind::Malformed,
                Err(loss) => loss.kind,
            };
            run.tally.borrow_mut().idle_closed(kind);
        }
        _ = stopping.wait_for(|stopping| *stopping) => {
            let probe = get(&run, What::Probe, false);
            run.ask(&mut held, probe).await;
        }
    }
}
