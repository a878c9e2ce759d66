//! The gate and the queue, with a clock that does not run by itself.

use super::*;
use futures_util::FutureExt;
use std::cell::RefCell;
use std::rc::Rc;

fn paused<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs")
    })
}

fn held(hold: Hold) -> Arc<Held> {
    let held = Arc::new(Held::default());
    held.configure(hold);
    held
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn an_open_gate_gives_no_turn() {
    let held = held(Hold::default());
    assert!(matches!(held.pass(&mut Stay::default(), 0).now_or_never(), Some(Ok(None))));
}

#[test]
fn a_gate_is_open_when_the_last_reason_is_gone() {
    let held = held(Hold::default());
    held.close(Reason::Operator);
    held.close(Reason::Unit);
    held.open(Reason::Operator);
    assert!(!held.is_open());
    held.open(Reason::Unit);
    assert!(held.is_open());
}

#[test]
fn they_go_in_their_order_in_waves_that_follow_the_answers() {
    paused(async {
        let held = held(Hold::default());
        held.close(Reason::Operator);
        let gone = Rc::new(RefCell::new(vec![]));
        let turns = Rc::new(RefCell::new(vec![]));
        for number in 0..100 {
            let (held, gone, turns) = (Arc::clone(&held), Rc::clone(&gone), Rc::clone(&turns));
            tokio::task::spawn_local(async move {
                let turn = held.pass(&mut Stay::default(), 0).await.unwrap().unwrap();
                gone.borrow_mut().push(number);
                turns.borrow_mut().push(turn);
            });
            settle().await;
        }
        assert_eq!(held.survey().now, 100);
        held.open(Reason::Operator);
        settle().await;
        assert_eq!(gone.borrow().len(), wave::FIRST, "a few at first");
        let newcomer = held.pass(&mut Stay::default(), 0).now_or_never();
        assert!(newcomer.is_none(), "nobody overtakes those who wait");
        while gone.borrow().len() < 100 {
            let before = gone.borrow().len();
            for turn in turns.borrow_mut().drain(..) {
                turn.answered();
            }
            settle().await;
            assert!(gone.borrow().len() > before);
        }
        assert_eq!(*gone.borrow(), (0..100).collect::<Vec<_>>());
        let Totals { held: all, released, shed } = held.survey().totals;
        assert_eq!((all, released, shed), (101, 100, 0));
    });
}

#[test]
fn who_goes_away_leaves_the_queue_at_once_and_gives_back_its_turn() {
    paused(async {
        let held = held(Hold { count: Some(9), ..Hold::default() });
        held.close(Reason::Away);
        let mut stays: Vec<Stay> = (0..9).map(|_| Stay::default()).collect();
        let mut waiting: Vec<_> = stays.iter_mut().map(|stay| Box::pin(held.pass(stay, 7))).collect();
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none());
        }
        let full = held.pass(&mut Stay::default(), 0).now_or_never().unwrap();
        assert_eq!(full.err(), Some(Out::Failed(Failure::HoldFull("hold.count"))));
        drop(waiting.remove(3));
        assert_eq!((held.survey().now, held.survey().bytes), (8, 56));
        let mut late = Stay::default();
        let mut late = Box::pin(held.pass(&mut late, 0));
        assert!((&mut late).now_or_never().is_none());
        held.back();
        // All of the first wave have been let go, and go away without knowing it.
        waiting.clear();
        assert!((&mut late).now_or_never().is_some(), "the turn of one that went away is not lost");
    });
}

#[test]
fn content_that_is_kept_counts() {
    let held = held(Hold { bytes: Some(10), ..Hold::default() });
    held.close(Reason::Unit);
    let (mut first, mut second) = (Stay::default(), Stay::default());
    let mut first = Box::pin(held.pass(&mut first, 6));
    paused(async {
        assert!((&mut first).now_or_never().is_none());
        let refused = held.pass(&mut second, 6).now_or_never().unwrap();
        assert_eq!(refused.err(), Some(Out::Failed(Failure::HoldFull("hold.bytes"))));
        drop(first);
    });
}

#[test]
fn an_age_ends_it_over_all_attempts() {
    paused(async {
        let age = Duration::from_millis(30);
        let held = held(Hold { age: Some(age), ..Hold::default() });
        held.close(Reason::Operator);
        let mut stay = Stay::default();
        let ended = held.pass(&mut stay, 0).await;
        assert_eq!(ended.err(), Some(Out::Failed(Failure::HeldTooLong(age))));
        assert_eq!(held.survey().now, 0);
        // It comes back: its time has been used up.
        assert!(held.pass(&mut stay, 0).now_or_never().unwrap().is_err());
    });
}

#[test]
fn where_nothing_is_held_only_an_operator_keeps_requests_away() {
    let held = held(Hold { age: None, ..Hold::default() });
    held.close(Reason::Unit);
    assert!(matches!(held.pass(&mut Stay::default(), 0).now_or_never(), Some(Ok(None))));
    assert_eq!(held.away(), None);
    held.close(Reason::Operator);
    assert!(held.pass(&mut Stay::default(), 0).now_or_never().unwrap().is_err());
}

