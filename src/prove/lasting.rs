//! Kept-alive connections that must last: opened once, before everything, asked again and again, never replaced.
//!
//! Promises: whatever ends one is told, an announced end too; the client's own port is read at both ends of its life.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Run;
use super::clients::get;
use super::connection::Connection;
use super::tally::{Lasting, What};

pub fn spawn(run: &Rc<Run>, clients: &mut JoinSet<()>) {
    for _ in 0..run.options.lasting {
        clients.spawn_local(last(run.clone()));
    }
}

async fn last(run: Rc<Run>) {
    let mut lasting = Lasting { opened_at: None, ended_at: None, answered: 0, lost: None };
    let mut held = None;
    let mut pause = Duration::ZERO;
    loop {
        // Once more at the end: it must work then, too.
        let goes_on = run.goes_on_after(pause).await;
        if let Some(kind) = held.as_mut().and_then(Connection::ended) {
            lasting.lost = Some(format!("{kind:?}").to_lowercase());
            break;
        }
        let ask = get(&run, What::Lasting, false);
        let answered = run.ask(&mut held, ask).await;
        lasting.answered += u64::from(answered);
        lasting.ended_at = held.as_ref().and_then(Connection::local);
        if lasting.answered == 1 {
            lasting.opened_at = lasting.ended_at;
        }
        if !answered || held.is_none() {
            let how = if answered { "its end was announced" } else { "a request failed" };
            lasting.lost = Some(how.to_owned());
            break;
        }
        if !goes_on {
            break;
        }
        pause = run.options.think.mul_f64(0.5 + fastrand::f64());
    }
    run.tally.borrow_mut().lasted(lasting);
}
