//! The table of transitions, and a seeded simulation that holds the invariants of every walk.

use super::*;

fn serving(generation: u64) -> Phase {
    Phase::Serving { generation }
}

fn loading(generation: u64) -> Phase {
    Phase::Reloading { generation, step: ReloadStep::Loading, again: false }
}

fn installing(generation: u64) -> Phase {
    Phase::Reloading { generation, step: ReloadStep::Installing, again: false }
}

fn draining(stage: DrainStage) -> Phase {
    Phase::Draining { generation: 1, stage, why: Why::Told, closing: false }
}

fn handing_over(to: Incoming) -> HandingOver {
    HandingOver { generation: 1, to, reload: None, broken: false, closing: false }
}

fn left_over(to: Incoming) -> Phase {
    Phase::Draining { generation: 1, stage: DrainStage::Finishing, why: Why::HandedOver(to), closing: false }
}

#[test]
fn each_event_leads_where_the_diagram_says() {
    use DrainStage::*;
    let now = Event::DrainRequested { lame_duck: false };
    let later = Event::DrainRequested { lame_duck: true };
    let table = [
        (serving(1), Event::ReloadRequested, loading(1), vec![Effect::Load]),
        (loading(1), Event::ReloadLoaded, installing(1), vec![Effect::Install { generation: 2 }]),
        (installing(1), Event::ReloadInstalled, serving(2), vec![Effect::AnnounceReloaded { generation: 2 }]),
        (loading(1), Event::ReloadRefused, serving(1), vec![Effect::AnnounceRefused { generation: 1 }]),
        (
            serving(1),
            now,
            draining(Finishing),
            vec![
                Effect::AnnounceDraining,
                Effect::ArmDeadline,
                Effect::StopAccepting,
                Effect::Refuse(Whose::Own),
            ],
        ),
        (
            serving(1),
            later,
            draining(LameDuck),
            vec![Effect::AnnounceDraining, Effect::ArmDeadline, Effect::ArmLameDuck],
        ),
        (
            loading(1),
            now,
            draining(Finishing),
            vec![
                Effect::AbandonReload,
                Effect::AnnounceDraining,
                Effect::ArmDeadline,
                Effect::StopAccepting,
                Effect::Refuse(Whose::Own),
            ],
        ),
        (draining(LameDuck), Event::Idle, draining(LameDuck), vec![]),
        (
            draining(LameDuck),
            Event::LameDuckOver,
            draining(Finishing),
            vec![Effect::StopAccepting, Effect::Refuse(Whose::Own)],
        ),
        (draining(Finishing), Event::Idle, Phase::Stopped, vec![Effect::Close]),
        (draining(Finishing), Event::ReloadRequested, draining(Finishing), vec![]),
        (draining(Finishing), Event::ReloadLoaded, draining(Finishing), vec![]),
        (
            draining(Finishing),
            Event::DeadlinePassed,
            draining(Cutting),
            vec![Effect::Cut, Effect::ArmCutLimit],
        ),
        (draining(Cutting), Event::CutLimitPassed, Phase::Stopped, vec![Effect::Close]),
        (draining(Finishing), Event::EndRequested, Phase::Stopped, vec![Effect::Cut, Effect::Close]),
        (Phase::starting(1), now, Phase::Stopped, vec![Effect::Close]),
        (Phase::starting(1), Event::StartFailed, Phase::Stopped, vec![Effect::Close]),
        (Phase::Stopped, Event::EndRequested, Phase::Stopped, vec![]),
    ];
    for (before, event, after, effects) in table {
        assert_eq!(before.clone().next(event), (after, effects), "{before:?} on {event:?}");
    }
}