#[test]
fn a_unit_that_was_stopped_long_ago_keeps_nobody_waiting() {
    paused(async {
        let held = held(Hold { age: Some(Duration::from_millis(20)), ..Hold::default() });
        held.close(Reason::Unit);
        held.stopped(true);
        assert!(held.pass(&mut Stay::default(), 0).await.is_err());
        let began = Instant::now();
        assert!(held.pass(&mut Stay::default(), 0).now_or_never().unwrap().is_err());
        held.stopped(false);
        let mut stay = Stay::default();
        let mut again = Box::pin(held.pass(&mut stay, 0));
        assert!((&mut again).now_or_never().is_none(), "it starts: {:?}", began.elapsed());
    });
}

#[test]
fn whoever_is_refused_again_goes_before_the_others() {
    paused(async {
        let held = held(Hold::default());
        held.close(Reason::Away);
        let (mut first, mut second) = (Stay::default(), Stay::default());
        let wait = held.pass(&mut first, 0);
        let mut wait = Box::pin(wait);
        assert!((&mut wait).now_or_never().is_none());
        held.back();
        let turn = wait.await.unwrap().unwrap();
        assert_eq!(held.away(), Some(true), "somebody has to look for it");
        assert_eq!(held.away(), Some(false), "one is enough");
        drop(turn);
        let mut second = Box::pin(held.pass(&mut second, 0));
        assert!((&mut second).now_or_never().is_none());
        let mut first = Box::pin(held.pass(&mut first, 0));
        assert!((&mut first).now_or_never().is_none());
        held.change(|inside| assert_eq!(inside.queue.first(), Some(1)));
        held.back();
        assert!(first.now_or_never().is_some());
    });
}

#[test]
fn what_was_found_out_before_the_news_holds_nobody() {
    let held = held(Hold::default());
    let epoch = held.epoch();
    held.stir();
    held.none_of_use(epoch);
    assert!(held.is_open());
    held.none_of_use(held.epoch());
    assert!(!held.is_open());
    held.stir();
    assert!(held.is_open());
}

#[test]
fn another_generation_routes_all_again_and_they_keep_their_places() {
    paused(async {
        let held = held(Hold::default());
        held.close(Reason::Operator);
        let mut stay = Stay::default();
        let mut wait = Box::pin(held.pass(&mut stay, 0));
        assert!((&mut wait).now_or_never().is_none());
        held.reroute();
        assert_eq!(wait.await.err(), Some(Out::Reroute));
        let mut later = Stay::default();
        let mut later = Box::pin(held.pass(&mut later, 0));
        assert!((&mut later).now_or_never().is_none());
        let mut again = Box::pin(held.pass(&mut stay, 0));
        assert!((&mut again).now_or_never().is_none());
        held.change(|inside| assert_eq!(inside.queue.first(), Some(1)));
        assert_eq!(held.survey().totals.held, 2, "it is one request");
        drop((later, again));
    });
}

#[test]
fn one_that_does_not_answer_does_not_keep_the_others() {
    paused(async {
        let held = held(Hold::default());
        held.close(Reason::Operator);
        let turns = Rc::new(RefCell::new(vec![]));
        for _ in 0..wave::FIRST + 1 {
            let (held, turns) = (Arc::clone(&held), Rc::clone(&turns));
            tokio::task::spawn_local(async move {
                let turn = held.pass(&mut Stay::default(), 0).await.unwrap().unwrap();
                turns.borrow_mut().push(turn);
            });
        }
        settle().await;
        held.open(Reason::Operator);
        while turns.borrow().len() < wave::FIRST + 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(held.survey().now, 0);
    });
}

/// Threads that come, go away, are let go and refused again, while gates open and close: nobody is forgotten.
#[test]
fn over_threads_nobody_waits_for_ever_and_the_counts_come_out() {
    let held = held(Hold { count: None, ..Hold::default() });
    held.close(Reason::Unit);
    let threads: Vec<_> = (0..4)
        .map(|seed| {
            let held = Arc::clone(&held);
            std::thread::spawn(move || {
                paused(async {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let mut tasks = tokio::task::JoinSet::new();
                    for _ in 0..300 {
                        let (held, fate) = (Arc::clone(&held), random.u8(0..4));
                        tasks.spawn_local(async move {
                            let mut stay = Stay::default();
                            loop {
                                let pass = held.pass(&mut stay, 1);
                                let passed = match fate {
                                    0 => match pass.now_or_never() {
                                        Some(passed) => passed,
                                        None => return,
                                    },
                                    _ => pass.await,
                                };
                                match passed {
                                    Ok(Some(turn)) if fate == 1 => {
                                        drop(turn);
                                        return;
                                    }
                                    Ok(turn) => return turn.into_iter().for_each(Turn::answered),
                                    Err(Out::Reroute) => continue,
                                    Err(Out::Failed(failure)) => panic!("{failure}"),
                                }
                            }
                        });
                        tokio::task::yield_now().await;
                    }
                    while tasks.join_next().await.is_some() {}
                });
            })
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(7);
    while threads.iter().any(|thread| !thread.is_finished()) {
        match random.u8(0..5) {
            0 => held.close(Reason::Unit),
            1 => held.reroute(),
            2 => held.stir(),
            _ => held.open(Reason::Unit),
        }
        std::thread::yield_now();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    held.open(Reason::Unit);
    let survey = held.survey();
    assert_eq!((survey.now, survey.bytes), (0, 0));
    held.change(|inside| assert!(inside.told.is_empty() && inside.out.is_empty()));
}
