//! Silent connections: they ask once, then say nothing until the end, when they are asked whether they still work.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Run;
use super::clients::get;
use super::connection::Kind;
use super::tally::What;

pub fn spawn(run: &Rc<Run>, clients: &mut JoinSet<()>) {
    for _ in 0..run.options.idle {
        clients.spawn_local(rest(run.clone()));
    }
}

async fn rest(run: Rc<Run>) {
    // Spread over a moment, as a thousand users do not come in the same millisecond either.
    let mut pause = Duration::from_millis(fastrand::u64(..500));
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