#[test]
fn newcomers_are_refused_only_where_nobody_will_accept_them_again() {
    use DrainStage::*;
    let told = |stage, closing| Phase::Draining { generation: 1, stage, why: Why::Told, closing };
    let broken = Phase::Draining { generation: 1, stage: Finishing, why: Why::ThreadDied, closing: false };
    let (own, passed) = (Effect::Refuse(Whose::Own), Effect::Refuse(Whose::Passed));
    let table = [
        (told(Finishing, false), Event::SocketsClosing, told(Finishing, true), vec![passed]),
        (told(Finishing, true), Event::SocketsClosing, told(Finishing, true), vec![]),
        (told(LameDuck, false), Event::SocketsClosing, told(LameDuck, true), vec![]),
        (
            told(LameDuck, true),
            Event::LameDuckOver,
            told(Finishing, true),
            vec![Effect::StopAccepting, own, passed],
        ),
        (
            serving(1),
            Event::ThreadDied,
            broken.clone(),
            vec![Effect::AnnounceDraining, Effect::ArmDeadline, Effect::StopAccepting],
        ),
        (broken.clone(), Event::ThreadDied, broken.clone(), vec![]),
        (broken, Event::DrainRequested { lame_duck: true }, told(Finishing, false), vec![own]),
        (told(Finishing, false), Event::ThreadDied, told(Finishing, false), vec![]),
        (serving(1), Event::SocketsClosing, serving(1), vec![]),
    ];
    for (before, event, after, effects) in table {
        assert_eq!(before.clone().next(event), (after, effects), "{before:?} on {event:?}");
    }
}

#[test]
fn a_handover_ends_empty_or_taken_back_or_as_a_drain() {
    use Incoming::*;
    let asked = |to| Event::HandOverRequested { to };
    let here = || Phase::HandingOver(handing_over(Here));
    let later = || Phase::HandingOver(handing_over(Later));
    let begun = vec![Effect::AnnounceHandingOver, Effect::ArmDeadline, Effect::HandOver];
    let refusing = [begun.clone(), vec![Effect::Refuse(Whose::Own)]].concat();
    let drains = vec![Effect::AnnounceDraining, Effect::ArmDeadline, Effect::StopAccepting];
    let back = vec![Effect::DisarmDeadline, Effect::TakeBack];
    let drain = Event::DrainRequested { lame_duck: true };
    let table = [
        (serving(1), asked(Here), here(), begun),
        (serving(1), asked(Later), later(), refusing),
        (here(), Event::Idle, Phase::Stopped, vec![Effect::Close]),
        (here(), Event::TakeBackRequested, serving(1), back),
        (here(), Event::DeadlinePassed, left_over(Here), drains.clone()),
        (here(), drain, left_over(Here), drains.clone()),
        (here(), Event::MailboxFull, here(), vec![]),
        (here(), Event::ReloadRequested, here(), vec![]),
        (here(), asked(Here), here(), vec![]),
        (here(), Event::SocketsClosing, here(), vec![]),
        (here(), Event::EndRequested, Phase::Stopped, vec![Effect::Cut, Effect::Close]),
        (later(), Event::MailboxFull, left_over(Later), drains.clone()),
        (later(), Event::DeadlinePassed, left_over(Later), drains.clone()),
        (later(), Event::TakeBackRequested, later(), vec![]),
        (left_over(Here), Event::SocketsClosing, left_over(Here), vec![]),
        (left_over(Here), drain, left_over(Here), vec![]),
        (left_over(Here), Event::TakeBackRequested, left_over(Here), vec![]),
        (left_over(Here), Event::Idle, Phase::Stopped, vec![Effect::Close]),
        (draining(DrainStage::Finishing), asked(Here), draining(DrainStage::Finishing), vec![]),
    ];
    for (before, event, after, effects) in table {
        assert_eq!(before.clone().next(event), (after, effects), "{before:?} on {event:?}");
    }
    assert_eq!(here().readiness(), Err(vec!["handing over".into()]));
}

#[test]
fn passed_sockets_refuse_in_a_handover_when_systemd_closes_them_and_only_once() {
    let (phase, _) = serving(1).next(Event::HandOverRequested { to: Incoming::Later });
    let (phase, effects) = phase.next(Event::SocketsClosing);
    assert_eq!(effects, [Effect::Refuse(Whose::Passed)]);
    assert_eq!(phase.clone().next(Event::SocketsClosing).1, []);
    let (phase, _) = phase.next(Event::DeadlinePassed);
    assert_eq!(phase.next(Event::SocketsClosing).1, []);
}

#[test]
fn who_is_left_by_the_keeper_goes_on_alone_and_accepts_no_more() {
    use DrainStage::*;
    use Incoming::*;
    let broken = Phase::Draining { generation: 1, stage: Finishing, why: Why::ThreadDied, closing: false };
    let later = || Phase::HandingOver(handing_over(Later));
    let here = || Phase::HandingOver(handing_over(Here));
    let own = Effect::Refuse(Whose::Own);
    let drains = [Effect::AnnounceDraining, Effect::ArmDeadline, Effect::StopAccepting];
    let alone = [Effect::GoAlone];
    let (asked, gone) = (Event::LeaveRequested, Event::KeeperGone);
    let table = [
        (later(), asked, later(), alone.to_vec()),
        (later(), gone, later(), alone.to_vec()),
        (draining(Finishing), asked, draining(Finishing), alone.to_vec()),
        (draining(Cutting), gone, draining(Cutting), alone.to_vec()),
        (draining(LameDuck), gone, draining(Finishing), vec![Effect::StopAccepting, own, Effect::GoAlone]),
        (broken, gone, draining(Finishing), vec![own, Effect::GoAlone]),
        (serving(1), asked, serving(1), vec![]),
        (serving(1), gone, draining(Finishing), [&drains[..], &[own], &alone].concat()),
        (
            loading(1),
            gone,
            draining(Finishing),
            [&[Effect::AbandonReload], &drains[..], &[own], &alone].concat(),
        ),
        (here(), asked, here(), vec![]),
        (here(), gone, left_over(Here), [&drains[..], &alone].concat()),
        (Phase::starting(1), gone, Phase::Stopped, vec![Effect::Close]),
    ];
    for (before, event, after, effects) in table {
        assert_eq!(before.clone().next(event), (after, effects), "{before:?} on {event:?}");
    }
}

#[test]
fn a_thread_that_died_in_a_handover_is_replaced_only_when_it_is_taken_back() {
    let (phase, effects) = Phase::HandingOver(handing_over(Incoming::Here)).next(Event::ThreadDied);
    assert_eq!(effects, []);
    let (phase, effects) = phase.next(Event::TakeBackRequested);
    let stage = DrainStage::Finishing;
    assert_eq!(phase, Phase::Draining { generation: 1, stage, why: Why::ThreadDied, closing: false });
    assert_eq!(effects, [Effect::AnnounceDraining, Effect::ArmDeadline, Effect::StopAccepting]);
}

#[test]
fn a_reload_under_way_in_a_handover_goes_on_when_it_is_taken_back() {
    let asked = Event::HandOverRequested { to: Incoming::Here };
    for reload in [loading(1), installing(1)] {
        let (phase, _) = reload.clone().next(asked);
        assert_eq!(phase.next(Event::TakeBackRequested).0, reload);
    }
    let (phase, _) = loading(1).next(asked);
    let (phase, effects) = phase.next(Event::ReloadLoaded);
    assert_eq!((phase.clone(), effects), (handed_over(1), vec![Effect::AbandonReload]));
    assert_eq!(phase.next(Event::TakeBackRequested).0, serving(1));
    let (phase, _) = installing(1).next(asked);
    let (phase, effects) = phase.next(Event::ReloadInstalled);
    assert_eq!(effects, [Effect::AnnounceReloaded { generation: 2 }]);
    assert_eq!(phase.next(Event::TakeBackRequested).0, serving(2));
    let (phase, _) = loading(1).next(asked);
    assert_eq!(phase.next(Event::Idle).1, [Effect::AbandonReload, Effect::Close]);
}

fn handed_over(generation: u64) -> Phase {
    Phase::HandingOver(HandingOver { generation, ..handing_over(Incoming::Here) })
}

#[test]
fn a_gateway_is_ready_only_when_its_last_blocker_is_gone() {
    let (phase, effects) = Phase::starting(4).next(Event::BlockerGone(Blocker::Configuration));
    assert_eq!(effects, vec![]);
    assert_eq!(
        phase.readiness().unwrap_err(),
        ["waiting for the listeners", "waiting for the admin sockets"].map(String::from)
    );
    let (phase, _) = phase.next(Event::BlockerGone(Blocker::Admin));
    let (phase, effects) = phase.next(Event::BlockerGone(Blocker::Listeners));
    assert_eq!((phase, effects), (serving(4), vec![Effect::AnnounceReady]));
}

#[test]
fn requests_to_reload_during_a_reload_become_one_more_reload() {
    let (phase, _) = serving(1).next(Event::ReloadRequested);
    let (phase, effects) = phase.next(Event::ReloadRequested);
    assert!(effects.is_empty());
    let (phase, effects) = phase.next(Event::ReloadRequested);
    assert!(effects.is_empty());
    let (phase, effects) = phase.next(Event::ReloadRefused);
    assert_eq!(effects, [Effect::AnnounceRefused { generation: 1 }, Effect::Load]);
    let (phase, effects) = phase.next(Event::ReloadRefused);
    assert_eq!((phase, effects), (serving(1), vec![Effect::AnnounceRefused { generation: 1 }]));
}

/// What a faithful caller would still owe the machine: the events that may come next.
#[derive(Default)]
struct World {
    loads: usize,
    installs: usize,
    lame_duck: bool,
    deadline: bool,
    cut_limit: bool,
    closed: bool,
    accepts_not: bool,
    hands_over: Option<Incoming>,
    drains: bool,
    refused: Vec<Whose>,
    ready: usize,
}

impl World {
    fn carry_out(&mut self, effect: Effect) {
        assert!(!self.closed, "{effect:?} after Close");
        match effect {
            Effect::Load => self.loads += 1,
            Effect::Install { .. } => self.installs += 1,
            Effect::ArmLameDuck => self.lame_duck = true,
            Effect::ArmDeadline => self.deadline = true,
            Effect::DisarmDeadline => {
                assert!(self.deadline, "disarms what is not armed");
                self.deadline = false;
            }
            Effect::ArmCutLimit => self.cut_limit = true,
            Effect::AnnounceReady => self.ready += 1,
            Effect::Close => self.closed = true,
            Effect::StopAccepting => {
                assert!(!self.drains, "drains twice");
                (self.accepts_not, self.drains) = (true, true);
            }
            Effect::HandOver => {
                assert!(!self.accepts_not, "hands over what it does not serve");
                self.accepts_not = true;
            }
            Effect::TakeBack => {
                assert!(self.accepts_not && !self.drains, "takes back what it has not handed over");
                assert!(self.refused.is_empty(), "serves where it has refused");
                self.accepts_not = false;
            }
            Effect::GoAlone => assert!(self.accepts_not, "alone while it accepts"),
            Effect::Refuse(whose) => {
                assert!(self.hands_over != Some(Incoming::Here), "refuses who is another gateway's");
                assert!(self.accepts_not, "refuses {whose:?} while it accepts");
                assert!(!self.refused.contains(&whose), "refuses {whose:?} twice");
                self.refused.push(whose);
            }
            _ => {}
        }
    }

    fn any(&mut self, random: &mut fastrand::Rng) -> Event {
        let mut can = vec![
            Event::ReloadRequested,
            Event::Idle,
            Event::BlockerGone(Blocker::Configuration),
            Event::BlockerGone(Blocker::Listeners),
            Event::BlockerGone(Blocker::Admin),
        ];
        if random.u8(..) < 16 {
            let to = if random.u8(..) < 64 { Incoming::Later } else { Incoming::Here };
            can = vec![Event::HandOverRequested { to }];
        } else if self.hands_over.is_some() && random.u8(..) < 64 {
            can = vec![Event::TakeBackRequested, Event::MailboxFull];
        } else if random.u8(..) < 8 {
            can = vec![Event::DrainRequested { lame_duck: random.bool() }];
        } else if random.u8(..) < 2 {
            can = vec![Event::EndRequested];
        } else if random.u8(..) < 2 {
            can = vec![Event::StartFailed];
        } else if random.u8(..) < 4 {
            can = vec![Event::ThreadDied, Event::SocketsClosing];
        } else if random.u8(..) < 4 {
            can = vec![Event::LeaveRequested, Event::KeeperGone];
        }
        if self.loads > 0 {
            can.extend([Event::ReloadLoaded, Event::ReloadRefused]);
        }
        if self.installs > 0 {
            can.push(Event::ReloadInstalled);
        }
        can.extend(self.timers());
        can[random.usize(..can.len())]
    }

    fn timers(&self) -> impl Iterator<Item = Event> {
        [
            (self.lame_duck, Event::LameDuckOver),
            (self.deadline, Event::DeadlinePassed),
            (self.cut_limit, Event::CutLimitPassed),
        ]
        .into_iter()
        .filter_map(|(armed, event)| armed.then_some(event))
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::ReloadLoaded | Event::ReloadRefused => self.loads -= 1,
            Event::ReloadInstalled => self.installs -= 1,
            Event::LameDuckOver => self.lame_duck = false,
            Event::DeadlinePassed => self.deadline = false,
            Event::CutLimitPassed => self.cut_limit = false,
            _ => {}
        }
    }
}

fn generation_of(phase: &Phase) -> Option<u64> {
    match phase {
        Phase::Starting { generation, .. }
        | Phase::Serving { generation }
        | Phase::Reloading { generation, .. }
        | Phase::HandingOver(HandingOver { generation, .. })
        | Phase::Draining { generation, .. } => Some(*generation),
        Phase::Stopped => None,
    }
}

/// To whom, also in the drain that a handover ends as.
fn hands_over(phase: &Phase) -> Option<Incoming> {
    match phase {
        Phase::HandingOver(handing_over) => Some(handing_over.to),
        Phase::Draining { why: Why::HandedOver(to), .. } => Some(*to),
        _ => None,
    }
}

fn hold_invariants(before: &Phase, event: Event, after: &Phase, effects: &[Effect], world: &World) {
    if let Phase::Starting { waiting_for, .. } = after {
        assert!(!waiting_for.is_empty() && after.readiness().is_err() && world.ready == 0);
    }
    assert!(world.ready <= 1, "ready twice");
    assert!(world.loads <= 1 && world.installs <= 1, "two reloads at once");
    if event == Event::ReloadRefused {
        assert_eq!(generation_of(before), generation_of(after), "a refused reload changed the generation");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Install { .. })));
    }
    if *before == Phase::Stopped {
        assert!(effects.is_empty() && *after == Phase::Stopped, "something happened after Stopped");
    }
    if matches!(before, Phase::Draining { .. }) {
        assert!(matches!(after, Phase::Draining { .. } | Phase::Stopped), "a drain went back");
    }
    if matches!(after, Phase::Draining { .. } | Phase::HandingOver(_)) {
        assert!(after.readiness().is_err());
        assert!(world.timers().next().is_some(), "a drain without a timer never ends");
    } else {
        assert!(!world.deadline || *after == Phase::Stopped, "a deadline without a drain");
    }
    if let Phase::HandingOver(_) = after {
        assert!(world.accepts_not && world.deadline);
    }
    if let Phase::Serving { .. } | Phase::Reloading { .. } = after {
        assert!(!world.accepts_not, "serves without accepting");
    }
    assert_eq!(*after == Phase::Stopped, world.closed);
}

/// The steps of a walk, printed when it breaks an invariant.
struct Way(Vec<String>);

impl Drop for Way {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0.join("\n"));
        }
    }
}

fn walk(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut phase, mut world) = (Phase::starting(1), World::default());
    let mut way = Way(vec![format!("HITLESS_SEED={seed}")]);
    for step in 0..200 {
        let event = world.any(&mut random);
        world.happened(event);
        let before = phase.clone();
        let (after, effects) = phase.next(event);
        world.hands_over = hands_over(&after).or_else(|| hands_over(&before));
        effects.iter().for_each(|effect| world.carry_out(*effect));
        way.0.push(format!("step {step}: {before:?} on {event:?} -> {after:?}, {effects:?}"));
        hold_invariants(&before, event, &after, &effects, &world);
        phase = after;
    }
    end_by_timers_alone(phase, world);
}

/// Whatever the clients do, the timers alone end a drain, and a handover.
fn end_by_timers_alone(phase: Phase, mut world: World) {
    world.hands_over = hands_over(&phase);
    let (phase, effects) = phase.next(Event::HandOverRequested { to: Incoming::Later });
    world.hands_over = hands_over(&phase);
    effects.iter().for_each(|effect| world.carry_out(*effect));
    let (mut phase, effects) = match phase {
        Phase::HandingOver(_) => (phase, vec![]),
        phase => phase.next(Event::DrainRequested { lame_duck: true }),
    };
    effects.iter().for_each(|effect| world.carry_out(*effect));
    while phase != Phase::Stopped {
        let event = world.timers().last().expect("a drain without a timer never ends");
        world.happened(event);
        let (after, effects) = phase.next(event);
        effects.iter().for_each(|effect| world.carry_out(*effect));
        phase = after;
    }
}

#[test]
fn no_walk_breaks_an_invariant() {
    let seeds = match std::env::var("HITLESS_SEED") {
        Ok(seed) => vec![seed.parse().expect("HITLESS_SEED is a number")],
        Err(_) => {
            let first = fastrand::u64(..u64::MAX - 2000);
            (first..first + 2000).collect()
        }
    };
    for seed in seeds {
        walk(seed);
    }
}
